//! `valkyrie registry rm`: an agent is taken out, if it is still the one that was meant.

use clap::Args;
use serde_json::json;
use valkyrie_registry::agent::AgentId;
use valkyrie_registry::directory::{Member, Snapshot};
use valkyrie_registry::registrar::remove;

use super::agent::{SHORT_DIGITS, short};
use super::{ReachArgs, warn_of_refused};
use crate::exit::{CliError, Exit};
use crate::net;
use crate::out::{Notes, Out};

/// Takes an agent out, unless it has written since it was looked at.
#[derive(Args, Debug)]
#[command(after_help = "\
Agents of this side's own identity anybody may take out, others whoever may write everything: without a policy, the registry's own identity.
An agent that is alive registers again.

Examples:
  valkyrie registry rm web-1
  valkyrie registry rm 23bbad2e0c5d --identity /etc/valkyrie/registry")]
pub(crate) struct RemoveArgs {
    /// Its name, its id, or the beginning of its id as `ls` shows it.
    #[arg(value_name = "NAME|ID")]
    agent: String,

    #[command(flatten)]
    reach: ReachArgs,
}

/// Runs the command.
pub(super) fn run(args: &RemoveArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let dialled = args.reach.dial.dial();
    let access = dialled.access(notes)?;
    let own = access
        .as_ref()
        .map(|access| access.keystore().document().fingerprint());
    net::block_on(1, async {
        let dial = dialled.endpoint(access).await?;
        let work = async {
            let store = args.reach.once(&dial).await?;
            let (snapshot, refused) = args.reach.snapshot(&store).await?;
            warn_of_refused(refused, notes);
            let member = meant(&snapshot, &args.agent)?;
            let store = match own == Some(member.id().owner()) {
                true => store,
                false => store.as_operator(),
            };
            let (name, id) = (&member.description().name, member.id());
            if !remove(&store, member).await? {
                let message = format!(
                    "{name} ({}) has written since it was looked at, and is still there",
                    short(id)
                );
                return Err(CliError::new(Exit::Failed, message)
                    .hint("it is alive; look again with `valkyrie registry ls`"));
            }
            if out.is_json() {
                return out.json(&json!({"removed": id.to_string(), "name": name.as_str()}));
            }
            out.line(format_args!("removed {} ({})", out.paint().bold(name), short(id)))?;
            out.flush()
        };
        net::until_signal(&dial.endpoint, work).await
    })
}

/// The one agent that a person means.
fn meant<'a>(snapshot: &'a Snapshot, text: &str) -> Result<&'a Member, CliError> {
    let means = |member: &Member| {
        let id = member.id();
        let begins = text.len() >= SHORT_DIGITS && id.to_string().starts_with(text);
        member.description().name.as_str() == text || begins || short(id) == text
    };
    let exact = text.parse::<AgentId>().ok().and_then(|id| snapshot.get(&id));
    if let Some(member) = exact {
        return Ok(member);
    }
    let found: Vec<&Member> = snapshot
        .members()
        .map(|member| &**member)
        .filter(|member| means(member))
        .collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(CliError::new(Exit::Failed, format!("there is no agent {text}"))
            .hint("`valkyrie registry ls` lists those that are there")),
        _ => {
            let ids: Vec<String> = found.iter().map(|member| member.id().to_string()).collect();
            let message = format!("{} agents are meant by {text}", found.len());
            Err(CliError::new(Exit::Usage, message).hint(format!("say which: {}", ids.join(", "))))
        }
    }
}
