//! The state machine itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::runner::Runner;
use super::{
    Attempt, CancelCause, Event, FailReason, JobState, Limits, Reconciled, RunResult, RunnerId, Stale,
    Verdict,
};
use crate::pipeline::{JobIndex, Pipeline};

/// One run of one pipeline.
#[derive(Debug)]
pub struct Schedule {
    pub(super) jobs: Vec<Job>,
    pub(super) runners: BTreeMap<RunnerId, Runner>,
    limits: Limits,
    events: VecDeque<Event>,
    pub(super) done: Option<RunResult>,
}

#[derive(Debug)]
pub(super) struct Job {
    needs: Vec<JobIndex>,
    labels: Vec<String>,
    timeout: Duration,
    pub(super) state: JobState,
    /// The number of the last offer.
    pub(super) attempts: u32,
    /// Offers since the last acceptance that nobody took.
    unaccepted: u32,
    lost: u32,
    pub(super) stopping: Option<Stopping>,
    /// Since when the job is ready and no connected runner has its labels.
    unmatched_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    cause: CancelCause,
    until: Instant,
}

impl Schedule {
    /// A run in which every job is queued.
    pub fn new(pipeline: &Pipeline, limits: Limits, now: Instant) -> Self {
        let jobs = pipeline.jobs.iter().map(|job| Job {
            needs: job.needs.clone(),
            labels: job.runs_on.clone(),
            timeout: job.timeout,
            state: JobState::Queued,
            attempts: 0,
            unaccepted: 0,
            lost: 0,
            stopping: None,
            unmatched_since: None,
        });
        let mut schedule = Self {
            jobs: jobs.collect(),
            runners: BTreeMap::new(),
            limits,
            events: VecDeque::new(),
            done: None,
        };
        schedule.settle(now);
        schedule
    }

    /// The state of a job, or nothing when there is no such job.
    pub fn job(&self, job: JobIndex) -> Option<&JobState> {
        self.jobs.get(job.as_usize()).map(|job| &job.state)
    }

    /// Every job's state, in the order of the file.
    pub fn jobs(&self) -> impl Iterator<Item = (JobIndex, &JobState)> {
        (0..).map(JobIndex).zip(self.jobs.iter().map(|job| &job.state))
    }

    /// How the run ended, once it has.
    pub fn result(&self) -> Option<RunResult> {
        self.done
    }

    /// Why a queued job does not run yet, in a sentence for a person.
    pub fn explain(&self, job: JobIndex, now: Instant) -> Option<String> {
        let job = self.jobs.get(job.as_usize())?;
        if job.state != JobState::Queued {
            return None;
        }
        if !self.needs_met(job) {
            return Some(String::from("waits for the jobs it needs"));
        }
        let fitting: Vec<&Runner> = self
            .runners
            .values()
            .filter(|runner| runner.has_labels(&job.labels))
            .collect();
        Some(match fitting.iter().find(|runner| runner.can_take(now)) {
            Some(_) => String::from("is about to be offered"),
            None if fitting.is_empty() => {
                format!(
                    "waits for a runner with the labels [{}]: none is connected",
                    job.labels.join(", ")
                )
            }
            None => format!(
                "waits for a free place: {} fitting runners are busy or resting",
                fitting.len()
            ),
        })
    }

    // ---- what happens --------------------------------------------------------------------------

    /// A runner came. Its id must be new; a known id is replaced as if it had left first.
    pub fn runner_joined(
        &mut self,
        now: Instant,
        id: RunnerId,
        labels: impl IntoIterator<Item = String>,
        slots: u32,
    ) {
        self.runner_expected(now, id, labels, slots);
        self.runner_draining(now, id, false);
    }

    /// A runner is known and not ready yet: it is offered nothing until
    /// [`runner_draining`](Self::runner_draining) says `false`.
    pub fn runner_expected(
        &mut self,
        now: Instant,
        id: RunnerId,
        labels: impl IntoIterator<Item = String>,
        slots: u32,
    ) {
        self.drop_runner(now, id);
        let runner = Runner {
            labels: labels.into_iter().collect(),
            slots,
            used: 0,
            elsewhere: 0,
            lease_until: now + self.limits.lease,
            resting_until: None,
            draining: true,
        };
        self.runners.insert(id, runner);
        self.settle(now);
    }

