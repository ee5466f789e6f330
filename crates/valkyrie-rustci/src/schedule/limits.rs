//! The times and counts a schedule works with.

use std::time::Duration;

/// Times and counts of one run. The default suits runners on a local network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How long a runner has to accept an offer. Long enough for a busy machine, short enough that
    /// a lost offer is not felt.
    pub accept_within: Duration,
    /// How long a runner is not offered anything after it let an offer lapse or refused one. It
    /// keeps a broken runner from being asked in a tight loop.
    pub runner_back_off: Duration,
    /// Offers of one job that may go unaccepted before the job fails.
    pub offers_max: u32,
    /// Silence after which a runner counts as gone. Runners renew at a third of it.
    pub lease: Duration,
    /// Attempts that may be lost with their runner before the job ends as lost. More than a few
    /// mean that the job itself brings runners down.
    pub lost_max: u32,
    /// How long past a job's timeout the runner has to report it before the schedule does.
    pub timeout_margin: Duration,
    /// How long a runner has to end a cancelled job; covers the grace its processes get.
    pub cancel_within: Duration,
    /// How long a ready job waits while no connected runner has its labels.
    pub unmatched_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accept_within: Duration::from_secs(5),
            runner_back_off: Duration::from_secs(1),
            offers_max: 16,
            lease: Duration::from_secs(15),
            lost_max: 3,
            timeout_margin: Duration::from_secs(30),
            cancel_within: Duration::from_secs(30),
            unmatched_max: Duration::from_secs(60),
        }
    }
}
