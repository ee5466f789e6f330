//! What was measured so far: counts, and a histogram of latency.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Collects from all workers. Each connection has a shard, as far as there are some, so that threads seldom meet.
pub(crate) struct Meter {
    shards: Vec<Shard>,
    /// What [`Meter::rate_since_last`] last saw.
    last: Mutex<(Instant, u64)>,
}

#[derive(Default)]
struct Shard {
    done: AtomicU64,
    failed: AtomicU64,
    latency: Mutex<Option<Histogram<u64>>>,
}

/// Everything measured, put together.
pub(crate) struct Reading {
    pub(crate) latency: Histogram<u64>,
    pub(crate) failed: u64,
}

impl Meter {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            shards: (0..connections.clamp(1, SHARDS_MAX))
                .map(|_| Shard::default())
                .collect(),
            last: Mutex::new((Instant::now(), 0)),
        }
    }

    /// A message that was due at `due` is done.
    pub(crate) fn done_at(&self, shard: usize, due: Instant, now: Instant) {
        let shard = self.shard(shard);
        shard.done.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(now.saturating_duration_since(due).as_nanos()).unwrap_or(u64::MAX);
        lock(&shard.latency)
            .get_or_insert_with(histogram)
            .saturating_record(nanos);
    }

    /// Many messages that were due at the times in `due` are done.
    pub(crate) fn all_done_at(
        &self,
        shard: usize,
        due: impl ExactSizeIterator<Item = Instant>,
        now: Instant,
    ) {
        let shard = self.shard(shard);
        shard.done.fetch_add(due.len() as u64, Ordering::Relaxed);
        let mut latency = lock(&shard.latency);
        let latency = latency.get_or_insert_with(histogram);
        for due in due {
            let nanos = u64::try_from(now.saturating_duration_since(due).as_nanos()).unwrap_or(u64::MAX);
            latency.saturating_record(nanos);
        }
    }

    /// Messages without an answer are done.
    pub(crate) fn sent(&self, shard: usize, count: usize) {
        self.shard(shard).done.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, shard: usize) {
        self.shard(shard).failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages done so far, whenever they were due.
    pub(crate) fn done(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.done.load(Ordering::Relaxed))
            .sum()
    }

    /// Messages a second since this was last asked.
    pub(crate) fn rate_since_last(&self, now: Instant) -> f64 {
        let mut last = lock(&self.last);
        let done = self.done();
        let seconds = now
            .saturating_duration_since(last.0)
            .max(Duration::from_millis(1))
            .as_secs_f64();
        let rate = (done - last.1) as f64 / seconds;
        *last = (now, done);
        rate.round()
    }

    pub(crate) fn reading(&self) -> Reading {
        let mut latency = histogram();
        for shard in &self.shards {
            if let Some(part) = &*lock(&shard.latency) {
                // Both have the same bounds, so that every value fits.
                let _ = latency.add(part);
            }
        }
        Reading {
            latency,
            failed: self
                .shards
                .iter()
                .map(|shard| shard.failed.load(Ordering::Relaxed))
                .sum(),
        }
    }

    fn shard(&self, index: usize) -> &Shard {
        &self.shards[index % self.shards.len()]
    }
}

/// A panic while recording leaves a histogram that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(LEAST_NANOS, MOST_NANOS, DIGITS) {
        Ok(histogram) => histogram,
        // The bounds are constants that the crate accepts, as a test shows.
        Err(error) => unreachable!("{error}"),
    }
}

/// The finest step that is told apart: clocks tick no finer.
const LEAST_NANOS: u64 = 16;

/// An hour; what takes longer is counted as an hour.
const MOST_NANOS: u64 = 3_600_000_000_000;

/// Three significant digits: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Each shard has a histogram of some hundred KiB, and more than this many threads seldom record at once.
const SHARDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_a_message_was_due() {
        let due = Instant::now();
        let meter = Meter::new(2);
        meter.done_at(0, due, due + Duration::from_micros(100));
        meter.all_done_at(1, [due, due].into_iter(), due + Duration::from_micros(300));
        meter.sent(1, 2);
        meter.failed(0);
        let Reading { latency, failed } = meter.reading();
        assert_eq!((meter.done(), latency.len(), failed), (5, 3, 1));
        let close = |found: u64, wanted: f64| (found as f64 / wanted - 1.0).abs() < 2e-3;
        assert!(
            close(latency.min(), 1e5) && close(latency.max(), 3e5),
            "{} {}",
            latency.min(),
            latency.max()
        );
    }
}
