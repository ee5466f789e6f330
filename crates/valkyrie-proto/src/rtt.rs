//! Round-trip time, as RFC 6298 smooths it, and its least value lately.

use std::time::{Duration, Instant};

/// An estimate of the path's round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    least: Option<(Duration, Instant)>,
}

impl Rtt {
    /// Takes a sample.
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => rtt,
            Some(old) => old - old / 8 + rtt / 8,
        });
        match self.least {
            Some((least, since)) if rtt > least && now.saturating_duration_since(since) < LEAST_LIFE => {}
            _ => self.least = Some((rtt, now)),
        }
    }

    /// The smoothed estimate.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The least sample of the last while: the path without queues.
    pub(crate) fn least(&self) -> Option<Duration> {
        self.least.map(|(least, _)| least)
    }
}

/// A path may change; after this long the least delay is learned anew.
const LEAST_LIFE: Duration = Duration::from_secs(60);
