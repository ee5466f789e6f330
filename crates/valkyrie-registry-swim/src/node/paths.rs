//! The ways to other members: connections that they dialled, or that are dialled when there is something to send.
//!
//! Nothing is sent twice and nobody waits: a packet that cannot be sent now is dropped, because a late one is worth less than the next.
//!
//! A way that was cut and is whole again may take long to carry anything: what a transport has tried in vain it tries again after ever longer
//! pauses. So a connection to somebody who is gone is given up, and one over which nobody is heard gives way to one over which somebody is.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use valkyrie_endpoint::{Class, CloseReason, Connection, Endpoint, ErrorCode, Expect, Locator, Side};
use valkyrie_registry::agent::AgentId;

use crate::wire::{MEMBERS_MAX, METHOD, SERVICE};

/// Whom a way leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whither {
    Agent(AgentId),
    /// One of the seeds, by its place among them.
    Seed(usize),
}

/// An attempt to dial has ended.
#[derive(Debug)]
pub(super) struct Dialled {
    to: Whither,
    connection: Option<Connection>,
}

pub(super) struct Paths {
    endpoint: Endpoint,
    class: Class,
    /// How long nobody may be heard over a connection before another is better.
    stale_after: Duration,
    open: HashMap<Whither, Open>,
    /// What waits for those who are being dialled.
    dialling: HashMap<Whither, Vec<Bytes>>,
    dialled: mpsc::Sender<Dialled>,
    turned_away: Option<String>,
}

/// A connection, and when somebody was heard over it last, or it began.
struct Open {
    connection: Connection,
    heard: Instant,
}

impl Open {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            heard: Instant::now(),
        }
    }
}

impl Paths {
    /// The ways, and where it is told that attempts to dial have ended.
    pub(super) fn new(
        endpoint: Endpoint,
        class: Class,
        stale_after: Duration,
    ) -> (Self, mpsc::Receiver<Dialled>) {
        let (dialled, ended) = mpsc::channel(DIALS_MAX);
        let paths = Self {
            endpoint,
            class,
            stale_after,
            open: HashMap::new(),
            dialling: HashMap::new(),
            dialled,
            turned_away: None,
        };
        (paths, ended)
    }

    /// What another member said when it ended a connection over what this side sent, the last time that one did.
    pub(super) fn turned_away(&self) -> Option<&str> {
        self.turned_away.as_deref()
    }

    /// Somebody has proved to be at the other end of a connection, and was heard over it.
    pub(super) fn learn(&mut self, id: &AgentId, connection: Connection) {
        let to = Whither::Agent(id.clone());
        if let Some(held) = self.open.get_mut(&to) {
            if held.connection.id() == connection.id() {
                held.heard = Instant::now();
                return;
            }
            if !held.connection.is_closed() && held.heard.elapsed() < self.stale_after {
                return;
            }
        } else if self.open.len() >= OPEN_MAX {
            self.open.retain(|_, held| !held.connection.is_closed());
            if self.open.len() >= OPEN_MAX {
                return;
            }
        }
        self.open.insert(to, Open::new(connection));
    }

    /// Nobody answers any more over the connection to somebody.
    pub(super) fn forget(&mut self, id: &AgentId) {
        let held = self.open.remove(&Whither::Agent(id.clone()));
        // One that the other dialled may carry other things, and ends with its link.
        if let Some(held) = held.filter(|held| held.connection.side() == Side::Dialer) {
            held.connection.close();
        }
    }

    /// Sends a packet, or begins to dial with it.
    pub(super) async fn send(&mut self, to: Whither, places: &[Locator], expect: Expect, packet: Bytes) {
        if let Some(held) = self.open.get(&to) {
            if !held.connection.is_closed() {
                notify(&held.connection, self.class, packet).await;
                return;
            }
            self.note_end(&held.connection.clone()).await;
            self.open.remove(&to);
        }
        if let Some(waiting) = self.dialling.get_mut(&to) {
            if waiting.len() >= WAITING_MAX {
                waiting.remove(0);
            }
            waiting.push(packet);
            return;
        }
        let places = self.endpoint.usable(places.iter().cloned());
        if places.is_empty() || self.dialling.len() >= DIALS_MAX {
            return;
        }
        self.dialling.insert(to.clone(), vec![packet]);
        let (endpoint, dialled) = (self.endpoint.clone(), self.dialled.clone());
        tokio::spawn(async move {
            let connection = tokio::time::timeout(DIAL_FOR, dial(&endpoint, &places, &expect)).await;
            let connection = connection.ok().flatten();
            // That nobody is told any more means that the node has ended.
            let _ = dialled.send(Dialled { to, connection }).await;
        });
    }

    /// Takes what came of dialling, and sends what has waited.
    pub(super) async fn handle_dialled(&mut self, dialled: Dialled) {
        let waiting = self.dialling.remove(&dialled.to).unwrap_or_default();
        let Some(connection) = dialled.connection else {
            return;
        };
        for packet in waiting {
            notify(&connection, self.class, packet).await;
        }
        match &dialled.to {
            Whither::Agent(id) => self.learn(id, connection),
            Whither::Seed(_) => drop(self.open.insert(dialled.to, Open::new(connection))),
        }
    }

    /// Keeps what the other end said of this side's packets, if it ended the connection for one.
    async fn note_end(&mut self, connection: &Connection) {
        tokio::select! {
            biased;
            reason = connection.closed() => if let CloseReason::Peer(failure) = reason
                && failure.code == ErrorCode::INVALID_ARGUMENT
            {
                self.turned_away = Some(failure.text);
            },
            () = std::future::ready(()) => {}
        }
    }
}

/// The first of some places where the right one answers.
async fn dial(endpoint: &Endpoint, places: &[Locator], expect: &Expect) -> Option<Connection> {
    for place in places {
        if let Ok(connection) = endpoint.connect_expecting(place.clone(), expect.clone()).await {
            return Some(connection);
        }
    }
    None
}

/// Sends if there is room now.
async fn notify(connection: &Connection, class: Class, packet: Bytes) {
    tokio::select! {
        biased;
        // Whether it was sent shows by an answer.
        _ = connection.notify((SERVICE, METHOD), packet).class(class) => {}
        () = std::future::ready(()) => {}
    }
}

/// Ways that are kept: one to each member, and some to those who are gone or begin.
const OPEN_MAX: usize = 2 * MEMBERS_MAX;
/// Members that are dialled at a time.
const DIALS_MAX: usize = 64;
/// Packets that wait for a connection. What was said before them is old by then.
const WAITING_MAX: usize = 8;
/// How long an attempt may take: longer than it is worth to wait for a probe, and short enough to try again while somebody comes back.
const DIAL_FOR: Duration = Duration::from_secs(2);
