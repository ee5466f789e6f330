//! Time that stands still until it is moved.

use std::time::{Duration, Instant};

/// A virtual clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    now: Instant,
}

impl Clock {
    /// A clock at its beginning. `Instant` has no zero, so the beginning is some instant.
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How much time has passed since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Moves time forward. Time never goes back.
    pub fn advance_to(&mut self, to: Instant) {
        self.now = self.now.max(to);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
