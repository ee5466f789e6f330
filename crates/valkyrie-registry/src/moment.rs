//! Time as a store counts it: milliseconds that never go back, from a beginning that is the store's own.
//!
//! It is not the time of day. A store that runs on one machine takes it from that machine's monotonic clock, a store of
//! many machines from what they agree on; nothing here can tell the difference, and none of it reads a clock.

use std::fmt;
use std::time::Duration;

/// A moment in the time of a store, or of whoever calls [`crate::health::Health`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// Where a store's time begins.
    pub const START: Self = Self(0);

    /// So many milliseconds after the beginning.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the beginning.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment and so much later, cut to the end of time. A part of a millisecond counts as a whole one, so that
    /// nothing is due too early.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; nothing when it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
