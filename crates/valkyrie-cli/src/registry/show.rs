//! `valkyrie registry ls` and `valkyrie registry health`: who is there, and how the registry does.

use std::collections::HashSet;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use valkyrie_registry::agent::{VersionRange, Word};
use valkyrie_registry::directory::Member;
use valkyrie_registry::query::{LabelExpr, Query};
use valkyrie_registry::store::Store;

use super::agent::{AgentReport, columns, service_text, short, status_word};
use super::{ReachArgs, warn_of_refused};
use crate::access::now;
use crate::exit::CliError;
use crate::net;
use crate::out::{Notes, Out};
use crate::units::Span;

/// Lists the agents that are registered.
#[derive(Args, Debug)]
#[command(after_help = "\
All that is asked about a service holds of one and the same service.

Examples:
  valkyrie registry ls
  valkyrie registry ls --service orders --version '^1.2' --zone eu-1
  valkyrie registry ls --labels 'tier in (gold, platinum) and not deprecated' --json | jq .agents")]
pub(crate) struct ListArgs {
    /// Those who offer this service.
    #[arg(long, value_name = "NAME")]
    service: Option<Word>,

    /// With a service whose labels are so: name, name = value, name in (a, b), not, and, or, parentheses.
    #[arg(long, value_name = "EXPRESSION", value_parser = parse_labels)]
    labels: Option<LabelExpr>,

    /// With a service in one of these versions, as Cargo writes them: ^1.2, ~2.1, '>=1.2, <1.5'.
    #[arg(long, value_name = "RANGE")]
    version: Option<VersionRange>,

    /// In this zone.
    #[arg(long, value_name = "ZONE")]
    zone: Option<Word>,

    /// Of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<Word>,

    #[command(flatten)]
    reach: ReachArgs,
}

fn parse_labels(text: &str) -> Result<LabelExpr, String> {
    text.parse::<LabelExpr>().map_err(|error| error.to_string())
}

impl ListArgs {
    fn query(&self) -> Query {
        let mut query = match &self.service {
            Some(service) => Query::service(service.clone()),
            None => Query::new(),
        };
        if let Some(labels) = &self.labels {
            query = query.with_labels(labels.clone());
        }
        if let Some(version) = &self.version {
            query = query.with_version(version.clone());
        }
        if let Some(zone) = &self.zone {
            query = query.with_zone(zone.clone());
        }
        match &self.name {
            Some(name) => query.with_name(name.clone()),
            None => query,
        }
    }
}

/// Runs `ls`.
pub(super) fn list(args: &ListArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let dialled = args.reach.dial.dial();
    let access = dialled.access(notes)?;
    net::block_on(1, async {
        let dial = dialled.endpoint(access).await?;
        let work = async {
            let store = args.reach.once(&dial).await?;
            let (snapshot, refused) = args.reach.snapshot(&store).await?;
            let query = args.query();
            let found = snapshot.find(&query).map(|found| &**found.member);
            if out.is_json() {
                let agents: Vec<_> = found.map(AgentReport::of).collect();
                out.json(&json!({
                    "revision": snapshot.revision().number(), "agents": agents, "refused": refused,
                }))?;
            } else {
                let mut rows = vec![heads(&["NAME", "STATUS", "ZONE", "ID", "LOCATORS", "SERVICES"])];
                rows.extend(found.map(row));
                table(&rows, out)?;
                warn_of_refused(refused, notes);
            }
            out.flush()
        };
        net::until_signal(&dial.endpoint, work).await
    })
}

fn heads(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn row(member: &Member) -> Vec<String> {
    let description = member.description();
    let locators: Vec<_> = description.locators.iter().map(ToString::to_string).collect();
    let services: Vec<_> = description.services.iter().map(service_text).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        description.name.to_string(),
        status_word(description.status).to_owned(),
        description
            .zone
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string),
        short(member.id()),
        or_dash(locators.join(" ")),
        or_dash(services.join(" ")),
    ]
}

fn table(rows: &[Vec<String>], out: &mut Out) -> Result<(), CliError> {
    let paint = out.paint();
    for (index, line) in columns(rows).into_iter().enumerate() {
        match index {
            0 => out.line(paint.dim(line))?,
            _ => out.line(line)?,
        }
    }
    Ok(())
}

/// Says how a registry does, and until when its agents' records are good.
#[derive(Args, Debug)]
#[command(after_help = "\
It ends with 0 when the registry answers, whatever it has to say. Records that are refused are of another cluster, or somebody lies.

Examples:
  valkyrie registry health
  valkyrie registry health --json | jq .refused")]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

/// Runs `health`.
pub(super) fn health(args: &HealthArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let dialled = args.reach.dial.dial();
    let access = dialled.access(notes)?;
    net::block_on(1, async {
        let dial = dialled.endpoint(access).await?;
        let work = async {
            let store = args.reach.once(&dial).await?;
            let begun = Instant::now();
            let (snapshot, refused) = args.reach.snapshot(&store).await?;
            let took = begun.elapsed();
            let caps = store.caps();
            let leases: HashSet<_> = snapshot.members().filter_map(|member| member.lease()).collect();
            if out.is_json() {
                let agents: Vec<Value> = snapshot.members().map(|member| ends(member)).collect();
                return out.json(&json!({
                    "reachable": true,
                    "listed_in_us": took.as_nanos() as f64 / 1e3,
                    "durable": caps.durable,
                    "ttl_min_seconds": caps.ttl_min.as_secs_f64(),
                    "ttl_max_seconds": caps.ttl_max.as_secs_f64(),
                    "revision": snapshot.revision().number(),
                    "leases": leases.len(),
                    "refused": refused,
                    "agents": agents,
                }));
            }
            let paint = out.paint();
            let kept = if caps.durable {
                "kept in a file"
            } else {
                "kept in memory"
            };
            out.line(format_args!(
                "{} listed in {}, {kept}, revision {}, {} under {}, {} refused",
                paint.good("reachable"),
                Span(took),
                snapshot.revision(),
                count(snapshot.len(), "agent"),
                count(leases.len(), "lease"),
                count(usize::try_from(refused).unwrap_or(usize::MAX), "record"),
            ))?;
            if !snapshot.is_empty() {
                let mut rows = vec![heads(&["NAME", "STATUS", "ID", "LEASE", "RECORD ENDS"])];
                rows.extend(snapshot.members().map(|member| {
                    let lease = member
                        .lease()
                        .map_or_else(|| "-".to_owned(), |lease| lease.to_string());
                    vec![
                        member.description().name.to_string(),
                        status_word(member.description().status).to_owned(),
                        short(member.id()),
                        lease,
                        member.record().not_after().to_string(),
                    ]
                }));
                table(&rows, out)?;
            }
            warn_of_refused(refused, notes);
            out.flush()
        };
        net::until_signal(&dial.endpoint, work).await
    })
}

/// What a script is told of how an agent does. That it is there says that its lease is alive.
fn ends(member: &Member) -> Value {
    let record = member.record();
    json!({
        "name": record.description().name.as_str(),
        "id": record.id().to_string(),
        "status": status_word(record.description().status),
        "lease": member.lease().map(|lease| lease.to_string()),
        "record_ends": record.not_after().secs(),
        "record_ends_in_seconds": record.not_after().since(now()).as_secs_f64(),
    })
}

fn count(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}
