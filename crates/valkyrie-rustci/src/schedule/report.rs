//! What runners report, and what a whole run comes to.

use super::{Attempt, RunnerId};
use crate::pipeline::JobIndex;

/// How a runner says an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Every step succeeded, or failed with leave to.
    Succeeded,
    /// A step failed, or the job could not be run at all.
    Failed {
        /// The step, from 0, when it was one.
        step: Option<u32>,
        /// Why.
        reason: FailReason,
    },
    /// A time limit passed.
    TimedOut {
        /// The step that was running.
        step: Option<u32>,
    },
    /// It was stopped as asked.
    Cancelled,
}

/// Why a job failed: what happened, not a guess at what it means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailReason {
    /// The shell ended with this code.
    #[error("exited with {code}{}", signal_hint(*.code))]
    Exited {
        /// Not zero.
        code: i32,
    },
    /// The shell itself was killed.
    #[error("killed by signal {signal}{}", if *.core { ", core dumped" } else { "" })]
    Signalled {
        /// Its number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// The kernel killed it for want of memory.
    #[error("killed by the kernel: out of memory")]
    OutOfMemory,
    /// The shell could not be started.
    #[error("could not start: {error}")]
    CouldNotStart {
        /// What the system said.
        error: String,
    },
    /// The runner could not prepare the job or keep its log.
    #[error("the runner failed: {error}")]
    Runner {
        /// What went wrong.
        error: String,
    },
    /// No connected runner has the labels.
    #[error("no runner with the labels [{}] connected in time", .labels.join(", "))]
    NoRunner {
        /// What `runs_on` asks for.
        labels: Vec<String>,
    },
    /// Runners with the labels exist, and none accepted.
    #[error("offered {offers} times, and no runner accepted")]
    Unaccepted {
        /// How often.
        offers: u32,
    },
}

/// Shells report a command that was killed by signal n as 128 + n.
fn signal_hint(code: i32) -> String {
    match code {
        129..=159 => format!(" (128 + {}: a command was killed by that signal)", code - 128),
        126 => String::from(" (a command could not be executed)"),
        127 => String::from(" (a command was not found)"),
        _ => String::new(),
    }
}

/// A report about an attempt that is not the job's current one. The job is unchanged; the runner
/// should stop what it is doing for that attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("runner {} reports on job {} attempt {}, which it does not hold; the job is unchanged", .runner.0, .job.0, .attempt.0)]
pub struct Stale {
    /// The job.
    pub job: JobIndex,
    /// The runner that reported.
    pub runner: RunnerId,
    /// The attempt it named.
    pub attempt: Attempt,
}

/// What a comparison of a runner's list of jobs with the schedule's found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Attempts the runner holds and should stop.
    pub stop: Vec<(JobIndex, Attempt)>,
    /// Attempts the runner should have held; they count as lost.
    pub lost: Vec<(JobIndex, Attempt)>,
}

/// What a whole run comes to. The worst job decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunResult {
    /// Every job succeeded.
    Succeeded,
    /// A job failed, timed out or was lost.
    Failed,
    /// Nothing failed, and something was cancelled.
    Cancelled,
}
