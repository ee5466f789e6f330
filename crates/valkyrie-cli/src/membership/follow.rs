//! A member while it runs: who joins, leaves and fails, a line each, and what is wrong with the membership itself.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use valkyrie::Endpoint;
use valkyrie_registry::View;
use valkyrie_registry::agent::AgentId;
use valkyrie_registry::directory::{self, DirectoryEvent, GoneCause};
use valkyrie_registry::store::Cause;
use valkyrie_registry::view::{Events, EventsError};
use valkyrie_registry_swim::node::{Seed, Sight};
use valkyrie_registry_swim::{Node, PacketError};

use super::meet::{Meetings, meet};
use crate::exit::{CliError, Exit};
use crate::out::{Notes, Out};
use crate::registry::agent::{Said, offers, short};
use crate::units::Span;

/// A node that is a member.
pub(crate) struct Member {
    node: Node,
    view: View,
    events: Events,
    meetings: Meetings,
    meeting: JoinSet<Result<(), CliError>>,
    seeds: usize,
}

impl Member {
    pub(super) fn new(node: Node, endpoint: &Endpoint, seeds: Vec<Seed>) -> Self {
        let view = node.view();
        let events = view.events();
        let count = seeds.len();
        let meeting = seeds
            .into_iter()
            .map(|seed| meet(endpoint.clone(), seed))
            .collect();
        Self {
            node,
            events,
            view,
            meetings: Meetings::default(),
            meeting,
            seeds: count,
        }
    }

    /// Tells what happens, for as long as the node is a member.
    pub(crate) async fn follow(&mut self, out: &mut Out, notes: Notes) -> Result<Infallible, CliError> {
        let own = self.node.sight().life.id;
        let mut told = Told::default();
        let alone = tokio::time::sleep(ALONE_FOR);
        tokio::pin!(alone);
        let mut may_be_alone = self.seeds > 0;
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Ok(event) => say(&own, &event, out)?,
                    Err(EventsError::Missed(count)) => notes.warning(format_args!("{count} changes were too fast to be told")),
                    Err(EventsError::Ended) => return Err(ended()),
                },
                Some(met) = self.meeting.join_next() => {
                    let met = met.unwrap_or_else(|error| Err(CliError::new(Exit::Local, error.to_string())));
                    if let Some(error) = self.meetings.take(met, self.seeds)? {
                        notes.warning(format_args!("{}; it is tried again", error.message));
                    }
                }
                sight = self.node.wait_for(|sight| told.is_news(sight)) => {
                    told.tell(&sight.map_err(|_| ended())?, notes);
                }
                () = &mut alone, if may_be_alone => {
                    may_be_alone = false;
                    if self.node.sight().members == 1 && self.meetings.met > 0 {
                        notes.warning(format_args!(
                            "nobody at the places of --join has taken this node in for {}: the policy there may not give it the service `swim`",
                            Span(ALONE_FOR)
                        ));
                    }
                }
            }
        }
    }

    /// Leaves and tells the others, who then wait for nobody.
    pub(crate) async fn leave(self, notes: Notes) {
        drop(self.view);
        if let Err(error) = self.node.leave().await {
            notes.warning(format_args!(
                "the others were not told that this node leaves: {error}"
            ));
        }
    }
}

/// Follows a member, if there is one; otherwise nothing ever comes of it.
pub(crate) async fn follow(
    member: Option<&mut Member>,
    out: &mut Out,
    notes: Notes,
) -> Result<Infallible, CliError> {
    match member {
        Some(member) => member.follow(out, notes).await,
        None => std::future::pending().await,
    }
}

/// What has been told of how the membership itself does.
#[derive(Debug, Default)]
struct Told {
    fault: Option<PacketError>,
    turned_away: Option<String>,
}

impl Told {
    fn is_news(&self, sight: &Sight) -> bool {
        sight.fault != self.fault || sight.turned_away != self.turned_away
    }

    fn tell(&mut self, sight: &Sight, notes: Notes) {
        if sight.fault != self.fault {
            if let Some(fault) = &sight.fault {
                notes.warning(format_args!("a connection was closed: {fault}"));
            }
            self.fault.clone_from(&sight.fault);
        }
        if sight.turned_away != self.turned_away {
            if let Some(text) = &sight.turned_away {
                notes.warning(format_args!("another member does not take this one in: {text}"));
            }
            self.turned_away.clone_from(&sight.turned_away);
        }
    }
}

/// Says what became of another member. That one answers an accusation is nothing to tell.
fn say(own: &AgentId, event: &DirectoryEvent, out: &mut Out) -> Result<(), CliError> {
    let (what, member) = match event {
        DirectoryEvent::Registered(member) => ("joined", member),
        DirectoryEvent::Replaced { after, .. } => ("restarted", after),
        DirectoryEvent::Updated { before, after } if before.description() == after.description() => {
            return Ok(());
        }
        DirectoryEvent::Updated { after, .. } => ("updated", after),
        DirectoryEvent::Gone { before, cause } => (parting(*cause), before),
        // What this member has not taken itself is not in its view to be refused.
        _ => return Ok(()),
    };
    match member.id() == own {
        true => Ok(()),
        false => line(what, member, out),
    }
}

fn parting(cause: GoneCause) -> &'static str {
    match cause {
        GoneCause::Store(Cause::Deleted) => "left",
        _ => "failed",
    }
}

fn line(what: &str, member: &directory::Member, out: &mut Out) -> Result<(), CliError> {
    let record = member.record();
    if out.is_json() {
        return out.json(&json!({
            "event": what, "id": record.id().to_string(), "incarnation": record.incarnation().number(),
            "sequence": record.sequence(), "agent": Said::of(record.description()),
        }));
    }
    let paint = out.paint();
    out.line(format_args!(
        "{}  {}  {}  {}",
        paint.name(format!("{what:<9}")),
        paint.bold(&record.description().name),
        short(record.id()),
        offers(record)
    ))?;
    out.flush()
}

fn ended() -> CliError {
    CliError::new(Exit::Local, "the membership has ended")
}

/// How long a place of `--join` may take to answer before that is told.
pub(super) const DIAL_FOR: Duration = Duration::from_secs(10);
/// After how long without any other member it is told why that may be.
const ALONE_FOR: Duration = Duration::from_secs(10);
