//! Which first messages have been seen: those of IK could be sent again by anyone who has recorded them.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Whether a first message is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It is, and is remembered from now on.
    Fresh,
    /// It came before.
    Seen,
    /// It is new but there is no room to remember it, so it must not be taken.
    Full,
}

/// Remembers the ephemeral keys of first messages for as long as their clocks would still be accepted.
//= protocol/security.md#which-suite
#[derive(Debug, Default)]
pub(crate) struct ReplayCache {
    seen: HashSet<[u8; 32]>,
    /// The same, oldest first.
    order: VecDeque<(Instant, [u8; 32])>,
}

impl ReplayCache {
    /// A message whose clock is 90 seconds ahead is good for 90 seconds more than one whose clock is right, and that one for 90.
    pub(crate) const WINDOW: Duration = Duration::from_secs(180);

    /// How many are remembered: 364 new ones each second of the window, at most 6 MiB.
    pub(crate) const MAX: usize = 65_536;

    /// Looks at the ephemeral key of a first message that has been opened.
    pub(crate) fn check(&mut self, now: Instant, ephemeral: &[u8; 32]) -> Freshness {
        while let Some(&(at, oldest)) = self.order.front()
            && now.saturating_duration_since(at) > Self::WINDOW
        {
            self.order.pop_front();
            self.seen.remove(&oldest);
        }
        if self.seen.contains(ephemeral) {
            Freshness::Seen
        } else if self.order.len() >= Self::MAX {
            Freshness::Full
        } else {
            self.seen.insert(*ephemeral);
            self.order.push_back((now, *ephemeral));
            Freshness::Fresh
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }
}
