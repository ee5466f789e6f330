//! Deadlines in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::StreamKey;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An exchange begun here, by correlation.
    Outgoing(u32),
    /// An exchange begun by the peer, by correlation.
    Incoming(u32),
    /// A stream, by index and generation.
    Stream(u32, u32),
}

impl From<StreamKey> for Timer {
    fn from(key: StreamKey) -> Self {
        Self::Stream(key.index, key.generation)
    }
}

/// A heap with lazy deletion: an entry whose subject is gone is passed over when its time comes,
/// and the heap is rebuilt when most of it may be such entries.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(crate) fn push(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// Drops entries that `is_live` refuses, once they may be the most.
    pub(crate) fn sweep(&mut self, live_max: usize, is_live: impl Fn(Timer) -> bool) {
        if self.heap.len() > 2 * live_max + SWEEP_SLACK {
            self.heap.retain(|Reverse((_, timer))| is_live(*timer));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

/// Below this many entries stale ones are not worth a sweep.
pub(crate) const SWEEP_SLACK: usize = 1024;
