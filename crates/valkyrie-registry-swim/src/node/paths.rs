//! The ways to other members: connections that they dialled, or that are dialled when there is something to send.
//!
//! Nothing is sent twice and nobody waits: a packet that cannot be sent now is dropped, because a late one is worth less than the next.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use valkyrie_endpoint::{Class, Connection, Endpoint, Expect, Locator};
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
    open: HashMap<Whither, Connection>,
    /// What waits for those who are being dialled.
    dialling: HashMap<Whither, Vec<Bytes>>,
    dialled: mpsc::Sender<Dialled>,
}

impl Paths {
    /// The ways, and where it is told that attempts to dial have ended.
    pub(super) fn new(endpoint: Endpoint, class: Class) -> (Self, mpsc::Receiver<Dialled>) {
        let (dialled, ended) = mpsc::channel(DIALS_MAX);
        let paths = Self {
            endpoint,
            class,
            open: HashMap::new(),
            dialling: HashMap::new(),
            dialled,
        };
        (paths, ended)
    }

    /// Somebody has proved to be at the other end of a connection.
    pub(super) fn learn(&mut self, id: &AgentId, connection: Connection) {
        let to = Whither::Agent(id.clone());
        if self.open.get(&to).is_some_and(|held| !held.is_closed()) {
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.open.retain(|_, held| !held.is_closed());
            if self.open.len() >= OPEN_MAX {
                return;
            }
        }
        self.open.insert(to, connection);
    }

    /// Sends a packet, or begins to dial with it.
    pub(super) async fn send(&mut self, to: Whither, places: &[Locator], expect: Expect, packet: Bytes) {
        if let Some(connection) = self.open.get(&to) {
            if !connection.is_closed() {
                notify(connection, self.class, packet).await;
                return;
            }
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
            Whither::Seed(_) => drop(self.open.insert(dialled.to, connection)),
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
