//! One job on this machine: its workspace, its steps in order, its verdict.
//!
//! [`execute`] is what a runner does between accepting a job and reporting how it ended. It does
//! not talk to a server: progress goes to a closure, output to a log, and a cancel comes from a
//! [`CancelHandle`]. Read [`JobPlan`] first.

mod cancel;
mod environment;
#[cfg(test)]
mod tests;
mod workspace;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use cancel::{CancelHandle, Cancelled, cancel_pair};
pub use environment::{INHERITED, inherited};
pub use workspace::Workspace;

use crate::log::{LogWriter, RecordSink, Stream};
use crate::pipeline::Env;
use crate::process::{Outcome, OutputEnd, StepCommand, StepReport, run_step};
use crate::schedule::Verdict;
use crate::wire::{JobSpec, StepSpec};

/// What to do and where.
#[derive(Clone, Copy, Debug)]
pub struct JobPlan<'a> {
    /// The steps.
    pub spec: &'a JobSpec,
    /// The pipeline's name, for `VALKYRIE_PIPELINE`.
    pub pipeline: &'a str,
    /// The attempt, for `VALKYRIE_ATTEMPT`.
    pub attempt: u32,
    /// Where the steps run.
    pub workspace: &'a Path,
    /// The run's shared directory, for `VALKYRIE_ARTIFACTS`.
    pub artifacts: Option<&'a Path>,
    /// What every step inherits; usually [`inherited`].
    pub base_env: &'a Env,
    /// How long processes have to end when asked to.
    pub grace: Duration,
}

/// Something a watcher may want to know while the job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepEvent<'a> {
    /// A step starts.
    Started {
        /// Its number, from 0.
        step: u16,
    },
    /// A step ended.
    Ended {
        /// Its number, from 0.
        step: u16,
        /// Its account.
        report: &'a StepReport,
    },
}

/// Runs the steps of a job one after the other and says how it ended.
///
/// The first step that fails ends the job, unless it may fail. A cancel, the end of the job's time
/// and a closed log end it in any case. Dropping the future kills what runs.
pub async fn execute<S: RecordSink>(
    plan: JobPlan<'_>,
    log: &mut LogWriter<S>,
    cancelled: &Cancelled,
    mut observe: impl FnMut(StepEvent<'_>),
) -> Verdict {
    let deadline = Instant::now() + Duration::from_millis(plan.spec.timeout_ms);
    for (number, step) in (0_u16..).zip(&plan.spec.steps) {
        let at = Some(u32::from(number));
        let left = deadline.saturating_duration_since(Instant::now());
        // Without this a job without time would still start its next step.
        if cancelled.is_cancelled() {
            return Verdict::Cancelled;
        }
        if left.is_zero() {
            return Verdict::TimedOut { step: at };
        }
        log.set_step(number);
        observe(StepEvent::Started { step: number });
        let own = step
            .timeout_ms
            .map(Duration::from_millis)
            .filter(|own| *own < left);
        let env = environment::of_step(&plan, number, step);
        let token = environment::token(plan.workspace, number);
        let command = StepCommand {
            run: &step.run,
            env: &env,
            directory: plan.workspace,
            timeout: own.unwrap_or(left),
            grace: plan.grace,
            token: &token,
        };
        let report = run_step(command, log, cancelled.wait()).await;
        remark(log, &report).await;
        observe(StepEvent::Ended {
            step: number,
            report: &report,
        });
        if let Some(verdict) = ended_by(&report.outcome, step, at, own.is_some()) {
            return verdict;
        }
    }
    Verdict::Succeeded
}

/// The job's verdict if this outcome of a step ends it.
fn ended_by(outcome: &Outcome, step: &StepSpec, at: Option<u32>, own_timeout: bool) -> Option<Verdict> {
    match outcome {
        Outcome::Cancelled => Some(Verdict::Cancelled),
        Outcome::TimedOut if own_timeout && step.continue_on_error => None,
        Outcome::TimedOut => Some(Verdict::TimedOut { step: at }),
        other => {
            let reason = other.fail_reason()?;
            let may_fail = step.continue_on_error && *other != Outcome::LogClosed;
            (!may_fail).then_some(Verdict::Failed { step: at, reason })
        }
    }
}

/// Writes into the log what a person reading it could not know otherwise.
async fn remark<S: RecordSink>(log: &mut LogWriter<S>, report: &StepReport) {
    let mut text = String::new();
    if report.left_behind > 0 {
        text += &format!(
            "{} background processes outlived the step and were killed\n",
            report.left_behind
        );
    }
    for escaped in &report.escaped {
        text += &format!(
            "process {} ({}) left the step's group and was killed\n",
            escaped.pid, escaped.name
        );
    }
    if report.output_end == OutputEnd::HeldOpen {
        text += "a process that could not be found still holds the step's output\n";
    }
    if !text.is_empty() {
        // A closed log has ended the job already, or will at the next step.
        let _ = log.write(Stream::Notice, Bytes::from(text)).await;
    }
}
