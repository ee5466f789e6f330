//! The states of a job and what the schedule asks of its owner.

use std::time::Instant;

use super::{FailReason, RunResult, RunnerId};
use crate::pipeline::JobIndex;

/// Which try at a job this is, from 1. It fences: only the newest attempt can change a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

/// Where a job stands.
///
/// ```text
/// Queued ─→ Offered ─→ Accepted ─→ Running ─→ Succeeded | Failed | TimedOut | Cancelled
///    ↑         │           │          │
///    └─────────┴───────────┴──────────┘  offer lapsed, or the runner was lost
/// Queued ─→ Skipped | Cancelled | Failed          (a need failed; nobody can run it)
/// Queued ─→ Lost                                  (lost too often)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// Waits for its needs or for a runner.
    Queued,
    /// Offered to a runner that has until `accept_by`.
    Offered {
        /// To whom.
        runner: RunnerId,
        /// Under which number.
        attempt: Attempt,
        /// When the offer lapses.
        accept_by: Instant,
    },
    /// The runner has it and prepares.
    Accepted {
        /// Who has it.
        runner: RunnerId,
        /// Under which number.
        attempt: Attempt,
        /// Since when; the job's timeout counts from here.
        since: Instant,
    },
    /// The first step has started.
    Running {
        /// Who runs it.
        runner: RunnerId,
        /// Under which number.
        attempt: Attempt,
        /// Since when.
        since: Instant,
    },
    /// Every step succeeded, or failed with leave to.
    Succeeded,
    /// A step failed, or the job could not be run at all.
    Failed {
        /// The step, when it was one.
        step: Option<u32>,
        /// Why.
        reason: FailReason,
    },
    /// The job or one of its steps ran longer than allowed.
    TimedOut {
        /// The step, when the runner said which.
        step: Option<u32>,
    },
    /// Someone cancelled it.
    Cancelled,
    /// A job that it needs did not succeed.
    Skipped {
        /// That job.
        need: JobIndex,
    },
    /// Its runner was lost, and so often that it is not tried again.
    Lost {
        /// Attempts that were lost.
        attempts: u32,
    },
}

impl JobState {
    /// Whether the job has ended. An ended job never changes again.
    pub fn is_terminal(&self) -> bool {
        self.holder().is_none() && !matches!(self, Self::Queued)
    }

    /// The runner and attempt that hold the job now.
    pub fn holder(&self) -> Option<(RunnerId, Attempt)> {
        match self {
            Self::Offered { runner, attempt, .. }
            | Self::Accepted { runner, attempt, .. }
            | Self::Running { runner, attempt, .. } => Some((*runner, *attempt)),
            _ => None,
        }
    }

    /// One lower-case word, as it is shown and sent.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Offered { .. } => "offered",
            Self::Accepted { .. } => "accepted",
            Self::Running { .. } => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::TimedOut { .. } => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Skipped { .. } => "skipped",
            Self::Lost { .. } => "lost",
        }
    }
}

/// Why a job is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelCause {
    /// Someone asked for it.
    Requested,
    /// The job's time is over and its runner did not say so.
    TimedOut,
    /// The runner holds an attempt that is no longer the job's.
    Superseded,
}

/// What the owner of a [`Schedule`](super::Schedule) is to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Offer the job to the runner.
    Offer {
        /// The job.
        job: JobIndex,
        /// To whom.
        runner: RunnerId,
        /// Under which number.
        attempt: Attempt,
        /// When the offer lapses.
        accept_by: Instant,
    },
    /// Tell the runner to stop this attempt.
    Cancel {
        /// The job.
        job: JobIndex,
        /// Who holds it.
        runner: RunnerId,
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        cause: CancelCause,
    },
    /// A job is in a new state.
    Changed {
        /// The job.
        job: JobIndex,
        /// Its state now.
        state: JobState,
    },
    /// A runner fell silent beyond its lease and was given up.
    RunnerLost {
        /// Which.
        runner: RunnerId,
    },
    /// Every job has ended. Comes once, and last.
    Done(RunResult),
}
