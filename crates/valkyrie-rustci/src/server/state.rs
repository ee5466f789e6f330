//! Everything a control plane knows, behind one lock, and what happens to it.
//!
//! Nothing here waits or does I/O but for making an empty log file. Handlers of connections call in
//! with what they heard; what is to be said goes into the runners' outboxes and watchers are woken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::registry::RunnerRegistry;
use super::run::{JobRecord, Pending, Run};
use super::spool::Spool;
use super::{RUNS_KEPT_MAX, RUNS_OPEN_MAX, ServerConfig};
use crate::pipeline::{JobIndex, Pipeline};
use crate::process::KILL_GRACE_DEFAULT;
use crate::schedule::{Attempt, CancelCause, Event, JobState, RunnerId, Schedule, Verdict};
use crate::wire::{Cancel, JobRef, LeaseReply, Request, Settled, Settlement};

/// Everything a control plane knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) registry: RunnerRegistry,
    runs: BTreeMap<u64, Run>,
    /// Runs that have ended, oldest first.
    ended: VecDeque<u64>,
    next_run: u64,
    pub(super) next_runner: u64,
}

impl State {
    /// `life` begins the numbers of runners, so that those of an earlier life of the server mean nobody.
    pub(super) fn new(life: u64) -> Self {
        Self {
            registry: RunnerRegistry::default(),
            runs: BTreeMap::new(),
            ended: VecDeque::new(),
            next_run: 1,
            next_runner: life,
        }
    }

    pub(super) fn run(&self, run: u64) -> Option<&Run> {
        self.runs.get(&run)
    }

    pub(super) fn run_mut(&mut self, run: u64) -> Option<&mut Run> {
        self.runs.get_mut(&run)
    }

    pub(super) fn open_runs(&self) -> Vec<u64> {
        let open = self.runs.values().filter(|run| run.result().is_none());
        open.map(|run| run.id).collect()
    }

    /// Makes a run, unless there are too many.
    pub(super) fn submit(&mut self, config: &ServerConfig, pipeline: Pipeline, now: Instant) -> Option<u64> {
        if self.open_runs().len() >= RUNS_OPEN_MAX {
            return None;
        }
        let id = self.next_run;
        self.next_run += 1;
        let schedule = Schedule::new(&pipeline, config.limits, now);
        let artifacts = config.artifacts.as_ref().map(|artifacts| artifacts.of_run(id));
        let artifacts = artifacts.map(|path| path.display().to_string());
        self.runs
            .insert(id, Run::new(id, pipeline, schedule, artifacts, now));
        let runners: Vec<_> = self
            .registry
            .iter()
            .map(|(id, entry)| (id, entry.labels.clone(), entry.slots))
            .collect();
        for (runner, labels, slots) in runners {
            self.call(id, now, |schedule| {
                schedule.runner_expected(now, runner, labels, slots)
            });
            self.tell_away(id, runner, now);
        }
        self.settle(now);
        Some(id)
    }

    /// Calls into a run's schedule and acts on what follows from it. Every change of a schedule goes
    /// through here: it keeps the runners' slots, which all runs share, in balance.
    pub(super) fn call<T>(
        &mut self,
        run: u64,
        now: Instant,
        change: impl FnOnce(&mut Schedule) -> T,
    ) -> Option<T> {
        let entry = self.runs.get_mut(&run)?;
        let schedule = &mut entry.schedule;
        for (id, runner) in self.registry.iter_mut() {
            let own = schedule.runner_used(id);
            runner.used = runner.used.saturating_sub(own);
            schedule.runner_busy_elsewhere(id, runner.used);
        }
        let answer = change(schedule);
        for (id, runner) in self.registry.iter_mut() {
            runner.used += schedule.runner_used(id);
        }
        self.act(run, now);
        Some(answer)
    }

    /// Lets every open run look at the time and at slots that others have freed.
    pub(super) fn settle(&mut self, now: Instant) {
        for runner in self.registry.silent(now) {
            self.drop_runner(runner, now);
        }
        for run in self.open_runs() {
            self.call(run, now, |schedule| schedule.handle_timeout(now));
        }
        while self.ended.len() > RUNS_KEPT_MAX {
            if let Some(oldest) = self.ended.pop_front() {
                self.runs.remove(&oldest);
            }
        }
    }

