//! `valkyrie registry watch`: what happens to agents, a line each.

use std::collections::HashMap;

use clap::Args;
use serde_json::json;
use valkyrie_registry::agent::{AgentId, Word};
use valkyrie_registry::record::Record;
use valkyrie_registry::store::{Cause, Entry, Event, Revision, Store};

use super::agent::{Said, offers, short};
use super::{ReachArgs, warn_of_refused};
use crate::exit::CliError;
use crate::net;
use crate::out::{Notes, Out};
use crate::signals::{Caught, Signals};

/// Shows what happens to agents, one line each, until Ctrl-C.
#[derive(Args, Debug)]
#[command(after_help = "\
It goes on over a lost connection without leaving anything out. Each line has the revision of the change; --after goes on from there later.

Examples:
  valkyrie registry watch
  valkyrie registry watch --after 1042 --json")]
pub(crate) struct WatchArgs {
    /// Begin with what happened after this revision, in place of what happens from now on.
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,

    #[command(flatten)]
    reach: ReachArgs,
}

/// Runs the command.
pub(super) fn run(args: &WatchArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let dialled = args.reach.dial.dial();
    let access = dialled.access(notes)?;
    net::block_on(1, async {
        let mut signals = Signals::install()?;
        let dial = dialled.endpoint(access).await?;
        let work = async {
            let store = args.reach.kept(&dial, &dialled).await?;
            follow(args, &store, out, notes).await
        };
        tokio::select! {
            ended = work => ended,
            // Whoever asked for a watch without end has got what was wanted.
            caught = signals.next() => match caught {
                Caught::Interrupt => Ok(()),
                Caught::Terminate => Err(CliError::silent(caught.exit())),
            },
        }
    })
}

async fn follow(args: &WatchArgs, store: &dyn Store, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let mut watcher = Watcher {
        cluster: args.reach.cluster.clone(),
        names: HashMap::new(),
    };
    let after = match args.after {
        Some(after) => Revision::new(after),
        None => {
            let (snapshot, refused) = args.reach.snapshot(store).await?;
            warn_of_refused(refused, notes);
            for member in snapshot.members() {
                watcher
                    .names
                    .insert(member.id().clone(), member.description().name.clone());
            }
            snapshot.revision()
        }
    };
    let mut watch = store.watch(&AgentId::prefix(), after).await?;
    if out.is_json() {
        out.json(&json!({"event": "watching", "after": after.number()}))?;
    } else {
        notes.remark(format_args!("watching after revision {after}"));
    }
    loop {
        let batch = watch.next(CHANGES).await?;
        for change in &batch.changes {
            for event in &change.events {
                match event {
                    Event::Put(entry) => watcher.put(entry, out)?,
                    Event::Deleted { key, cause } => {
                        if let Some(id) = AgentId::from_key(key) {
                            watcher.gone(&id, *cause, change.revision, out)?;
                        }
                    }
                }
            }
        }
        out.flush()?;
    }
}

struct Watcher {
    cluster: Word,
    /// Of those who are there, so that one can be named when it is gone.
    names: HashMap<AgentId, Word>,
}

impl Watcher {
    fn put(&mut self, entry: &Entry, out: &mut Out) -> Result<(), CliError> {
        let revision = entry.modified.number();
        match Record::open(&self.cluster, &entry.key, &entry.value) {
            Ok(record) => {
                let name = record.description().name.clone();
                let what = if entry.created == entry.modified {
                    "registered"
                } else {
                    "updated"
                };
                self.names.insert(record.id().clone(), name.clone());
                if out.is_json() {
                    return out.json(&json!({
                        "event": what, "revision": revision, "id": record.id().to_string(),
                        "incarnation": record.incarnation().number(), "agent": Said::of(record.description()),
                    }));
                }
                line(out, revision, what, &name, &short(record.id()), &offers(&record))
            }
            Err(fault) => {
                if out.is_json() {
                    return out.json(&json!({
                        "event": "refused", "revision": revision, "key": entry.key.as_str(), "why": fault.to_string(),
                    }));
                }
                out.line(format_args!(
                    "{revision}  {}  {}  {fault}",
                    out.paint().warn("refused"),
                    entry.key
                ))
            }
        }
    }

    fn gone(
        &mut self,
        id: &AgentId,
        cause: Cause,
        revision: Revision,
        out: &mut Out,
    ) -> Result<(), CliError> {
        let name = self.names.remove(id);
        let cause = match cause {
            Cause::Deleted => "deleted",
            Cause::Expired => "expired",
            Cause::Revoked => "revoked",
            _ => "lease ended",
        };
        if out.is_json() {
            return out.json(&json!({
                "event": "gone", "revision": revision.number(), "id": id.to_string(),
                "name": name.as_ref().map(Word::as_str), "cause": cause,
            }));
        }
        let name = name.as_ref().map_or("-", Word::as_str);
        line(out, revision.number(), "gone", name, &short(id), cause)
    }
}

fn line(
    out: &mut Out,
    revision: u64,
    what: &str,
    name: impl std::fmt::Display,
    id: &str,
    rest: &str,
) -> Result<(), CliError> {
    let paint = out.paint();
    let text = format!(
        "{revision}  {}  {}  {id}  {rest}",
        paint.name(format!("{what:<10}")),
        paint.bold(name)
    );
    out.line(text.trim_end())
}

/// Changes that are printed before the next are asked for.
const CHANGES: usize = 256;
