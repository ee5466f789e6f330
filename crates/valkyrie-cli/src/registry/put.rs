//! `valkyrie registry put`: an agent registers, and stays for as long as the command runs.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use valkyrie::Locator;
use valkyrie_registry::agent::{Description, LabelValue, Service, Word};
use valkyrie_registry::presence::{Presence, PresenceState};
use valkyrie_registry::registrar::RegisterError;
use valkyrie_registry::{Registrar, Registration};

use super::{ReachArgs, shared};
use crate::access::now;
use crate::exit::{CliError, Exit};
use crate::net;
use crate::out::{Notes, Out};
use crate::signals::Signals;
use crate::units::{Span, parse_duration};

/// Registers this identity as an agent and keeps it registered until Ctrl-C, which takes it out again.
#[derive(Args, Debug)]
#[command(after_help = "\
What is registered is signed with this side's identity, the one that the agent shows to those who dial it.

Examples:
  valkyrie registry put web-1 tcp://10.0.0.1:7000 --service orders@1.4.0,tier=gold --zone eu-1
  valkyrie registry put batch-7 tcp://10.0.0.7:7000 --ttl 600s --once")]
pub(crate) struct PutArgs {
    /// The agent's name.
    name: Word,

    /// Where it can be dialled, the best first.
    #[arg(required = true, value_name = "LOCATOR", value_parser = net::parse_locator)]
    locators: Vec<Locator>,

    /// How long it stays registered when nothing more is heard of it.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    ttl: Duration,

    /// A service that it offers, as NAME@VERSION[,label=value…]; may be given several times.
    #[arg(long = "service", value_name = "SERVICE", value_parser = parse_service)]
    services: Vec<Service>,

    /// A label of every service, as label=value; may be given several times.
    #[arg(long = "label", value_name = "LABEL=VALUE", requires = "services", value_parser = parse_label)]
    labels: Vec<(Word, LabelValue)>,

    /// Where it stands: a region, a rack.
    #[arg(long, value_name = "ZONE")]
    zone: Option<Word>,

    /// Which of this identity's agents it is.
    #[arg(long, value_name = "NAME", default_value = "main")]
    instance: Word,

    /// Register and leave: the lease runs out by itself.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    reach: ReachArgs,
}