    /// A runner said goodbye or was given up. What it held goes back to the queue.
    pub fn runner_left(&mut self, now: Instant, id: RunnerId) {
        self.drop_runner(now, id);
        self.settle(now);
    }

    /// A runner takes nothing new and finishes what it has; or, with `false`, takes jobs again.
    pub fn runner_draining(&mut self, now: Instant, id: RunnerId, draining: bool) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.draining = draining;
        }
        self.settle(now);
    }

    /// How many of the runner's slots other runs hold. It takes effect with the next call that takes
    /// `now`; whoever owns several runs says it before each.
    pub fn runner_busy_elsewhere(&mut self, id: RunnerId, slots: u32) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.elsewhere = slots;
        }
    }

    /// How many of the runner's slots this run holds.
    pub fn runner_used(&self, id: RunnerId) -> u32 {
        self.runners.get(&id).map_or(0, |runner| runner.used)
    }

    /// A runner came back on a new connection within its lease: what it held under `from` it holds
    /// under `to`. Offers are withdrawn, because they went to the old connection. Says whether it
    /// worked; it does not when `from` is gone already or `to` is not new, and nothing changes then.
    pub fn runner_moved(&mut self, now: Instant, from: RunnerId, to: RunnerId) -> bool {
        if self.runners.contains_key(&to) || !self.runners.contains_key(&from) {
            return false;
        }
        for at in 0..self.jobs.len() {
            if matches!(self.jobs[at].state, JobState::Offered { runner, .. } if runner == from) {
                self.unaccept(now, index(at));
            }
        }
        let Some(mut moved) = self.runners.remove(&from) else {
            return false;
        };
        moved.lease_until = now + self.limits.lease;
        self.runners.insert(to, moved);
        for at in 0..self.jobs.len() {
            if let JobState::Accepted { runner, .. } | JobState::Running { runner, .. } =
                &mut self.jobs[at].state
                && *runner == from
            {
                *runner = to;
                let state = self.jobs[at].state.clone();
                self.events.push_back(Event::Changed {
                    job: index(at),
                    state,
                });
            }
        }
        self.settle(now);
        true
    }

    /// A runner is alive and holds exactly these attempts.
    ///
    /// Offers in flight are left alone: the list may have been written before the offer arrived.
    /// Call it for messages in the order the runner sent them, or a report still on its way would
    /// look like a loss.
    pub fn lease_renewed(&mut self, now: Instant, id: RunnerId, held: &[(JobIndex, Attempt)]) -> Reconciled {
        let mut found = Reconciled::default();
        match self.runners.get_mut(&id) {
            Some(runner) => runner.lease_until = now + self.limits.lease,
            None => {
                found.stop.extend_from_slice(held);
                return found;
            }
        }
        let theirs: BTreeSet<(JobIndex, Attempt)> = held.iter().copied().collect();
        for &(job, attempt) in &theirs {
            let ours = self.job(job).and_then(JobState::holder);
            if ours != Some((id, attempt)) {
                found.stop.push((job, attempt));
            }
        }
        for (job, state) in self.jobs() {
            match state {
                JobState::Accepted { runner, attempt, .. } | JobState::Running { runner, attempt, .. }
                    if *runner == id && !theirs.contains(&(job, *attempt)) =>
                {
                    found.lost.push((job, *attempt));
                }
                _ => {}
            }
        }
        for &(job, _) in &found.lost {
            self.lose(job);
        }
        self.settle(now);
        found
    }

    /// The runner takes the job it was offered.
    ///
    /// # Errors
    /// [`Stale`] when the offer has lapsed or was withdrawn; the runner must not start it.
    pub fn accepted(
        &mut self,
        now: Instant,
        id: RunnerId,
        job: JobIndex,
        attempt: Attempt,
    ) -> Result<(), Stale> {
        let stale = Stale {
            job,
            runner: id,
            attempt,
        };
        let entry = self.held_by(id, job, attempt).ok_or(stale)?;
        match entry.state {
            JobState::Offered { .. } => {
                entry.unaccepted = 0;
                self.enter(
                    job,
                    JobState::Accepted {
                        runner: id,
                        attempt,
                        since: now,
                    },
                );
            }
            // A repeated acceptance after a reconnect says nothing new.
            JobState::Accepted { .. } | JobState::Running { .. } => {}
            _ => return Err(stale),
        }
        self.settle(now);
        Ok(())
    }

    /// The runner will not take the job it was offered. The job goes back to the queue.
    ///
    /// # Errors
    /// [`Stale`] when the runner does not hold that offer.
    pub fn rejected(
        &mut self,
        now: Instant,
        id: RunnerId,
        job: JobIndex,
        attempt: Attempt,
    ) -> Result<(), Stale> {
        let stale = Stale {
            job,
            runner: id,
            attempt,
        };
        let entry = self.held_by(id, job, attempt).ok_or(stale)?;
        if !matches!(entry.state, JobState::Offered { .. }) {
            return Err(stale);
        }
        self.unaccept(now, job);
        self.settle(now);
        Ok(())
    }

    /// The runner has started the first step.
    ///
    /// # Errors
    /// [`Stale`] when the runner does not hold that attempt.
    pub fn started(
        &mut self,
        now: Instant,
        id: RunnerId,
        job: JobIndex,
        attempt: Attempt,
    ) -> Result<(), Stale> {
        let stale = Stale {
            job,
            runner: id,
            attempt,
        };
        match self.held_by(id, job, attempt).ok_or(stale)?.state {
            JobState::Accepted { since, .. } => self.enter(
                job,
                JobState::Running {
                    runner: id,
                    attempt,
                    since,
                },
            ),
            JobState::Running { .. } => {}
            _ => return Err(stale),
        }
        self.settle(now);
        Ok(())
    }

    /// The runner has ended the attempt. An attempt that was accepted may end without starting.
    ///
    /// # Errors
    /// [`Stale`] when the runner does not hold that attempt.
    pub fn finished(
        &mut self,
        now: Instant,
        id: RunnerId,
        job: JobIndex,
        attempt: Attempt,
        verdict: Verdict,
    ) -> Result<(), Stale> {
        let stale = Stale {
            job,
            runner: id,
            attempt,
        };
        let entry = self.held_by(id, job, attempt).ok_or(stale)?;
        if matches!(entry.state, JobState::Offered { .. }) {
            return Err(stale);
        }
        let cause = entry.stopping.map(|stopping| stopping.cause);
        // A success that won the race against a cancel is a success: the work was done.
        let state = match verdict {
            Verdict::Succeeded => JobState::Succeeded,
            Verdict::Failed { step, reason } => JobState::Failed { step, reason },
            Verdict::TimedOut { step } => JobState::TimedOut { step },
            Verdict::Cancelled if cause == Some(CancelCause::TimedOut) => JobState::TimedOut { step: None },
            Verdict::Cancelled => JobState::Cancelled,
        };
        self.enter(job, state);
        self.settle(now);
        Ok(())
    }

    /// Cancels one job. A job that has ended stays as it is.
    pub fn cancel(&mut self, now: Instant, job: JobIndex) {
        self.stop(now, job, CancelCause::Requested);
        self.settle(now);
    }

    /// Cancels every job that has not ended.
    pub fn cancel_all(&mut self, now: Instant) {
        for job in 0..self.jobs.len() {
            self.stop(now, index(job), CancelCause::Requested);
        }
        self.settle(now);
    }

    // ---- time ----------------------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.done.is_some() {
            return None;
        }
        let mut next: Option<Instant> = None;
        let mut at = |when: Instant| next = Some(next.map_or(when, |next: Instant| next.min(when)));
        for runner in self.runners.values() {
            at(runner.lease_until);
            runner.resting_until.map(&mut at);
        }
        for job in &self.jobs {
            if let Some(since) = job.unmatched_since {
                at(since + self.limits.unmatched_max);
            }
            match (&job.state, job.stopping) {
                (JobState::Offered { accept_by, .. }, _) => at(*accept_by),
                (_, Some(stopping)) => at(stopping.until),
                (JobState::Accepted { since, .. } | JobState::Running { since, .. }, None) => {
                    at(*since + job.timeout + self.limits.timeout_margin);
                }
                _ => {}
            }
        }
        next
    }

    /// Acts on everything whose time has come. Calling it early or often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let silent = self
            .runners
            .iter()
            .filter(|(_, runner)| runner.lease_until <= now);
        for id in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drop_runner(now, id);
            if self.done.is_none() {
                self.events.push_back(Event::RunnerLost { runner: id });
            }
        }
        for runner in self.runners.values_mut() {
            runner.resting_until = runner.resting_until.filter(|until| *until > now);
        }
        for at in 0..self.jobs.len() {
            let (job, entry) = (index(at), &self.jobs[at]);
            match (&entry.state, entry.stopping) {
                (JobState::Offered { accept_by, .. }, _) if *accept_by <= now => self.unaccept(now, job),
                (JobState::Accepted { .. } | JobState::Running { .. }, Some(stopping))
                    if stopping.until <= now =>
                {
                    // The runner never answered. Its lease list will be told to stop the attempt.
                    self.enter(job, stopped(stopping.cause));
                }
                (JobState::Accepted { since, .. } | JobState::Running { since, .. }, None)
                    if *since + entry.timeout + self.limits.timeout_margin <= now =>
                {
                    self.stop(now, job, CancelCause::TimedOut);
                }
                (JobState::Queued, _)
                    if entry
                        .unmatched_since
                        .is_some_and(|since| since + self.limits.unmatched_max <= now) =>
                {
                    let reason = FailReason::NoRunner {
                        labels: entry.labels.clone(),
                    };
                    self.enter(job, JobState::Failed { step: None, reason });
                }
                _ => {}
            }
        }
        self.settle(now);
    }

    /// The next thing to do or to know. Drain it after every call that takes `now`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // ---- inside --------------------------------------------------------------------------------

    fn held_by(&mut self, id: RunnerId, job: JobIndex, attempt: Attempt) -> Option<&mut Job> {
        let entry = self.jobs.get_mut(job.as_usize())?;
        (entry.state.holder() == Some((id, attempt))).then_some(entry)
    }

    /// The one place where a job changes state: slots, notes and events follow from here.
    fn enter(&mut self, job: JobIndex, state: JobState) {
        let Some(entry) = self.jobs.get_mut(job.as_usize()) else {
            return;
        };
        debug_assert!(
            !entry.state.is_terminal(),
            "an ended job changed: {:?} to {state:?}",
            entry.state
        );
        let (before, after) = (entry.state.holder(), state.holder());
        if before != after {
            entry.stopping = None;
            if let Some(runner) = before.and_then(|(id, _)| self.runners.get_mut(&id)) {
                runner.used = runner.used.saturating_sub(1);
            }
            if let Some(runner) = after.and_then(|(id, _)| self.runners.get_mut(&id)) {
                runner.used += 1;
            }
        }
        entry.unmatched_since = None;
        entry.state = state.clone();
        self.events.push_back(Event::Changed { job, state });
    }

    fn stop(&mut self, now: Instant, job: JobIndex, cause: CancelCause) {
        let until = now + self.limits.cancel_within;
        let Some(entry) = self.jobs.get_mut(job.as_usize()) else {
            return;
        };
        match entry.state {
            JobState::Queued => self.enter(job, stopped(cause)),
            JobState::Offered { runner, attempt, .. } => {
                // Nothing has started, so there is nothing to wait for; a late ACCEPT is stale.
                self.enter(job, stopped(cause));
                self.events.push_back(Event::Cancel {
                    job,
                    runner,
                    attempt,
                    cause,
                });
            }
            JobState::Accepted { runner, attempt, .. } | JobState::Running { runner, attempt, .. }
                if entry.stopping.is_none() =>
            {
                entry.stopping = Some(Stopping { cause, until });
                self.events.push_back(Event::Cancel {
                    job,
                    runner,
                    attempt,
                    cause,
                });
            }
            _ => {}
        }
    }

    /// An offer was refused or lapsed.
    fn unaccept(&mut self, now: Instant, job: JobIndex) {
        let rest_until = now + self.limits.runner_back_off;
        let offers_max = self.limits.offers_max;
        let Some(entry) = self.jobs.get_mut(job.as_usize()) else {
            return;
        };
        if let Some(runner) = entry.state.holder().and_then(|(id, _)| self.runners.get_mut(&id)) {
            runner.resting_until = Some(rest_until);
        }
        entry.unaccepted += 1;
        let state = match entry.unaccepted >= offers_max {
            true => JobState::Failed {
                step: None,
                reason: FailReason::Unaccepted {
                    offers: entry.unaccepted,
                },
            },
            false => JobState::Queued,
        };
        self.enter(job, state);
    }

    /// The runner of an accepted or running job is gone, or says it knows nothing of it.
    fn lose(&mut self, job: JobIndex) {
        let lost_max = self.limits.lost_max;
        let Some(entry) = self.jobs.get_mut(job.as_usize()) else {
            return;
        };
        entry.lost += 1;
        let state = match entry.stopping {
            Some(stopping) => stopped(stopping.cause),
            None if entry.lost >= lost_max => JobState::Lost { attempts: entry.lost },
            None => JobState::Queued,
        };
        self.enter(job, state);
    }

    fn drop_runner(&mut self, now: Instant, id: RunnerId) {
        if self.runners.remove(&id).is_none() {
            return;
        }
        for at in 0..self.jobs.len() {
            match self.jobs[at].state {
                JobState::Offered { runner, .. } if runner == id => self.unaccept(now, index(at)),
                JobState::Accepted { runner, .. } | JobState::Running { runner, .. } if runner == id => {
                    self.lose(index(at));
                }
                _ => {}
            }
        }
    }

    pub(super) fn needs_met(&self, job: &Job) -> bool {
        job.needs
            .iter()
            .all(|need| matches!(self.job(*need), Some(JobState::Succeeded)))
    }

    /// Skips, offers and concludes until nothing more follows from what is known.
    fn settle(&mut self, now: Instant) {
        self.skip();
        for at in 0..self.jobs.len() {
            self.offer(now, index(at));
        }
        if self.done.is_none() && self.jobs.iter().all(|job| job.state.is_terminal()) {
            let result = self.conclude();
            self.done = Some(result);
            self.events.push_back(Event::Done(result));
        }
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    /// A need may come later in the file than its dependents, so this repeats until nothing changes.
    fn skip(&mut self) {
        loop {
            let skipped = self.jobs.iter().enumerate().find_map(|(at, job)| {
                let failed = |need: &&JobIndex| {
                    self.job(**need)
                        .is_some_and(|state| state.is_terminal() && *state != JobState::Succeeded)
                };
                let need = job
                    .needs
                    .iter()
                    .find(failed)
                    .filter(|_| job.state == JobState::Queued)?;
                Some((index(at), *need))
            });
            let Some((job, need)) = skipped else { return };
            self.enter(job, JobState::Skipped { need });
        }
    }

    fn offer(&mut self, now: Instant, job: JobIndex) {
        let Some(entry) = self.jobs.get(job.as_usize()) else {
            return;
        };
        if entry.state != JobState::Queued || !self.needs_met(entry) {
            return;
        }
        let fitting = || {
            self.runners
                .iter()
                .filter(|(_, runner)| runner.has_labels(&entry.labels))
        };
        let unmatched = fitting().next().is_none();
        // The emptiest runner first, so that parallel jobs spread over machines.
        let chosen = fitting()
            .filter(|(_, runner)| runner.can_take(now))
            .max_by_key(|(id, runner)| (runner.free(), std::cmp::Reverse(**id)))
            .map(|(id, _)| *id);
        let accept_by = now + self.limits.accept_within;
        let entry = &mut self.jobs[job.as_usize()];
        let Some(runner) = chosen else {
            entry.unmatched_since = unmatched.then(|| entry.unmatched_since.unwrap_or(now));
            return;
        };
        entry.attempts += 1;
        let attempt = Attempt(entry.attempts);
        self.enter(
            job,
            JobState::Offered {
                runner,
                attempt,
                accept_by,
            },
        );
        self.events.push_back(Event::Offer {
            job,
            runner,
            attempt,
            accept_by,
        });
    }
}

fn stopped(cause: CancelCause) -> JobState {
    match cause {
        CancelCause::TimedOut => JobState::TimedOut { step: None },
        CancelCause::Requested | CancelCause::Superseded => JobState::Cancelled,
    }
}

/// Positions come from a list of at most `JOBS_MAX` jobs.
fn index(at: usize) -> JobIndex {
    JobIndex(u32::try_from(at).unwrap_or(u32::MAX))
}
