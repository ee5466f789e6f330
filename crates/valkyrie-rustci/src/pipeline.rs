//! The pipeline file: what a person writes, checked once, then trusted.
//!
//! [`Pipeline::parse`] reads YAML and either returns a pipeline that every later module may rely on
//! (ids are valid, every need exists, there is no cycle, every job has steps) or every mistake it
//! found, each with its line and column. It does not run, order or place anything: that is
//! [`schedule`](crate::schedule). Read [`Pipeline`] first.
//!
//! ```
//! let pipeline = valkyrie_rustci::pipeline::Pipeline::parse("steps: [{run: echo hello}]").unwrap();
//! assert_eq!(pipeline.jobs[0].steps[0].run, "echo hello");
//! ```

mod diagnostic;
mod duration;
mod graph;
mod limits;
mod node;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use diagnostic::{Diagnostic, PipelineError};
pub use duration::{DurationError, parse_duration};
pub use limits::*;

/// Environment variables by name, in a stable order.
pub type Env = BTreeMap<String, String>;

/// Position of a job in [`Pipeline::jobs`]: how jobs are named inside one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct JobIndex(pub u32);

impl JobIndex {
    /// The same position as an index into a slice.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A checked pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The `name` key, or empty.
    pub name: String,
    /// Variables for every step of every job.
    pub env: Env,
    /// Jobs in the order of the file. A file with top-level `steps` has one, called
    /// [`SINGLE_JOB_ID`].
    pub jobs: Vec<Job>,
}

impl Pipeline {
    /// Reads and checks a pipeline file.
    ///
    /// # Errors
    /// Every mistake found, in the order of the file and at most [`DIAGNOSTICS_MAX`] of them.
    pub fn parse(source: &str) -> Result<Self, PipelineError> {
        read::read(source)
    }

    /// The job with this id.
    pub fn job(&self, id: &str) -> Option<(JobIndex, &Job)> {
        let at = self.jobs.iter().position(|job| job.id == id)?;
        Some((JobIndex(u32::try_from(at).ok()?), &self.jobs[at]))
    }
}

/// One job: steps that run one after the other in one directory on one runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Unique in the file: a letter or `_`, then letters, digits, `_` and `-`.
    pub id: String,
    /// Jobs that must have succeeded before this one starts.
    pub needs: Vec<JobIndex>,
    /// Labels that a runner must have, all of them.
    pub runs_on: Vec<String>,
    /// Variables of this job; they override the pipeline's.
    pub env: Env,
    /// How long the job may run, all steps together.
    pub timeout: Duration,
    /// At least one.
    pub steps: Vec<Step>,
}

/// One shell command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The `name` key, or the first line of the command.
    pub name: String,
    /// Script for `/bin/sh -eu -c`.
    pub run: String,
    /// Variables of this step; they override the job's and the pipeline's.
    pub env: Env,
    /// How long the step may run; without one the job's timeout alone counts.
    pub timeout: Option<Duration>,
    /// Whether the job goes on, and still counts as succeeded, when this step fails.
    pub continue_on_error: bool,
}
