//! Messages of the job group.

use serde::{Deserialize, Serialize};

use super::error::{Bounded, WireLimit, within};
use super::{HELD_MAX, TEXT_BYTES_MAX};
use crate::pipeline::{
    ENV_ENTRIES_MAX, ENV_VALUE_BYTES_MAX, Env, JOB_ID_BYTES_MAX, Job, JobIndex, NAME_BYTES_MAX, Pipeline,
    RUN_BYTES_MAX, STEPS_MAX,
};
use crate::schedule::{Attempt, CancelCause, FailReason, Verdict};

/// One attempt at one job of one run: what every message about a job names. It fences: a message
/// about an attempt that is not the newest changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobRef {
    /// The run.
    pub run: u64,
    /// The job's position in the pipeline.
    pub job: JobIndex,
    /// The attempt, from 1.
    pub attempt: Attempt,
}

/// REQUEST, server to runner: an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is offered.
    pub at: JobRef,
    /// The name of the pipeline, for people.
    pub pipeline: String,
    /// Milliseconds from sending within which the server must have the answer.
    pub accept_within_ms: u64,
    /// A directory that all jobs of the run share, when there is one. The runner must be on the
    /// server's machine to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<String>,
    /// What to run.
    pub spec: JobSpec,
}

/// What a runner needs to know of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The job's id.
    pub id: String,
    /// Variables of the pipeline and the job, merged.
    #[serde(default)]
    pub env: Env,
    /// Milliseconds for all steps together.
    pub timeout_ms: u64,
    /// The steps in order.
    pub steps: Vec<StepSpec>,
}

