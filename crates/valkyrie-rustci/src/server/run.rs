//! One run: its schedule, and what watchers are told of it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::spool::Spool;
use crate::pipeline::{Job, JobIndex, Pipeline};
use crate::schedule::{Attempt, JobState, RunResult, RunnerId, Schedule, Verdict};
use crate::wire::{JobPhase, JobSpec, JobStatus, RunStatus};

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) pipeline: Pipeline,
    pub(super) schedule: Schedule,
    pub(super) jobs: Vec<JobRecord>,
    pub(super) artifacts: Option<String>,
    begun: Instant,
    /// Counts changes. Watchers wait for it and then compare, so a slow one skips states and never
    /// makes anyone wait.
    version: watch::Sender<u64>,
}

/// A job as watchers see it, and what is known of its newest attempt.
#[derive(Debug)]
pub(super) struct JobRecord {
    pub(super) status: JobStatus,
    /// The run's version when the status last changed.
    pub(super) changed: u64,
    pub(super) spool: Option<Arc<Spool>>,
    /// The final report, while log bytes are missing.
    pub(super) pending: Option<Pending>,
    /// The attempt whose report counts.
    pub(super) settled: Option<Attempt>,
    /// That an earlier attempt was lost, for people who look later.
    lost: Option<String>,
}

/// A final report that waits for the rest of the log.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) runner: RunnerId,
    pub(super) attempt: Attempt,
    pub(super) verdict: Verdict,
    pub(super) log_bytes: u64,
}

impl Run {
    pub(super) fn new(
        id: u64,
        pipeline: Pipeline,
        schedule: Schedule,
        artifacts: Option<String>,
        now: Instant,
    ) -> Self {
        let record = |(at, job): (u32, &Job)| JobRecord {
            status: JobStatus {
                job: JobIndex(at),
                id: job.id.clone(),
                state: JobPhase::Queued,
                attempt: 0,
                runner: None,
                started_ms: None,
                ended_ms: None,
                detail: None,
                step: None,
                steps: u32::try_from(job.steps.len()).unwrap_or(u32::MAX),
            },
            changed: 0,
            spool: None,
            pending: None,
            settled: None,
            lost: None,
        };
        let jobs = (0..).zip(&pipeline.jobs).map(record).collect();
        Self {
            id,
            schedule,
            jobs,
            artifacts,
            begun: now,
            version: watch::Sender::new(0),
            pipeline,
        }
    }

    pub(super) fn result(&self) -> Option<RunResult> {
        self.schedule.result()
    }

    /// Sees every change from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Wakes watchers.
    pub(super) fn touch(&self) -> u64 {
        self.version.send_modify(|version| *version += 1);
        self.version()
    }

    pub(super) fn status(&self) -> RunStatus {
        RunStatus {
            run: self.id,
            name: self.pipeline.name.clone(),
            jobs: self.jobs.iter().map(|job| job.status.clone()).collect(),
        }
    }

    pub(super) fn spec(&self, job: JobIndex) -> Option<JobSpec> {
        let job = self.pipeline.jobs.get(job.as_usize())?;
        Some(JobSpec::new(&self.pipeline, job))
    }

    /// Whether the runner holds this attempt, accepted or running.
    pub(super) fn is_held_by(&self, runner: RunnerId, job: JobIndex, attempt: Attempt) -> bool {
        matches!(
            self.schedule.job(job),
            Some(JobState::Accepted { runner: holder, attempt: newest, .. }
                | JobState::Running { runner: holder, attempt: newest, .. })
                if (*holder, *newest) == (runner, attempt)
        )
    }

    /// A step started.
    pub(super) fn step_started(&mut self, job: JobIndex, step: u32) {
        if let Some(record) = self.jobs.get_mut(job.as_usize()) {
            record.status.step = Some(step);
        }
        self.mark(job);
    }

    /// Takes over a job's new state. `runner` names its holder.
    pub(super) fn job_changed(
        &mut self,
        job: JobIndex,
        state: &JobState,
        runner: Option<&str>,
        now: Instant,
    ) {
        let now_ms = self.millis(now);
        let detail = self.detail(job, state, now_ms);
        let Some(record) = self.jobs.get_mut(job.as_usize()) else {
            return;
        };
        let status = &mut record.status;
        let before = status.state;
        status.state = JobPhase::from(state);
        status.detail = detail;
        match state {
            JobState::Offered { attempt, .. } => {
                status.attempt = attempt.0;
                status.runner = runner.map(str::to_owned);
                (status.started_ms, status.step) = (None, None);
                // The log of an earlier attempt that was lost ends here for watchers.
                record.spool = None;
                record.pending = None;
            }
            JobState::Accepted { .. } => {
                // A runner that comes back enters this state again.
                status.started_ms.get_or_insert(now_ms);
            }
            JobState::Running { .. } => status.runner = runner.map(str::to_owned).or(status.runner.take()),
            JobState::Queued => {
                if matches!(before, JobPhase::Accepted | JobPhase::Running) {
                    let runner = status.runner.take().unwrap_or_default();
                    record.lost = Some(format!(
                        "attempt {} was lost with runner {runner}",
                        status.attempt
                    ));
                }
                (status.runner, status.started_ms, status.step) = (None, None, None);
            }
            _ => status.ended_ms = Some(now_ms),
        }
        if status.detail.is_none() {
            status.detail.clone_from(&record.lost);
        }
        self.mark(job);
    }

    fn mark(&mut self, job: JobIndex) {
        let version = self.touch();
        if let Some(record) = self.jobs.get_mut(job.as_usize()) {
            record.changed = version;
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Why, for people.
    fn detail(&self, job: JobIndex, state: &JobState, now_ms: u64) -> Option<String> {
        let spec = self.pipeline.jobs.get(job.as_usize())?;
        let name = |step: u32| match spec.steps.get(step as usize) {
            Some(known) => format!("step {} \"{}\"", step + 1, known.name),
            None => format!("step {}", step + 1),
        };
        let text = match state {
            JobState::Failed {
                step: Some(step),
                reason,
            } => format!("{}: {reason}", name(*step)),
            JobState::Failed { step: None, reason } => reason.to_string(),
            JobState::TimedOut { step } => {
                let started = self
                    .jobs
                    .get(job.as_usize())
                    .and_then(|record| record.status.started_ms);
                let taken = started.map_or(0, |started| now_ms.saturating_sub(started));
                let own = step
                    .and_then(|step| spec.steps.get(step as usize))
                    .and_then(|step| step.timeout);
                let (whose, limit) = match own {
                    Some(own) if u128::from(taken) < spec.timeout.as_millis() => ("step", own),
                    _ => ("job", spec.timeout),
                };
                let limit = format!("the {whose} may take {limit:?}");
                match step {
                    Some(step) => format!("{}: ran out of time, {limit}", name(*step)),
                    None => format!("ran out of time, {limit}"),
                }
            }
            JobState::Skipped { need } => {
                let need = self.pipeline.jobs.get(need.as_usize())?;
                format!("needs {}, which did not succeed", need.id)
            }
            JobState::Lost { attempts } => format!("its runner was lost {attempts} times"),
            _ => return None,
        };
        Some(text)
    }
}
