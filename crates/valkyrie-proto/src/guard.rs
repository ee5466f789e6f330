//! Budgets against peers that make work without doing any.

use std::time::{Duration, Instant};

use crate::{Budgets, PeerMisbehaved};

/// Counts what the peer did in the current second.
///
/// A fixed window lets through at most twice the budget across its edge and costs one comparison
/// and one addition, where a token bucket for each kind would cost a clock and a product.
#[derive(Debug)]
pub(crate) struct Guard {
    window_start: Instant,
    pings: u32,
    cancels: u32,
    controls: u32,
    credits: u32,
    idle: u32,
    tiny_fragments: u32,
    critical_bytes: u32,
    /// How many windows' budgets may be spent in this one.
    windows: u32,
}

impl Guard {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            window_start: now,
            pings: 0,
            cancels: 0,
            controls: 0,
            credits: 0,
            idle: 0,
            tiny_fragments: 0,
            critical_bytes: 0,
            windows: 1,
        }
    }

    /// The session goes on over another link: what the peer sent before, at its own pace, comes again at once.
    pub(crate) fn resumed(&mut self, now: Instant) {
        *self = Self::new(now);
        self.windows = REPLAY_WINDOWS;
    }

    /// Begins a new window when the old one is over.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            *self = Self::new(now);
        }
    }

    pub(crate) fn ping(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.pings,
            1,
            budgets.pings,
            PeerMisbehaved::TooManyPings,
        )
    }

    pub(crate) fn cancel(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.cancels,
            1,
            budgets.cancels,
            PeerMisbehaved::TooManyCancels,
        )
    }

    pub(crate) fn control(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.controls,
            1,
            budgets.controls,
            PeerMisbehaved::TooManyControls,
        )
    }

    pub(crate) fn credit(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.credits,
            1,
            budgets.credits,
            PeerMisbehaved::TooManyControls,
        )
    }

    pub(crate) fn idle(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.idle,
            1,
            budgets.idle,
            PeerMisbehaved::TooManyIdle,
        )
    }

    pub(crate) fn tiny_fragment(&mut self, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.tiny_fragments,
            1,
            budgets.tiny_fragments,
            PeerMisbehaved::TinyFragments,
        )
    }

    pub(crate) fn critical(&mut self, bytes: u32, budgets: &Budgets) -> Result<(), PeerMisbehaved> {
        self.spend(
            |guard| &mut guard.critical_bytes,
            bytes,
            budgets.critical_bytes,
            PeerMisbehaved::TooMuchCritical,
        )
    }

    #[inline]
    fn spend(
        &mut self,
        count: impl Fn(&mut Self) -> &mut u32,
        cost: u32,
        budget: u32,
        fault: PeerMisbehaved,
    ) -> Result<(), PeerMisbehaved> {
        let budget = budget.saturating_mul(self.windows);
        let count = count(self);
        *count = count.saturating_add(cost);
        if *count > budget { Err(fault) } else { Ok(()) }
    }
}

/// The time that a budget is for.
const WINDOW: Duration = Duration::from_secs(1);

/// What is sent again is what was not acknowledged: the frames of two seconds, a way there and back, and as long as it
/// took to find out that the link is broken, during which what lies below a link fills up.
const REPLAY_WINDOWS: u32 = 8;
