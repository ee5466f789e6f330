//! Leases: how long each lasts, what lies under it, and which ends next.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::store::{Lease, LeaseId};
use crate::{Key, Moment};

#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: HashMap<LeaseId, Held>,
    deadlines: BTreeSet<(Moment, LeaseId)>,
    last: u64,
    /// Keys under all leases.
    keys: usize,
}

#[derive(Debug)]
struct Held {
    ttl: Duration,
    deadline: Moment,
    /// In order, so that equal ledgers delete in equal order.
    keys: BTreeSet<Key>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn resume_at(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Moment) -> Lease {
        let id = LeaseId::new(self.last + 1);
        let lease = Lease { id, ttl };
        self.begin(lease, now);
        lease
    }

    pub(super) fn begin(&mut self, lease: Lease, now: Moment) {
        let held = Held {
            ttl: lease.ttl,
            deadline: now.saturating_add(lease.ttl),
            keys: BTreeSet::new(),
        };
        self.last = self.last.max(lease.id.number());
        self.deadlines.insert((held.deadline, lease.id));
        self.leases.insert(lease.id, held);
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Moment) -> Option<Duration> {
        let held = self.leases.get_mut(&id)?;
        let deadline = now.saturating_add(held.ttl);
        if deadline != held.deadline {
            self.deadlines.remove(&(held.deadline, id));
            self.deadlines.insert((deadline, id));
            held.deadline = deadline;
        }
        Some(held.ttl)
    }

    pub(super) fn end(&mut self, id: LeaseId) -> Option<BTreeSet<Key>> {
        let held = self.leases.remove(&id)?;
        self.deadlines.remove(&(held.deadline, id));
        self.keys -= held.keys.len();
        Some(held.keys)
    }

    pub(super) fn due(&self, now: Moment) -> Option<LeaseId> {
        let (deadline, id) = self.deadlines.first()?;
        (*deadline <= now).then_some(*id)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether one more key fits under a lease; `None` where there is no lease.
    pub(super) fn room(&self, id: LeaseId, key: &Key, max: usize) -> Option<bool> {
        let held = self.leases.get(&id)?;
        Some(held.keys.len() < max || held.keys.contains(key))
    }

    /// Whether there is such a lease.
    pub(super) fn attach(&mut self, id: LeaseId, key: &Key) -> bool {
        let Some(held) = self.leases.get_mut(&id) else {
            return false;
        };
        self.keys += usize::from(held.keys.insert(key.clone()));
        true
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &Key) {
        if let Some(held) = self.leases.get_mut(&id) {
            self.keys -= usize::from(held.keys.remove(key));
        }
    }

    pub(super) fn holds(&self, id: LeaseId, key: &Key) -> bool {
        self.leases.get(&id).is_some_and(|held| held.keys.contains(key))
    }

    pub(super) fn invariants(&self) {
        assert_eq!(self.leases.len(), self.deadlines.len());
        assert_eq!(
            self.keys,
            self.leases.values().map(|held| held.keys.len()).sum::<usize>()
        );
        for (deadline, id) in &self.deadlines {
            assert_eq!(self.leases.get(id).map(|held| held.deadline), Some(*deadline));
            assert!(id.number() <= self.last);
        }
    }
}
