//! Messages of the observe group that are JSON: STATUS, METRICS, HEALTH.

use serde::{Deserialize, Serialize};

use super::TEXT_BYTES_MAX;
use super::error::{Bounded, WireLimit, within};
use crate::pipeline::{JOB_ID_BYTES_MAX, JOBS_MAX, JobIndex, NAME_BYTES_MAX};
use crate::schedule::{JobState, RunResult};

/// STATUS, server to watcher: the whole first, then every change, then the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusUpdate {
    /// The whole run: first, and again whenever the watcher may have missed something.
    Run(RunStatus),
    /// One job.
    Job(JobStatus),
    /// The run has ended and every log byte has been sent. Nothing follows.
    End {
        /// The run.
        run: u64,
        /// How.
        result: RunResult,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The run.
    pub run: u64,
    /// The pipeline's name.
    pub name: String,
    /// Every job, in the order of the file.
    pub jobs: Vec<JobStatus>,
}

/// How a job stands. Times are milliseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job's position.
    pub job: JobIndex,
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: JobPhase,
    /// The newest attempt, from 1; 0 before the first.
    #[serde(default)]
    pub attempt: u32,
    /// The name of the runner that holds or held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The step it is at, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How many steps it has.
    #[serde(default)]
    pub steps: u32,
}

/// The states of [`JobState`], without what only the scheduler needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobPhase {
    /// Waits.
    Queued,
    /// Offered to a runner.
    Offered,
    /// A runner has it.
    Accepted,
    /// A step has started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ran too long.
    TimedOut,
    /// Stopped as asked.
    Cancelled,
    /// Not run, because a need did not succeed.
    Skipped,
    /// Lost with its runners.
    Lost,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl JobPhase {
    /// Whether the job has ended.
    pub fn is_terminal(self) -> bool {
        !matches!(
            self,
            Self::Queued | Self::Offered | Self::Accepted | Self::Running | Self::Unknown
        )
    }
}

impl From<&JobState> for JobPhase {
    fn from(state: &JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Offered { .. } => Self::Offered,
            JobState::Accepted { .. } => Self::Accepted,
            JobState::Running { .. } => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed { .. } => Self::Failed,
            JobState::TimedOut { .. } => Self::TimedOut,
            JobState::Cancelled => Self::Cancelled,
            JobState::Skipped { .. } => Self::Skipped,
            JobState::Lost { .. } => Self::Lost,
        }
    }
}

/// METRICS, runner to server: numbers about the runner. Best effort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Jobs it may hold.
    pub slots: u32,
    /// Jobs it holds.
    pub used: u32,
    /// Log bytes produced and not yet acknowledged.
    pub log_unacknowledged_bytes: u64,
    /// Jobs it has ended since it started.
    pub jobs_ended: u64,
}

/// HEALTH, runner to server: whether it can take jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it can.
    pub ok: bool,
    /// Why not, for people.
    #[serde(default)]
    pub detail: String,
}

impl Bounded for JobStatus {
    fn check(&self) -> Result<(), WireLimit> {
        within("id", self.id.len(), JOB_ID_BYTES_MAX)?;
        within(
            "runner",
            self.runner.as_ref().map_or(0, String::len),
            NAME_BYTES_MAX,
        )?;
        within(
            "detail",
            self.detail.as_ref().map_or(0, String::len),
            TEXT_BYTES_MAX,
        )
    }
}

impl Bounded for StatusUpdate {
    fn check(&self) -> Result<(), WireLimit> {
        match self {
            Self::Run(run) => {
                within("name", run.name.len(), NAME_BYTES_MAX)?;
                within("jobs", run.jobs.len(), JOBS_MAX)?;
                run.jobs.iter().try_for_each(Bounded::check)
            }
            Self::Job(job) => job.check(),
            Self::End { .. } | Self::Unknown => Ok(()),
        }
    }
}

impl Bounded for Metrics {
    fn check(&self) -> Result<(), WireLimit> {
        Ok(())
    }
}

impl Bounded for Health {
    fn check(&self) -> Result<(), WireLimit> {
        within("detail", self.detail.len(), TEXT_BYTES_MAX)
    }
}
