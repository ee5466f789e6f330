//! When messages are due in an open loop.
//!
//! Message number n is due n / rate seconds after the start, whatever became of those before it. A thread of its own
//! releases what has become due, because the runtime's timers count in whole milliseconds. What is released late is
//! still measured from when it was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::exit::{CliError, Exit};

/// Hands out due times in order.
pub(crate) struct Pacer {
    start: Instant,
    rate: f64,
    /// One permit for each message that is due and not taken. What nobody takes waits as a number, not as memory.
    due: Arc<Semaphore>,
    taken: AtomicU64,
    over: Arc<AtomicBool>,
}

impl Pacer {
    /// Begins at `start`.
    pub(crate) fn start(rate: f64, start: Instant) -> Result<Self, CliError> {
        let pacer = Self {
            start,
            rate,
            due: Arc::new(Semaphore::new(0)),
            taken: AtomicU64::new(0),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (due, over) = (Arc::clone(&pacer.due), Arc::clone(&pacer.over));
        thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || release(rate, start, &due, &over))
            .map_err(|error| CliError::new(Exit::Local, format!("no thread can be started: {error}")))?;
        Ok(pacer)
    }

    /// Waits until the next message is due and says since when.
    pub(crate) async fn next(&self) -> Instant {
        // The semaphore is never closed; if it were, there would be no more to wait for.
        if let Ok(permit) = self.due.acquire().await {
            permit.forget();
        }
        self.take()
    }

    /// When the next message was due, if it is.
    pub(crate) fn try_next(&self) -> Option<Instant> {
        self.due.try_acquire().ok()?.forget();
        Some(self.take())
    }

    /// How many messages are due at `now` and not taken, whether or not the thread came to release them.
    pub(crate) fn overdue(&self, now: Instant) -> u64 {
        let due = due_by(self.start, self.rate, now);
        due.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn take(&self) -> Instant {
        due_at(self.start, self.rate, self.taken.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn due_at(start: Instant, rate: f64, number: u64) -> Instant {
    start + Duration::from_secs_f64(number as f64 / rate)
}

/// How many are due at `now`, the first at the start.
fn due_by(start: Instant, rate: f64, now: Instant) -> u64 {
    (now.saturating_duration_since(start).as_secs_f64() * rate) as u64 + 1
}

fn release(rate: f64, start: Instant, due: &Semaphore, over: &AtomicBool) {
    sleep_exactly();
    let mut released = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let now_due = due_by(start, rate, Instant::now());
        if now_due > released {
            due.add_permits(usize::try_from(now_due - released).unwrap_or(usize::MAX));
            released = now_due;
        }
        let next = due_at(start, rate, released);
        let wait = next.saturating_duration_since(Instant::now());
        thread::sleep(wait.clamp(STEP_MIN, STEP_MAX));
    }
}

/// Asks the system not to gather this thread's wake-ups with others.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    {
        // If it is refused, releases are some 50 µs late, which the measurement shows.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

/// Waking more often than this costs more than it tells.
const STEP_MIN: Duration = Duration::from_micros(20);

/// How long the end may go unnoticed.
const STEP_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_due_at_even_times_however_late_they_are_taken() {
        let start = Instant::now();
        let pacer = Pacer::start(1000.0, start).expect("a thread");
        let first = pacer.next().await;
        let second = pacer.next().await;
        assert_eq!(first, start);
        assert_eq!(second - first, Duration::from_millis(1));
        assert_eq!(
            pacer.overdue(start + Duration::from_millis(10)),
            9,
            "11 due, 2 taken"
        );
        assert!(Instant::now() >= second, "nothing is released before it is due");
    }
}
