//! The heart of a store: entries, leases and history as a state machine. Commands and times come in, changes come out.
//!
//! It does no I/O and reads no clock, so that a store on one machine, a simulated one and one whose replicas agree on every
//! command all run the same code and come to the same state. Equal commands at equal times give equal ledgers.
//!
//! After any command, drain [`Ledger::poll_effect`]: what comes is what a durable store must have written before it tells
//! anybody of the command. Read [`Ledger::commit`] first.

mod bounds;
mod leases;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use self::bounds::Bounds;
pub use self::state::{Compacted, State};

use self::leases::Leases;
use crate::store::{
    Cause, Change, Entry, Event, KeepAlive, Lease, LeaseId, Op, Outcome, Revision, Txn, TxnError,
};
use crate::{Key, Moment};

/// Entries under leases, the changes that made them, and when the next lease ends.
#[derive(Debug)]
pub struct Ledger {
    bounds: Bounds,
    now: Moment,
    state: State,
    leases: Leases,
    effects: VecDeque<Effect>,
}

/// What a command did that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Entries changed.
    Changed(Arc<Change>),
    /// A lease begins.
    Granted(Lease),
    /// A lease has ended.
    Ended(LeaseId),
    /// Changes up to this revision, inclusive, are no longer kept.
    Compacted(Revision),
}

