//! Keeps messages from a way that fails, and lets them back slowly.
//!
//! A way that has failed so many times in a row is left alone for a while. Then a growing share of messages may try it, so
//! that a peer that has just restarted is not met by everybody at once. Each time it fails again it is left alone for twice as
//! long, up to a bound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerLimits {
    /// Failures in a row that open it; zero is read as one.
    pub failures: u32,
    /// How long it stays open the first time.
    pub open_min: Duration,
    /// How long it stays open at most, however often it opens.
    pub open_max: Duration,
    /// How long it takes from the first message that is let through to all of them.
    pub ramp: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures: 5,
            open_min: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
            ramp: Duration::from_secs(10),
        }
    }
}

/// Whether a way is to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// As any other.
    Full,
    /// By this share of the messages that would go there, more than 0 and less than 1.
    Share(f32),
    /// By none until then.
    Closed(Instant),
}

/// The breaker of one way, shared by everybody who uses it. Asking takes no lock.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    epoch: Instant,
    /// Nanoseconds after `epoch` until which it is open; zero when it has never been.
    open_until: AtomicU64,
    /// There is something for a success to make good. Without it a success takes no lock.
    blemished: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_for: Duration,
}

impl Breaker {
    /// A closed one, through which everything goes.
    pub fn new(limits: BreakerLimits, now: Instant) -> Self {
        Self {
            limits,
            epoch: now,
            open_until: AtomicU64::new(0),
            blemished: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Whether messages may go now.
    pub fn admission(&self, now: Instant) -> Admission {
        let until = self.open_until.load(Ordering::Relaxed);
        if until == 0 {
            return Admission::Full;
        }
        let until = Duration::from_nanos(until);
        let now = now.saturating_duration_since(self.epoch);
        let Some(since) = now.checked_sub(until) else {
            return Admission::Closed(self.epoch + until);
        };
        if since >= self.limits.ramp {
            return Admission::Full;
        }
        let share = since.as_secs_f32() / self.limits.ramp.as_secs_f32();
        Admission::Share(share.max(SHARE_MIN))
    }

    /// Something went well.
    pub fn succeeded(&self, now: Instant) {
        if !self.blemished.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        if self.admission(now) == Admission::Full {
            state.open_for = Duration::ZERO;
            self.open_until.store(0, Ordering::Relaxed);
            self.blemished.store(false, Ordering::Relaxed);
        }
    }

    /// Something failed that a way is to blame for. Whether that is one too many, so that [`Breaker::open`] is due.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        self.blemished.store(true, Ordering::Relaxed);
        match self.admission(now) {
            Admission::Closed(_) => false,
            // Who has just been let back has no credit.
            Admission::Share(_) => true,
            Admission::Full => state.failures >= self.limits.failures.max(1),
        }
    }

    /// Opens it.
    pub fn open(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        self.blemished.store(true, Ordering::Relaxed);
        state.open_for = (state.open_for * 2)
            .max(self.limits.open_min)
            .min(self.limits.open_max);
        let until = now.saturating_duration_since(self.epoch) + state.open_for;
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.open_until.store(until, Ordering::Relaxed);
    }
}

/// What is let through at once when a breaker begins to close: somebody has to be first.
const SHARE_MIN: f32 = 0.02;
