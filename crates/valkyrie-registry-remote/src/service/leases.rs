//! Whose a lease is, so that nobody renews, ends or writes under somebody else's, and how many each identity has.
//!
//! It forgets a lease when that must have ended. The store decides whether it has.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use valkyrie_endpoint::security::Fingerprint;
use valkyrie_registry::ledger::CommitError;
use valkyrie_registry::store::{Lease, LeaseId};

use crate::wire::Full;

#[derive(Debug)]
pub(super) struct Leases {
    per_identity_max: usize,
    held: HashMap<LeaseId, (Fingerprint, Instant)>,
    due: BTreeSet<(Instant, LeaseId)>,
    /// Leases of each identity, with those that are being granted.
    counts: HashMap<Fingerprint, usize>,
}

impl Leases {
    pub(super) fn new(per_identity_max: usize) -> Self {
        Self {
            per_identity_max,
            held: HashMap::new(),
            due: BTreeSet::new(),
            counts: HashMap::new(),
        }
    }

    /// Makes room for one more lease of an identity, to be [granted](Self::granted) or [released](Self::release).
    pub(super) fn reserve(&mut self, now: Instant, owner: Fingerprint) -> Result<(), CommitError> {
        self.forget_due(now);
        let count = self.counts.entry(owner).or_default();
        if *count >= self.per_identity_max {
            return Err(CommitError::Full(Full::Leases.words(), self.per_identity_max));
        }
        *count += 1;
        Ok(())
    }

    pub(super) fn release(&mut self, owner: Fingerprint) {
        if let Some(count) = self.counts.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owner);
            }
        }
    }

    pub(super) fn granted(&mut self, now: Instant, owner: Fingerprint, lease: Lease) {
        let until = end_of(now, lease.ttl);
        self.held.insert(lease.id, (owner, until));
        self.due.insert((until, lease.id));
    }

    /// A lease was renewed, which may be one from before this process began.
    pub(super) fn renewed(&mut self, now: Instant, owner: Fingerprint, lease: Lease) {
        match self.held.get(&lease.id) {
            Some((_, until)) => {
                self.due.remove(&(*until, lease.id));
            }
            None => *self.counts.entry(owner).or_default() += 1,
        }
        self.granted(now, owner, lease);
    }

    pub(super) fn ended(&mut self, id: LeaseId) {
        if let Some((owner, until)) = self.held.remove(&id) {
            self.due.remove(&(until, id));
            self.release(owner);
        }
    }

    /// Whose it is, where that is known.
    pub(super) fn owner(&mut self, now: Instant, id: LeaseId) -> Option<Fingerprint> {
        self.forget_due(now);
        self.held.get(&id).map(|(owner, _)| *owner)
    }

    fn forget_due(&mut self, now: Instant) {
        while let Some((until, id)) = self.due.first().copied() {
            if until > now {
                break;
            }
            self.ended(id);
        }
    }
}

fn end_of(now: Instant, ttl: Duration) -> Instant {
    now.checked_add(ttl.saturating_add(GRACE))
        .unwrap_or_else(|| now + LONGEST)
}

/// How much longer than its time a lease is remembered: a store may end one late.
const GRACE: Duration = Duration::from_secs(10);
/// A lease that ends later than time itself is looked at again after this long.
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn lease(number: u64) -> Lease {
        Lease {
            id: LeaseId::new(number),
            ttl: TTL,
        }
    }

    fn identity(byte: u8) -> Fingerprint {
        Fingerprint::from_bytes([byte; 32])
    }

    #[test]
    fn an_identity_has_so_many_leases_and_others_have_theirs() {
        let (mut leases, now) = (Leases::new(2), Instant::now());
        for number in 1..=2 {
            leases.reserve(now, identity(1)).unwrap();
            leases.granted(now, identity(1), lease(number));
        }
        assert_eq!(
            leases.reserve(now, identity(1)),
            Err(CommitError::Full("leases", 2))
        );
        assert_eq!(leases.reserve(now, identity(2)), Ok(()));
        leases.ended(LeaseId::new(1));
        assert_eq!(leases.reserve(now, identity(1)), Ok(()));
        // One that was not granted after all makes room again.
        assert!(leases.reserve(now, identity(1)).is_err());
        leases.release(identity(1));
        assert_eq!(leases.reserve(now, identity(1)), Ok(()));
    }

    #[test]
    fn a_lease_that_must_have_ended_is_forgotten() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        leases.reserve(now, identity(1)).unwrap();
        leases.granted(now, identity(1), lease(1));
        let renewed = now + TTL / 2;
        leases.renewed(renewed, identity(1), lease(1));
        assert_eq!(
            leases.owner(now + TTL + GRACE, LeaseId::new(1)),
            Some(identity(1))
        );
        let after = renewed + TTL + GRACE;
        assert_eq!(leases.owner(after, LeaseId::new(1)), None);
        assert_eq!(leases.reserve(after, identity(1)), Ok(()));
    }

    #[test]
    fn a_lease_from_before_counts_once_it_is_renewed() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        leases.renewed(now, identity(1), lease(7));
        assert_eq!(leases.owner(now, LeaseId::new(7)), Some(identity(1)));
        assert!(leases.reserve(now, identity(1)).is_err());
    }

    #[test]
    fn a_lease_of_endless_time_is_no_trouble() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        let endless = Lease {
            id: LeaseId::new(1),
            ttl: Duration::MAX,
        };
        leases.renewed(now, identity(1), endless);
        assert_eq!(leases.owner(now, LeaseId::new(1)), Some(identity(1)));
    }
}