impl Ledger {
    /// An empty one, at its beginning.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            now: Moment::START,
            state: State::default(),
            leases: Leases::default(),
            effects: VecDeque::new(),
        }
    }

    /// An empty one whose first change comes after `revision`, of which it says that nothing is kept up to there. For one that takes the
    /// place of another which was lost: tokens still grow, and whoever watched the other is told to list anew.
    pub fn beginning_after(bounds: Bounds, revision: Revision) -> Self {
        let mut ledger = Self::new(bounds);
        ledger.state.resume_at(revision, revision);
        ledger
    }

    /// One that was kept elsewhere. Every lease gets its whole time again: nobody could renew while there was no ledger.
    ///
    /// # Errors
    /// [`RestoreError`]: the parts are not those of a ledger. Whoever kept them is at fault.
    pub fn restore(bounds: Bounds, now: Moment, kept: Kept) -> Result<Self, RestoreError> {
        let mut ledger = Self::new(bounds);
        ledger.now = now;
        for lease in kept.leases {
            ledger.leases.begin(lease, now);
        }
        for entry in kept.entries {
            if let Some(lease) = entry.lease
                && !ledger.leases.attach(lease, &entry.key)
            {
                return Err(RestoreError::NoSuchLease(entry.key.clone()));
            }
            if entry.created > entry.modified || entry.modified > kept.revision {
                return Err(RestoreError::Revision(entry.modified));
            }
            ledger.state.insert(entry);
        }
        let mut last = kept.compacted;
        for change in kept.history {
            if change.revision <= last || change.revision > kept.revision {
                return Err(RestoreError::Revision(change.revision));
            }
            last = change.revision;
            ledger.state.record(change);
        }
        if kept.compacted > kept.revision {
            return Err(RestoreError::Revision(kept.compacted));
        }
        ledger.state.resume_at(kept.revision, kept.compacted);
        ledger.leases.resume_at(kept.last_lease);
        Ok(ledger)
    }

    /// What it holds now, to be read elsewhere and later: a handful of reference counts.
    pub fn state(&self) -> State {
        let mut state = self.state.clone();
        state.set_at(self.now);
        state
    }

    /// The last change.
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// Time as far as it has been told.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The highest number that a lease was given.
    pub fn last_lease(&self) -> u64 {
        self.leases.last()
    }

    /// Does a transaction.
    ///
    /// # Errors
    /// [`CommitError`]: nothing was done.
    pub fn commit(&mut self, now: Moment, txn: &Txn) -> Result<Outcome, CommitError> {
        self.handle_timeout(now);
        txn.check()?;
        for (index, guard) in txn.guards().iter().enumerate() {
            let found = self.state.get(guard.key());
            if !guard.holds(found.map(|entry| &**entry)) {
                return Ok(Outcome::Refused {
                    guard: index,
                    found: found.cloned(),
                });
            }
        }
        self.check_room(txn)?;
        let revision = self.state.revision().next();
        let mut events = Vec::with_capacity(txn.ops().len());
        for op in txn.ops() {
            match op {
                Op::Put { key, value, lease } => {
                    let before = self.state.get(key);
                    let entry = Arc::new(Entry {
                        key: key.clone(),
                        value: value.clone(),
                        created: before.map_or(revision, |before| before.created),
                        modified: revision,
                        version: before.map_or(1, |before| before.version.saturating_add(1)),
                        lease: *lease,
                    });
                    if let Some(lease) = before.and_then(|before| before.lease) {
                        self.leases.detach(lease, key);
                    }
                    if let Some(lease) = lease {
                        self.leases.attach(*lease, key);
                    }
                    self.state.insert(Arc::clone(&entry));
                    events.push(Event::Put(entry));
                }
                Op::Delete(key) => self.remove(key, Cause::Deleted, &mut events),
            }
        }
        self.record(events);
        Ok(Outcome::Committed)
    }

    /// Grants a lease of about this long: raised to what the bounds say is the least, cut to the most.
    ///
    /// # Errors
    /// [`CommitError::Full`]: there are as many leases as there may be.
    pub fn grant(&mut self, now: Moment, ttl: Duration) -> Result<Lease, CommitError> {
        self.handle_timeout(now);
        if self.leases.len() >= self.bounds.leases_max {
            return Err(CommitError::Full("leases", self.bounds.leases_max));
        }
        let ttl = ttl.clamp(self.bounds.ttl_min, self.bounds.ttl_max);
        let lease = self.leases.grant(ttl, self.now);
        self.effects.push_back(Effect::Granted(lease));
        Ok(lease)
    }

    /// Renews a lease for its whole time from now on. Nothing of it outlives the process, so it is as cheap as it looks.
    pub fn keep_alive(&mut self, now: Moment, id: LeaseId) -> KeepAlive {
        self.handle_timeout(now);
        match self.leases.renew(id, self.now) {
            Some(ttl) => KeepAlive::Alive(ttl),
            None => KeepAlive::Gone,
        }
    }

    /// Ends a lease and deletes what lies under it, at one revision. Whether there was one.
    pub fn revoke(&mut self, now: Moment, id: LeaseId) -> bool {
        self.handle_timeout(now);
        self.end(id, Cause::Revoked)
    }

    /// Deletes an entry as if a lease of its own had run out, whatever lease it is under. For a store whose entries live by something else than
    /// leases, and whose readers should see that nobody has taken this one out. Whether there was one.
    pub fn expire(&mut self, now: Moment, key: &Key) -> bool {
        self.handle_timeout(now);
        let mut events = Vec::with_capacity(1);
        self.remove(key, Cause::Expired, &mut events);
        let was = !events.is_empty();
        self.record(events);
        was
    }

    /// Ends the leases that are due. Every other command does this first.
    pub fn handle_timeout(&mut self, now: Moment) {
        // Time that goes back is a caller's mistake that must not bring an expired lease to life.
        self.now = self.now.max(now);
        while let Some(id) = self.leases.due(self.now) {
            self.end(id, Cause::Expired);
        }
    }

    /// When the next lease ends, if any does.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.leases.next_deadline()
    }

    /// What commands did, in order. A store that keeps nothing drops it.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Forgets the changes up to `revision`, inclusive. Watches that have not seen them are told so.
    pub fn compact(&mut self, revision: Revision) {
        if let Some(compacted) = self.state.compact(revision) {
            self.effects.push_back(Effect::Compacted(compacted));
        }
    }

    /// Whether what it holds agrees with itself. Tests and fuzz targets ask after every command.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.leases.invariants();
        let mut leased = 0;
        for entry in self.state.entries() {
            assert!(entry.created <= entry.modified && entry.modified <= self.state.revision());
            if let Some(lease) = entry.lease {
                assert!(
                    self.leases.holds(lease, &entry.key),
                    "{} under {lease}",
                    entry.key
                );
                leased += 1;
            }
        }
        assert_eq!(
            leased,
            self.leases.keys(),
            "a lease holds a key that is not there"
        );
        assert!(
            self.leases
                .next_deadline()
                .is_none_or(|deadline| deadline > self.now)
        );
        self.state.invariants(&self.bounds);
    }

    fn check_room(&self, txn: &Txn) -> Result<(), CommitError> {
        let (mut more, mut fewer) = (0, 0);
        for op in txn.ops() {
            match op {
                Op::Put { key, lease, .. } => {
                    more += usize::from(self.state.get(key).is_none());
                    let Some(lease) = lease else { continue };
                    match self.leases.room(*lease, key, self.bounds.keys_per_lease_max) {
                        Some(true) => {}
                        Some(false) => {
                            return Err(CommitError::Full(
                                "keys under one lease",
                                self.bounds.keys_per_lease_max,
                            ));
                        }
                        None => return Err(CommitError::NoSuchLease(*lease)),
                    }
                }
                Op::Delete(key) => fewer += usize::from(self.state.get(key).is_some()),
            }
        }
        match (self.state.len() + more).saturating_sub(fewer) > self.bounds.entries_max && more > 0 {
            true => Err(CommitError::Full("entries", self.bounds.entries_max)),
            false => Ok(()),
        }
    }

    fn end(&mut self, id: LeaseId, cause: Cause) -> bool {
        let Some(keys) = self.leases.end(id) else {
            return false;
        };
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            self.state.remove(&key);
            events.push(Event::Deleted { key, cause });
        }
        self.record(events);
        self.effects.push_back(Effect::Ended(id));
        true
    }

    fn remove(&mut self, key: &Key, cause: Cause, events: &mut Vec<Event>) {
        let Some(entry) = self.state.remove(key) else {
            return;
        };
        if let Some(lease) = entry.lease {
            self.leases.detach(lease, key);
        }
        events.push(Event::Deleted {
            key: key.clone(),
            cause,
        });
    }

    /// Makes a change of what has been done already, unless it is nothing.
    fn record(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let revision = self.state.revision().next();
        let change = Arc::new(Change { revision, events });
        self.state.record(Arc::clone(&change));
        self.effects.push_back(Effect::Changed(change));
        if let Some(compacted) = self.state.trim(&self.bounds) {
            self.effects.push_back(Effect::Compacted(compacted));
        }
    }
}

/// A ledger as it was kept, for [`Ledger::restore`].
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The entries, in any order.
    pub entries: Vec<Arc<Entry>>,
    /// The leases, in any order.
    pub leases: Vec<Lease>,
    /// The changes that are kept, ascending.
    pub history: Vec<Arc<Change>>,
    /// The last revision.
    pub revision: Revision,
    /// Up to which changes are no longer kept.
    pub compacted: Revision,
    /// The highest number that a lease was given.
    pub last_lease: u64,
}

/// A command was refused. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The caller's transaction breaks a rule of form.
    #[error("{0}")]
    Txn(#[from] TxnError),
    /// The caller names a lease that has ended or never was.
    #[error("there is no lease {0}: it has ended, or it never was")]
    NoSuchLease(LeaseId),
    /// There is no room.
    #[error("there are {1} {0}, as many as there may be")]
    Full(&'static str, usize),
}

/// What was kept is not a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// An entry lies under a lease that is not there.
    #[error("{0} lies under a lease that was not kept")]
    NoSuchLease(Key),
    /// A revision is out of order or after the last.
    #[error("revision {0} is out of order, or after the last")]
    Revision(Revision),
}
