//! Round-trip time, as RFC 6298 smooths it, and its least value of the last ten minutes.

use std::time::{Duration, Instant};

/// An estimate of the path's round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    least: Option<Least>,
}

/// The least of each minute in which there was a sample.
#[derive(Clone, Copy, Debug)]
struct Least {
    /// In microseconds, the present minute first; [`NONE`] where there was no sample.
    minutes: [u32; MINUTES],
    /// When the present minute began.
    since: Instant,
}

impl Rtt {
    /// Takes a sample.
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => rtt,
            Some(old) => old - old / 8 + rtt / 8,
        });
        let least = self.least.get_or_insert(Least {
            minutes: [NONE; MINUTES],
            since: now,
        });
        least.pass(now);
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(NONE - 1);
        least.minutes[0] = least.minutes[0].min(micros);
    }

    /// Whether there has been a sample.
    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.least.is_some()
    }

    /// The smoothed estimate.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The least sample of the last ten minutes: the path without queues.
    pub(crate) fn least(&self) -> Option<Duration> {
        let minutes = self.least?.minutes;
        let least = minutes.into_iter().min().filter(|&micros| micros != NONE)?;
        Some(Duration::from_micros(least.into()))
    }
}

impl Least {
    /// Moves on to the minute of `now`.
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs() / MINUTE.as_secs();
        if passed == 0 {
            return;
        }
        let places = usize::try_from(passed).unwrap_or(MINUTES).min(MINUTES);
        self.minutes.copy_within(..MINUTES - places, places);
        self.minutes[..places].fill(NONE);
        self.since += Duration::from_secs(passed * MINUTE.as_secs());
    }
}

/// How long the least is remembered, as RFC 6817 recommends (BASE_HISTORY). A path may change, so it is not for ever; but a queue
/// that others keep full for a minute must not pass for the path, or data would stop yielding to them.
//= protocol/session.md#windows
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// No sample.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Duration = Duration::from_millis(10);
    const QUEUE: Duration = Duration::from_millis(100);

    #[test]
    fn a_queue_that_stands_for_minutes_is_not_taken_for_the_path() {
        let begun = Instant::now();
        let mut rtt = Rtt::default();
        rtt.sample(begun, PATH);
        for second in 1..9 * 60 {
            rtt.sample(begun + Duration::from_secs(second), PATH + QUEUE);
            assert_eq!(rtt.least(), Some(PATH), "after {second} s");
        }
    }

    #[test]
    fn a_path_that_became_longer_is_learned_in_the_end() {
        let begun = Instant::now();
        let mut rtt = Rtt::default();
        rtt.sample(begun, PATH);
        for second in 1..=10 * 60 {
            rtt.sample(begun + Duration::from_secs(second), PATH + QUEUE);
        }
        assert_eq!(rtt.least(), Some(PATH + QUEUE));
    }

    #[test]
    fn after_a_long_silence_the_past_does_not_count() {
        let begun = Instant::now();
        let mut rtt = Rtt::default();
        rtt.sample(begun, PATH);
        rtt.sample(begun + Duration::from_secs(86_400), QUEUE);
        assert_eq!(rtt.least(), Some(QUEUE));
    }
}