fn parse_label(text: &str) -> Result<(Word, LabelValue), String> {
    let (name, value) = text.split_once('=').ok_or("a label is written as name=value")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let value = value.parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

fn parse_service(text: &str) -> Result<Service, String> {
    let mut parts = text.split(',');
    let named = parts.next().unwrap_or_default();
    let (name, version) = named
        .split_once('@')
        .ok_or("a service is written as name@version, as in orders@1.4.0,tier=gold")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let version = version.parse().map_err(|error| format!("{error}"))?;
    parts.try_fold(Service::new(name, version), |service, label| {
        let (name, value) = parse_label(label)?;
        Ok(service.label(name, value))
    })
}

impl PutArgs {
    fn description(&self) -> Result<Description, CliError> {
        let mut description = Description::new(self.name.clone());
        description.zone = self.zone.clone();
        for locator in &self.locators {
            description = description.locator(locator.clone());
        }
        for service in &self.services {
            let labels = self.labels.iter().cloned();
            let service = labels.fold(service.clone(), |service, (name, value)| {
                service.label(name, value)
            });
            description = description.service(service);
        }
        let checked = description.check();
        checked.map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        Ok(description)
    }
}

/// Runs the command.
pub(super) fn run(args: &PutArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let description = args.description()?;
    let dialled = args.reach.dial.dial();
    let Some(access) = dialled.access(notes)? else {
        let message =
            "a record is written over a connection that proves whose it is, and --plain proves nothing";
        return Err(CliError::new(Exit::Usage, message));
    };
    let key = access.signing_key()?;
    net::block_on(1, async {
        let mut signals = Signals::install()?;
        let dial = dialled.endpoint(Some(access)).await?;
        let work = async {
            let store = match args.once {
                true => args.reach.once(&dial).await?,
                false => args.reach.kept(&dial, &dialled).await?,
            };
            let registrar = Registrar::new(
                shared(store),
                args.reach.cluster.clone(),
                args.instance.clone(),
                key,
            );
            let registrar = registrar.map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
            if args.once {
                let registration = registrar.register(now(), &description, args.ttl).await?;
                say(args, "registered", &registration, out)?;
                return Ok(None);
            }
            Ok::<_, CliError>(Some(Presence::keep(registrar, description, args.ttl, now)))
        };
        let presence = tokio::select! {
            done = work => done?,
            caught = signals.next() => return Err(CliError::silent(caught.exit())),
        };
        let Some(mut presence) = presence else {
            return Ok(());
        };
        let mut last = None;
        let caught = tokio::select! {
            failed = stay(args, &mut presence, &mut last, notes, out) => return failed,
            caught = signals.next() => caught,
        };
        let Some(registration) = last else {
            // It was never there.
            return Err(CliError::silent(caught.exit()));
        };
        tokio::select! {
            left = presence.leave() => left?,
            caught = signals.next() => return Err(CliError::silent(caught.exit())),
        }
        say(args, "deregistered", &registration, out)
    })
}

/// Says what becomes of the agent, until that can only be an error. A registry that is away is waited for, but for the first registration.
async fn stay(
    args: &PutArgs,
    presence: &mut Presence,
    last: &mut Option<Registration>,
    notes: Notes,
    out: &mut Out,
) -> Result<(), CliError> {
    let mut troubled = false;
    loop {
        let state = presence.changed().await;
        match state.map_err(|gone| CliError::new(Exit::Local, gone.to_string()))? {
            PresenceState::Registered(registration) => {
                let anew = last.as_ref().map(Registration::created) != Some(registration.created());
                if anew {
                    say(args, "registered", &registration, out)?;
                } else if troubled {
                    notes.remark("the registry answers again");
                }
                *last = Some(registration);
                troubled = false;
            }
            PresenceState::Away { failure: None } => {}
            // It could not be reached, or it does not know: another try will tell.
            PresenceState::Unconfirmed {
                failure: RegisterError::Store(error),
                ..
            }
            | PresenceState::Away {
                failure: Some(RegisterError::Store(error)),
            } if last.is_some() => {
                if !troubled {
                    notes.warning(format_args!("not renewed: {error}"));
                }
                troubled = true;
            }
            PresenceState::Unconfirmed { failure, .. }
            | PresenceState::Away {
                failure: Some(failure),
            } => {
                return Err(failure.into());
            }
        }
    }
}

fn say(args: &PutArgs, what: &str, registration: &Registration, out: &mut Out) -> Result<(), CliError> {
    let lease = registration.lease();
    if out.is_json() {
        return out.json(&json!({
            "event": what,
            "name": args.name.as_str(),
            "id": registration.id().to_string(),
            "lease": lease.id.to_string(),
            "ttl_seconds": lease.ttl.as_secs_f64(),
            "token": registration.created().number(),
            "revision": registration.modified().number(),
        }));
    }
    let name = out.paint().bold(&args.name);
    match what {
        "registered" => out.line(format_args!(
            "registered {name} as {} for {} at a time",
            registration.id(),
            Span(lease.ttl)
        ))?,
        _ => out.line(format_args!("{what} {name}"))?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_with_its_version_and_labels() {
        let service = parse_service("orders@1.4.0-rc.1,tier=gold,canary=").unwrap();
        assert_eq!(
            super::super::agent::service_text(&service),
            "orders@1.4.0-rc.1,canary=,tier=gold"
        );
        for bad in [
            "orders",
            "orders@",
            "orders@1",
            "@1.0.0",
            "orders@1.0.0,tier",
            "orders@1.0.0,tier=a b",
        ] {
            assert!(parse_service(bad).is_err(), "{bad}");
        }
    }
}