    /// When [`settle`](Self::settle) wants to be called, if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let runs = self.runs.values().filter_map(|run| run.schedule.poll_timeout());
        runs.chain(self.registry.next_silence()).min()
    }

    fn act(&mut self, run: u64, now: Instant) {
        while let Some(entry) = self.runs.get_mut(&run)
            && let Some(event) = entry.schedule.poll_event()
        {
            match event {
                Event::Offer {
                    job,
                    runner,
                    attempt,
                    accept_by,
                } => {
                    let at = JobRef { run, job, attempt };
                    let Some(spec) = entry.spec(job) else { continue };
                    let request = Request {
                        at,
                        pipeline: entry.pipeline.name.clone(),
                        accept_within_ms: millis(accept_by.saturating_duration_since(now)),
                        artifacts: entry.artifacts.clone(),
                        spec,
                    };
                    self.registry.send(runner, request);
                }
                Event::Cancel {
                    job,
                    runner,
                    attempt,
                    cause,
                } => {
                    self.send_cancel(runner, JobRef { run, job, attempt }, cause);
                }
                Event::Changed { job, state } => {
                    let holder = state.holder().and_then(|(id, _)| self.registry.entry(id));
                    entry.job_changed(job, &state, holder.map(|entry| entry.name.as_str()), now);
                }
                Event::RunnerLost { runner } => self.drop_runner(runner, now),
                Event::Done(_) => {
                    self.ended.push_back(run);
                    entry.touch();
                }
            }
        }
    }

    pub(super) fn send_cancel(&mut self, runner: RunnerId, at: JobRef, cause: CancelCause) {
        let grace_ms = millis(KILL_GRACE_DEFAULT);
        self.registry.send(runner, Cancel { at, cause, grace_ms });
    }

    // ---- runners -------------------------------------------------------------------------------

    /// A runner came. What it held as `was` it goes on holding, if that one was not given up yet.
    /// It is offered nothing before its stream is open.
    pub(super) fn runner_came(&mut self, id: RunnerId, was: Option<RunnerId>, now: Instant) {
        let Some(entry) = self.registry.entry(id) else {
            return;
        };
        let (labels, slots) = (entry.labels.clone(), entry.slots);
        // The old entry goes: the slots it counted move with the attempts.
        let was = was.filter(|was| self.registry.remove(*was).is_some());
        for run in self.open_runs() {
            let labels = labels.clone();
            self.call(run, now, |schedule| {
                let moved = was.is_some_and(|was| {
                    schedule.runner_draining(now, was, true);
                    schedule.runner_moved(now, was, id)
                });
                if !moved {
                    schedule.runner_expected(now, id, labels, slots);
                }
            });
        }
    }

    /// Whether a runner takes jobs may have changed.
    pub(super) fn runner_changed(&mut self, runner: RunnerId, now: Instant) {
        for run in self.open_runs() {
            self.tell_away(run, runner, now);
        }
    }

    fn tell_away(&mut self, run: u64, runner: RunnerId, now: Instant) {
        let away = self.registry.entry(runner).is_none_or(|entry| entry.is_away());
        self.call(run, now, |schedule| schedule.runner_draining(now, runner, away));
    }

    /// A runner is gone for good.
    pub(super) fn drop_runner(&mut self, runner: RunnerId, now: Instant) {
        // First, so that a run that reports the same loss finds nothing more to do.
        if self.registry.remove(runner).is_none() {
            return;
        }
        for run in self.open_runs() {
            self.call(run, now, |schedule| schedule.runner_left(now, runner));
        }
    }

    /// A runner is alive and holds exactly these attempts.
    pub(super) fn lease(&mut self, config: &ServerConfig, runner: RunnerId, held: &[JobRef], now: Instant) {
        self.registry.renew(runner, now, config.limits.lease);
        let mut stop: Vec<JobRef> = held.iter().copied().filter(|at| !self.is_open(at.run)).collect();
        for run in self.open_runs() {
            let own = held.iter().filter(|at| at.run == run);
            let own: Vec<(JobIndex, Attempt)> = own.map(|at| (at.job, at.attempt)).collect();
            let found = self.call(run, now, |schedule| schedule.lease_renewed(now, runner, &own));
            let found = found.map(|found| found.stop).unwrap_or_default();
            stop.extend(
                found
                    .into_iter()
                    .map(|(job, attempt)| JobRef { run, job, attempt }),
            );
        }
        let reply = LeaseReply {
            lease_ms: millis(config.limits.lease),
            stop,
        };
        self.registry.send(runner, reply);
    }

    fn is_open(&self, run: u64) -> bool {
        self.runs.get(&run).is_some_and(|run| run.result().is_none())
    }

    // ---- attempts ------------------------------------------------------------------------------

    /// A runner says how an attempt ended. It counts once the log is complete.
    pub(super) fn report(
        &mut self,
        runner: RunnerId,
        at: JobRef,
        verdict: Verdict,
        log_bytes: u64,
        now: Instant,
    ) {
        let held = self
            .run(at.run)
            .is_some_and(|run| run.is_held_by(runner, at.job, at.attempt));
        let record = self
            .runs
            .get_mut(&at.run)
            .and_then(|run| run.jobs.get_mut(at.job.as_usize()));
        let settlement = match record {
            Some(record) if held => {
                record.pending = Some(Pending {
                    runner,
                    attempt: at.attempt,
                    verdict,
                    log_bytes,
                });
                self.try_settle(at, now);
                return;
            }
            Some(record) if record.settled == Some(at.attempt) => Settlement::Recorded,
            _ => Settlement::Fenced,
        };
        self.registry.send(runner, Settled { at, settlement });
    }

    fn record_mut(&mut self, at: JobRef) -> Option<&mut JobRecord> {
        self.runs.get_mut(&at.run)?.jobs.get_mut(at.job.as_usize())
    }

    /// Settles a report whose log has become complete.
    pub(super) fn try_settle(&mut self, at: JobRef, now: Instant) {
        let Some(run) = self.runs.get_mut(&at.run) else {
            return;
        };
        run.touch();
        let Some(record) = run.jobs.get_mut(at.job.as_usize()) else {
            return;
        };
        let Some(pending) = record
            .pending
            .clone()
            .filter(|pending| pending.attempt == at.attempt)
        else {
            return;
        };
        let spool = record.spool.as_ref();
        let kept = spool.map_or(0, |spool| spool.kept());
        // A log that broke is never complete; the job has been told and the report says what came of it.
        let broken = spool.is_some_and(|spool| spool.broken().is_some());
        if kept < pending.log_bytes && !broken {
            return;
        }
        record.pending = None;
        let Pending { runner, verdict, .. } = pending;
        // The runner hears this before the offer that its free slot may bring it, or it would refuse that.
        let settlement = match self
            .run(at.run)
            .is_some_and(|run| run.is_held_by(runner, at.job, at.attempt))
        {
            true => {
                if let Some(record) = self.record_mut(at) {
                    record.settled = Some(at.attempt);
                }
                Settlement::Recorded
            }
            false => Settlement::Fenced,
        };
        self.registry.send(runner, Settled { at, settlement });
        self.call(at.run, now, |schedule| {
            // Stale if it was fenced, which has been said.
            let _ = schedule.finished(now, runner, at.job, at.attempt, verdict);
        });
        self.settle(now);
    }

    /// The log of an attempt that this runner holds or was offered, made if there is none yet. Logs and
    /// job frames are streams apart, so the first bytes may come before the ACCEPT that went ahead of them.
    pub(super) fn spool(
        &mut self,
        config: &ServerConfig,
        runner: RunnerId,
        at: JobRef,
    ) -> std::io::Result<Option<Arc<Spool>>> {
        let Some(run) = self.runs.get_mut(&at.run) else {
            return Ok(None);
        };
        let holder = run.schedule.job(at.job).and_then(JobState::holder);
        if holder != Some((runner, at.attempt)) {
            return Ok(None);
        }
        let Some(record) = run.jobs.get_mut(at.job.as_usize()) else {
            return Ok(None);
        };
        if record.spool.is_none() {
            let spool = Spool::create(&config.logs, at, config.log_bytes_max)?;
            record.spool = Some(Arc::new(spool));
        }
        Ok(record.spool.clone())
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
