//! What this side knows of those that it has dialled before: their keys, and tickets to resume with.
//!
//! It is a convenience that may be forgotten at any time: without it the next handshake is the longer one. It decides
//! nothing about trust, which is judged anew in every handshake.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use valkyrie_security::handshake::Known;
use valkyrie_transport::Locator;

/// The acceptors that are known, by the place where they were dialled.
#[derive(Default)]
pub(crate) struct Acceptors {
    known: Mutex<HashMap<Locator, Entry>>,
}

struct Entry {
    known: Known,
    /// When it was put here.
    since: Instant,
}

impl Acceptors {
    /// What to dial a place with. A ticket is good once, so it is not there the next time.
    pub(crate) fn take(&self, now: Instant, place: &Locator) -> Option<Known> {
        let mut acceptors = self.lock();
        let entry = acceptors.get_mut(place)?;
        let mut known = entry.known.clone();
        entry.known.ticket = None;
        let lives = |lifetime_s: u32| now < entry.since + Duration::from_secs(lifetime_s.into());
        if !known
            .ticket
            .as_ref()
            .is_some_and(|ticket| lives(ticket.lifetime_s()))
        {
            known.ticket = None;
        }
        Some(known)
    }

    /// Remembers what a handshake has taught, in place of what was known.
    pub(crate) fn keep(&self, now: Instant, place: &Locator, known: Known) {
        let mut acceptors = self.lock();
        if acceptors.len() >= ACCEPTORS_MAX && !acceptors.contains_key(place) {
            // The one that was heard of least recently; this is paid for by a whole handshake.
            let oldest = acceptors.iter().min_by_key(|(_, entry)| entry.since);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                acceptors.remove(&oldest);
            }
        }
        acceptors.insert(place.clone(), Entry { known, since: now });
    }

    /// Forgets a place whose acceptor is not who it was.
    pub(crate) fn forget(&self, place: &Locator) {
        self.lock().remove(place);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Locator, Entry>> {
        // Every change under this lock is one insertion or removal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to remember something about one place, as long as the endpoint is there.
pub(crate) struct Remember {
    acceptors: Weak<Acceptors>,
    place: Box<Locator>,
}

impl Remember {
    pub(crate) fn new(acceptors: &Arc<Acceptors>, place: &Locator) -> Self {
        Self {
            acceptors: Arc::downgrade(acceptors),
            place: Box::new(place.clone()),
        }
    }

    pub(crate) fn keep(&self, now: Instant, known: Known) {
        if let Some(acceptors) = self.acceptors.upgrade() {
            acceptors.keep(now, &self.place, known);
        }
    }
}

impl fmt::Debug for Acceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptors")
            .field("places", &self.lock().len())
            .finish()
    }
}

/// How many acceptors are remembered: some 300 bytes each, and more than a node dials.
const ACCEPTORS_MAX: usize = 1024;
