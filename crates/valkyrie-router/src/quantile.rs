//! What delay answers keep below, of the last few hundred: when a second attempt is worth its cost (Dean and Barroso, "The tail at
//! scale", 2013).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The 95th percentile of recent delays. Reading takes no lock, and noting one never waits.
#[derive(Debug, Default)]
pub struct Delays {
    /// Nanoseconds; zero while too little is known.
    p95: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// A ring of nanoseconds.
    ring: Vec<u64>,
    next: usize,
    since: usize,
}

impl Delays {
    /// Notes a delay. One that comes while another is being noted is left out: it is a sample.
    pub fn note(&self, took: Duration) {
        let mut recent = match self.recent.try_lock() {
            Ok(recent) => recent,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return,
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let next = recent.next;
        match recent.ring.get_mut(next) {
            Some(place) => *place = took,
            None => recent.ring.push(took),
        }
        recent.next = (next + 1) % RING;
        recent.since += 1;
        if recent.since >= EVERY && recent.ring.len() >= KNOWN_FROM {
            recent.since = 0;
            let mut sorted = recent.ring.clone();
            let at = sorted.len() * 95 / 100;
            let (_, p95, _) = sorted.select_nth_unstable(at);
            self.p95.store((*p95).max(1), Ordering::Relaxed);
        }
    }

    /// What nineteen of twenty answers keep below; `None` before enough have been seen.
    pub fn p95(&self) -> Option<Duration> {
        match self.p95.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Forgets everything: what comes from now on is of other peers.
    pub fn clear(&self) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        *recent = Recent::default();
        self.p95.store(0, Ordering::Relaxed);
    }
}

/// Delays that are kept.
const RING: usize = 256;
/// Delays after which the percentile is looked up anew.
const EVERY: usize = 16;
/// Delays without which nothing is said.
const KNOWN_FROM: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn nothing_is_said_before_enough_is_known() {
        let delays = Delays::default();
        for _ in 0..KNOWN_FROM - 1 {
            delays.note(US);
        }
        assert_eq!(delays.p95(), None);
        delays.note(US);
        assert_eq!(delays.p95(), Some(US));
        delays.clear();
        assert_eq!(delays.p95(), None);
    }

    #[test]
    fn one_in_twenty_is_slower_and_the_old_is_forgotten() {
        let delays = Delays::default();
        for number in 0..RING as u32 {
            delays.note(US * (number * 37 % 100));
        }
        let p95 = delays.p95().unwrap();
        assert!((93 * US..=97 * US).contains(&p95), "{p95:?}");
        for _ in 0..RING {
            delays.note(7 * US);
        }
        assert_eq!(delays.p95(), Some(7 * US));
    }
}
