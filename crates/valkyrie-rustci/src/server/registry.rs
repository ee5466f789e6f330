//! The runners that a control plane knows, connected or expected back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use valkyrie_security::Fingerprint;

use crate::schedule::RunnerId;
use crate::wire::FromServer;

/// Runners known at once. Each costs a few hundred bytes and a look at every change.
pub const RUNNERS_MAX: usize = 1024;
/// Messages to one runner that wait to be sent. It covers an offer, a cancel and a settlement for every
/// slot of most runners; one that lets more pile up is not reading, and its connection is closed.
pub(super) const OUTBOX_MAX: usize = 1024;

/// Every runner that has registered and was not given up.
#[derive(Debug, Default)]
pub(super) struct RunnerRegistry {
    runners: BTreeMap<RunnerId, RunnerEntry>,
}

/// One runner.
#[derive(Debug)]
pub(super) struct RunnerEntry {
    /// What it proved; nothing on a plain connection.
    pub(super) identity: Option<Fingerprint>,
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    pub(super) slots: u32,
    /// Slots that runs hold, over all runs.
    pub(super) used: u32,
    /// The endpoint's number of the connection it registered on.
    pub(super) connection: u64,
    /// Where messages to it go, while its stream is open.
    pub(super) outbox: Option<mpsc::Sender<FromServer>>,
    pub(super) lease_until: Instant,
    pub(super) draining: bool,
    pub(super) healthy: bool,
}

impl RunnerEntry {
    /// Whether it is to be offered nothing.
    pub(super) fn is_away(&self) -> bool {
        self.draining || !self.healthy || self.outbox.is_none()
    }
}

impl RunnerRegistry {
    pub(super) fn insert(&mut self, id: RunnerId, entry: RunnerEntry) {
        self.runners.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: RunnerId) -> Option<RunnerEntry> {
        self.runners.remove(&id)
    }

    pub(super) fn entry(&self, id: RunnerId) -> Option<&RunnerEntry> {
        self.runners.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: RunnerId) -> Option<&mut RunnerEntry> {
        self.runners.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RunnerId, &RunnerEntry)> {
        self.runners.iter().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (RunnerId, &mut RunnerEntry)> {
        self.runners.iter_mut().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn is_full(&self) -> bool {
        self.runners.len() >= RUNNERS_MAX
    }

    /// The runner that registered on this connection.
    pub(super) fn on_connection(&self, connection: u64) -> Option<RunnerId> {
        self.iter()
            .find_map(|(id, entry)| (entry.connection == connection).then_some(id))
    }

    pub(super) fn named(&self, name: &str) -> Option<RunnerId> {
        self.iter()
            .find_map(|(id, entry)| (entry.name == name).then_some(id))
    }

    /// A runner is alive.
    pub(super) fn renew(&mut self, id: RunnerId, now: Instant, lease: Duration) {
        if let Some(entry) = self.runners.get_mut(&id) {
            entry.lease_until = now + lease;
        }
    }

    /// Runners that fell silent beyond their lease.
    pub(super) fn silent(&self, now: Instant) -> Vec<RunnerId> {
        self.iter()
            .filter_map(|(id, entry)| (entry.lease_until <= now).then_some(id))
            .collect()
    }

    pub(super) fn next_silence(&self) -> Option<Instant> {
        self.runners.values().map(|entry| entry.lease_until).min()
    }

    /// Queues a message. A runner that lets its outbox fill up loses it, which ends its stream.
    pub(super) fn send(&mut self, id: RunnerId, message: impl Into<FromServer>) {
        if let Some(entry) = self.runners.get_mut(&id)
            && let Some(outbox) = &entry.outbox
            && outbox.try_send(message.into()).is_err()
        {
            entry.outbox = None;
        }
    }
}
