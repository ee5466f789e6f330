//! A runner as the schedule sees it.

use std::collections::BTreeSet;
use std::time::Instant;

/// A connected runner. Numbers are given out by the control plane and never reused, so a runner
/// that registers again is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RunnerId(pub u64);

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) labels: BTreeSet<String>,
    pub(super) slots: u32,
    /// Attempts that hold a slot: offered, accepted or running.
    pub(super) used: u32,
    /// Slots that other runs hold, as last told.
    pub(super) elsewhere: u32,
    pub(super) lease_until: Instant,
    /// Not offered anything before this.
    pub(super) resting_until: Option<Instant>,
    pub(super) draining: bool,
}

impl Runner {
    pub(super) fn has_labels(&self, wanted: &[String]) -> bool {
        wanted.iter().all(|label| self.labels.contains(label))
    }

    /// Slots that neither this run nor, as last told, another one holds.
    pub(super) fn free(&self) -> u32 {
        self.slots
            .saturating_sub(self.used.saturating_add(self.elsewhere))
    }

    pub(super) fn can_take(&self, now: Instant) -> bool {
        !self.draining && self.free() > 0 && self.resting_until.is_none_or(|until| until <= now)
    }
}