impl JobSpec {
    /// The job of a pipeline as it is sent: variables merged, durations in milliseconds.
    pub fn new(pipeline: &Pipeline, job: &Job) -> Self {
        let mut env = pipeline.env.clone();
        env.extend(job.env.clone());
        let steps = job.steps.iter().map(|step| StepSpec {
            name: step.name.clone(),
            run: step.run.clone(),
            env: step.env.clone(),
            timeout_ms: step.timeout.map(millis),
            continue_on_error: step.continue_on_error,
        });
        Self {
            id: job.id.clone(),
            env,
            timeout_ms: millis(job.timeout),
            steps: steps.collect(),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One step of a [`JobSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// For people.
    pub name: String,
    /// The script.
    pub run: String,
    /// Variables of the step.
    #[serde(default)]
    pub env: Env,
    /// Milliseconds for this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether the job goes on when it fails.
    #[serde(default)]
    pub continue_on_error: bool,
}

/// ACCEPT, runner to server: the runner takes the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Which.
    pub at: JobRef,
}

/// REJECT, runner to server: it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Which.
    pub at: JobRef,
    /// Why, for people.
    pub reason: String,
}

/// START, runner to server: the workspace is ready and the first step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which.
    pub at: JobRef,
}

/// PROGRESS, runner to server: a step started or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which.
    pub at: JobRef,
    /// The step, from 0.
    pub step: u32,
    /// What happened.
    pub phase: StepPhase,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepPhase {
    /// It starts.
    Started,
    /// It ended.
    Ended {
        /// Milliseconds it took.
        duration_ms: u64,
        /// Whether it succeeded.
        ok: bool,
        /// How it ended, for people.
        detail: String,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// COMPLETE, runner to server: every step succeeded or failed with leave to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Which.
    pub at: JobRef,
    /// Bytes of the attempt's log in all. The server settles once it has them.
    pub log_bytes: u64,
}

/// FAILED, runner to server: the attempt ended in any other way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub at: JobRef,
    /// Bytes of the attempt's log in all.
    pub log_bytes: u64,
    /// How it ended. A success here is a mistake of the runner and counts as one.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// CANCEL, server to runner: stop this attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Which.
    pub at: JobRef,
    /// Why.
    pub cause: CancelCause,
    /// Milliseconds its processes have to end by themselves.
    pub grace_ms: u64,
}

/// CANCEL, runner to server: heard. COMPLETE or FAILED follows, unless the attempt is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAck {
    /// Which.
    pub at: JobRef,
    /// Whether the runner holds it.
    pub held: bool,
}

/// LEASE, runner to server: the runner is alive and holds exactly these attempts, from ACCEPT until
/// their final report is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Every attempt it holds.
    pub held: Vec<JobRef>,
    /// Whether it takes nothing new.
    #[serde(default)]
    pub draining: bool,
}

/// LEASE, server to runner: the lease is renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReply {
    /// Milliseconds until the next one must have arrived.
    pub lease_ms: u64,
    /// Attempts to stop and forget; nothing need be reported about them.
    #[serde(default)]
    pub stop: Vec<JobRef>,
}

/// COMPLETE, server to runner: what became of a final report. The runner forgets the attempt then,
/// and repeats the report on a new connection until it has heard this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Which.
    pub at: JobRef,
    /// What became of it.
    #[serde(flatten)]
    pub settlement: Settlement,
}

/// What became of a final report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "settlement", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Settlement {
    /// It counts.
    Recorded,
    /// The attempt was no longer the job's; it changes nothing.
    Fenced,
    /// Log bytes are missing: send them from here and report again.
    NeedLog {
        /// The first missing byte.
        from: u64,
    },
    /// Something that this version does not know; to be treated as recorded.
    #[serde(other)]
    Unknown,
}

fn check_env(env: &Env) -> Result<(), WireLimit> {
    // Pipeline and job variables arrive merged.
    within("env", env.len(), 2 * ENV_ENTRIES_MAX)?;
    for (name, value) in env {
        within("env name", name.len(), NAME_BYTES_MAX)?;
        within("env value", value.len(), ENV_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

impl Bounded for Request {
    fn check(&self) -> Result<(), WireLimit> {
        within("pipeline", self.pipeline.len(), NAME_BYTES_MAX)?;
        within(
            "artifacts",
            self.artifacts.as_ref().map_or(0, String::len),
            TEXT_BYTES_MAX,
        )?;
        within("id", self.spec.id.len(), JOB_ID_BYTES_MAX)?;
        within("steps", self.spec.steps.len(), STEPS_MAX)?;
        check_env(&self.spec.env)?;
        for step in &self.spec.steps {
            within("step name", step.name.len(), NAME_BYTES_MAX)?;
            within("run", step.run.len(), RUN_BYTES_MAX)?;
            check_env(&step.env)?;
        }
        Ok(())
    }
}

impl Bounded for Reject {
    fn check(&self) -> Result<(), WireLimit> {
        within("reason", self.reason.len(), TEXT_BYTES_MAX)
    }
}

impl Bounded for Progress {
    fn check(&self) -> Result<(), WireLimit> {
        within("step", self.step as usize, STEPS_MAX)?;
        match &self.phase {
            StepPhase::Ended { detail, .. } => within("detail", detail.len(), TEXT_BYTES_MAX),
            _ => Ok(()),
        }
    }
}

impl Bounded for Failed {
    fn check(&self) -> Result<(), WireLimit> {
        let (step, reason) = match &self.verdict {
            Verdict::Failed { step, reason } => (*step, Some(reason)),
            Verdict::TimedOut { step } => (*step, None),
            Verdict::Succeeded | Verdict::Cancelled => (None, None),
        };
        within("step", step.unwrap_or(0) as usize, STEPS_MAX)?;
        match reason {
            Some(FailReason::CouldNotStart { error } | FailReason::Runner { error }) => {
                within("error", error.len(), TEXT_BYTES_MAX)
            }
            Some(FailReason::NoRunner { labels }) => {
                within("labels", labels.iter().map(String::len).sum(), TEXT_BYTES_MAX)
            }
            _ => Ok(()),
        }
    }
}

impl Bounded for Lease {
    fn check(&self) -> Result<(), WireLimit> {
        within("held", self.held.len(), HELD_MAX)
    }
}

impl Bounded for LeaseReply {
    fn check(&self) -> Result<(), WireLimit> {
        within("stop", self.stop.len(), HELD_MAX)
    }
}

/// Messages of fixed size have nothing to exceed.
macro_rules! fixed {
    ($($message:ty),+) => {$(
        impl Bounded for $message {
            fn check(&self) -> Result<(), WireLimit> {
                Ok(())
            }
        }
    )+};
}
fixed!(Accept, Start, Complete, Cancel, CancelAck, Settled);
