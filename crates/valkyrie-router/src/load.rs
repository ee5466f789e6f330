//! How busy and how slow a way is, as those who used it last found it.
//!
//! The delay is a peak-sensitive moving average, as Finagle's balancer has it: a slower answer counts at once and in full, a
//! faster one little by little, and what was seen long ago fades, so that a peer that was slow once is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The load of one way. Everybody who uses the way shares it; nobody waits for anybody.
///
/// Figures are read and written without a lock. Of two answers that come at the same instant one may be lost to the
/// average, which is about the past anyway; what is in flight is exact.
#[derive(Debug)]
pub struct Load {
    in_flight: AtomicU32,
    /// Nanoseconds; zero before the first answer.
    delay: AtomicU64,
    /// When that was, in nanoseconds after `epoch`.
    seen: AtomicU64,
    epoch: Instant,
}

impl Load {
    /// Of a way that nobody has used.
    pub const fn new(now: Instant) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            delay: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            epoch: now,
        }
    }

    /// Notes that something is sent. It is in flight until what this returns is dropped or answered.
    pub fn begin(self: &Arc<Self>, now: Instant) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            load: Arc::clone(self),
            begun: now,
        }
    }

    /// What is in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The delay that is to be expected; zero when nothing is known.
    pub fn delay(&self, now: Instant) -> Duration {
        let delay = self.delay.load(Ordering::Relaxed);
        let age = self.age(now);
        if age < FADES_AFTER {
            return Duration::from_nanos(delay);
        }
        Duration::from_nanos((delay as f64 * fading(age - FADES_AFTER)) as u64)
    }

    /// What one more message would cost here, in nanoseconds: the expected delay times what would be in flight. Where
    /// nothing is known, what is in flight counts as if it were slow, so that a new peer gets one message and not all.
    pub fn cost(&self, now: Instant) -> u64 {
        let in_flight = u64::from(self.in_flight());
        let delay = u64::try_from(self.delay(now).as_nanos()).unwrap_or(u64::MAX);
        match (delay, in_flight) {
            (0, 0) => 0,
            (0, _) => UNKNOWN_DELAY_NS.saturating_mul(in_flight + 1),
            _ => delay.saturating_mul(in_flight + 1),
        }
    }

    fn age(&self, now: Instant) -> Duration {
        let now = now.saturating_duration_since(self.epoch);
        now.saturating_sub(Duration::from_nanos(self.seen.load(Ordering::Relaxed)))
    }

    fn answered(&self, took: Duration, now: Instant) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let before = self.delay.load(Ordering::Relaxed);
        let delay = if took >= before {
            took
        } else {
            let keeps = fading(self.age(now));
            took + ((before - took) as f64 * keeps) as u64
        };
        let seen = now.saturating_duration_since(self.epoch).as_nanos();
        self.seen
            .store(u64::try_from(seen).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.delay.store(delay, Ordering::Relaxed);
    }
}

/// Something that was sent and not answered yet.
#[derive(Debug)]
pub struct InFlight {
    load: Arc<Load>,
    begun: Instant,
}

impl InFlight {
    /// Only now is it really sent: what came before, such as dialling, says nothing about how long answers take.
    pub fn sent(&mut self, now: Instant) {
        self.begun = now;
    }

    /// It was answered, well or badly, after it had taken so long.
    pub fn answered(self, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        self.load.answered(took, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is left of a weight after a time.
fn fading(age: Duration) -> f64 {
    (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

/// After this long two thirds of what was seen are forgotten. Ten seconds even out a burst and forget a pause.
const MEMORY: Duration = Duration::from_secs(10);

/// What was seen so lately does not fade: a busy way is judged by its answers alone.
const FADES_AFTER: Duration = Duration::from_secs(1);

/// What a peer that has not answered yet is taken to need for each message that it has.
const UNKNOWN_DELAY_NS: u64 = 1_000_000_000;
