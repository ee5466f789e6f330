//! What a runner holds, whatever becomes of its connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::attempt;
use super::log_out::LogOut;
use super::{RunnerConfig, RunnerNews, Stop};
use crate::execute::{CancelHandle, cancel_pair};
use crate::schedule::{RunnerId, Verdict};
use crate::wire::{
    Accept, Cancel, CancelAck, Complete, Failed, FromRunner, HELD_MAX, JobRef, Lease, Metrics, PROTOCOL,
    Progress, Register, Reject, Request, Settled, Settlement,
};

/// Messages that wait to be sent before progress, which decides nothing, is left out. Everything else
/// that is queued is bounded by the slots.
const PROGRESS_QUEUED_MAX: usize = 1024;

/// What a runner holds.
pub(super) struct Hub {
    pub(super) config: RunnerConfig,
    state: Mutex<State>,
    /// There is something to send, or a log to open a stream for, or nothing left to do.
    pub(super) wake: Notify,
    news: Box<dyn Fn(RunnerNews) + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// The id of the newest registration.
    id: Option<RunnerId>,
    held: BTreeMap<JobRef, Held>,
    outbox: VecDeque<FromRunner>,
    /// Attempts whose log has no stream on this connection yet.
    unstreamed: Vec<JobRef>,
    stop: Stop,
    jobs_ended: u64,
    /// Attempts that were forgotten and whose processes are still being ended.
    dying: Vec<JoinHandle<()>>,
}

/// An attempt from its acceptance until its report is settled.
struct Held {
    job: String,
    cancel: CancelHandle,
    log: Arc<LogOut>,
    report: Option<FromRunner>,
    task: JoinHandle<()>,
}

impl Hub {
    pub(super) fn new(config: RunnerConfig, news: impl Fn(RunnerNews) + Send + Sync + 'static) -> Arc<Self> {
        let (state, wake) = (Mutex::default(), Notify::new());
        Arc::new(Self {
            config,
            state,
            wake,
            news: Box::new(news),
        })
    }

    pub(super) fn news(&self, news: RunnerNews) {
        (self.news)(news);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops as far as is wished. A weaker wish than an earlier one changes nothing.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        if stop <= state.stop {
            return;
        }
        state.stop = stop;
        if stop >= Stop::Cancel {
            state.held.values().for_each(|held| held.cancel.cancel());
        }
        state.push_lease();
        drop(state);
        self.wake.notify_one();
    }

    /// Whether it is stopping, holds nothing and has nothing left to say.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.stop > Stop::No && state.held.is_empty() && state.outbox.is_empty()
    }

    /// Returns once it is stopping and holds nothing, whatever is still to be said.
    pub(super) async fn emptied(&self) {
        loop {
            {
                let state = self.lock();
                if state.stop > Stop::No && state.held.is_empty() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Ends whatever runs and waits until it is dead. With `Stop::Now` nothing is asked first.
    pub(super) async fn abandon(&self) {
        let (tasks, now) = {
            let mut state = self.lock();
            let held: Vec<JobRef> = state.held.keys().copied().collect();
            state.forget(&held);
            (std::mem::take(&mut state.dying), state.stop == Stop::Now)
        };
        if now {
            tasks.iter().for_each(JoinHandle::abort);
        }
        for task in tasks {
            // A task that was aborted or panicked has ended too.
            let _ = task.await;
        }
    }

    // ---- the connection ------------------------------------------------------------------------

    /// What to present this runner with.
    pub(super) fn registration(&self) -> Register {
        let state = self.lock();
        Register {
            protocol: PROTOCOL,
            name: self.config.name.clone(),
            labels: self.config.labels.clone(),
            slots: self.config.slots,
            held: state.held.keys().copied().collect(),
            was: state.id,
        }
    }

    /// The server has taken the runner in. Everything that it may not have heard is queued again.
    pub(super) fn registered(&self, id: RunnerId, stop: &[JobRef]) {
        let mut state = self.lock();
        state.id = Some(id);
        state.forget(stop);
        state.outbox.clear();
        state.unstreamed = state.held.keys().copied().collect();
        state.push_lease();
        let reports: Vec<_> = state
            .held
            .values()
            .filter_map(|held| held.report.clone())
            .collect();
        state.outbox.extend(reports);
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn take_message(&self) -> Option<FromRunner> {
        self.lock().outbox.pop_front()
    }

    /// Logs that need a stream.
    pub(super) fn take_unstreamed(&self) -> Vec<(JobRef, Arc<LogOut>)> {
        let mut state = self.lock();
        let unstreamed = std::mem::take(&mut state.unstreamed);
        let log = |at: JobRef| Some((at, Arc::clone(&state.held.get(&at)?.log)));
        unstreamed.into_iter().filter_map(log).collect()
    }

    /// Logs whose stream broke while the connection stayed.
    pub(super) fn stream_again(&self, broken: impl Iterator<Item = JobRef>) {
        self.lock().unstreamed.extend(broken);
    }

    /// Queues the list of what is held, and numbers about the runner.
    pub(super) fn renew_lease(&self) {
        let mut state = self.lock();
        state.push_lease();
        let metrics = Metrics {
            slots: self.config.slots,
            used: u32::try_from(state.held.len()).unwrap_or(u32::MAX),
            log_unacknowledged_bytes: state.held.values().map(|held| held.log.unacknowledged()).sum(),
            jobs_ended: state.jobs_ended,
        };
        state.outbox.push_back(metrics.into());
        drop(state);
        self.wake.notify_one();
    }

    // ---- what the server says ------------------------------------------------------------------

    /// An offer: taken if there is room.
    pub(super) fn offered(self: &Arc<Self>, request: Request) {
        let at = request.at;
        let mut state = self.lock();
        let refusal = if state.stop > Stop::No {
            Some("the runner is stopping")
        } else if state.held.len() >= (self.config.slots as usize).min(HELD_MAX) {
            Some("every slot is taken")
        } else if state.held.contains_key(&at) {
            Some("the attempt is held already")
        } else {
            None
        };
        if let Some(reason) = refusal {
            state.outbox.push_back(
                Reject {
                    at,
                    reason: reason.to_owned(),
                }
                .into(),
            );
        } else {
            let (cancel, cancelled) = cancel_pair();
            let log = Arc::new(LogOut::new(at));
            let job = request.spec.id.clone();
            state.outbox.push_back(Accept { at }.into());
            state.unstreamed.push(at);
            self.news(RunnerNews::Took { job: job.clone() });
            let task = tokio::spawn(attempt::run(
                Arc::clone(self),
                request,
                Arc::clone(&log),
                cancelled,
            ));
            state.held.insert(
                at,
                Held {
                    job,
                    cancel,
                    log,
                    report: None,
                    task,
                },
            );
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn cancelled(&self, cancel: &Cancel) {
        let mut state = self.lock();
        let held = state.held.get(&cancel.at);
        if let Some(held) = held {
            held.cancel.cancel();
        }
        let held = held.is_some();
        state.outbox.push_back(CancelAck { at: cancel.at, held }.into());
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn settled(&self, settled: &Settled) {
        let mut state = self.lock();
        match settled.settlement {
            Settlement::NeedLog { .. } => {
                // What is acknowledged is gone, so the first byte that is not is as far back as it goes.
                let Some(held) = state.held.get(&settled.at) else {
                    return;
                };
                held.log.rewind();
                let report = held.report.clone();
                state.outbox.extend(report);
            }
            Settlement::Recorded | Settlement::Fenced | Settlement::Unknown => {
                if let Some(held) = state.held.remove(&settled.at) {
                    held.log.close();
                    state.jobs_ended += 1;
                    let verdict = match &held.report {
                        Some(FromRunner::Complete(_)) => String::from("succeeded"),
                        Some(FromRunner::Failed(failed)) => in_words(&failed.verdict),
                        _ => String::from("given up"),
                    };
                    drop(state);
                    self.news(RunnerNews::Settled {
                        job: held.job,
                        verdict,
                    });
                }
            }
        }
        self.wake.notify_one();
    }

    /// Attempts that are to be stopped and forgotten.
    pub(super) fn stopped(&self, stop: &[JobRef]) {
        self.lock().forget(stop);
        self.wake.notify_one();
    }

    /// The server keeps no more of an attempt's log.
    pub(super) fn log_refused(&self, at: JobRef) {
        if let Some(held) = self.lock().held.get(&at) {
            held.log.close();
        }
    }

    // ---- what attempts say ---------------------------------------------------------------------

    pub(super) fn say(&self, message: impl Into<FromRunner>) {
        self.lock().outbox.push_back(message.into());
        self.wake.notify_one();
    }

    pub(super) fn progress(&self, progress: Progress) {
        let mut state = self.lock();
        if state.outbox.len() < PROGRESS_QUEUED_MAX {
            state.outbox.push_back(progress.into());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// An attempt has ended.
    pub(super) fn ended(&self, at: JobRef, verdict: Verdict, log_bytes: u64) {
        let report: FromRunner = match verdict {
            Verdict::Succeeded => Complete { at, log_bytes }.into(),
            verdict => Failed {
                at,
                log_bytes,
                verdict,
            }
            .into(),
        };
        let mut state = self.lock();
        // One that was to be forgotten has nobody to report to.
        if let Some(held) = state.held.get_mut(&at) {
            held.report = Some(report.clone());
            state.outbox.push_back(report);
        }
        drop(state);
        self.wake.notify_one();
    }
}

impl State {
    /// The list is made where it is queued, so it says what was held when it was said.
    fn push_lease(&mut self) {
        let held = self.held.keys().copied().collect();
        self.outbox.push_back(
            Lease {
                held,
                draining: self.stop > Stop::No,
            }
            .into(),
        );
    }

    fn forget(&mut self, stop: &[JobRef]) {
        for at in stop {
            if let Some(held) = self.held.remove(at) {
                // The task goes on by itself until everything it started has ended.
                held.cancel.cancel();
                held.log.close();
                self.dying.retain(|task| !task.is_finished());
                self.dying.push(held.task);
            }
        }
    }
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Succeeded => String::from("succeeded"),
        Verdict::Failed { reason, .. } => format!("failed: {reason}"),
        Verdict::TimedOut { .. } => String::from("timed out"),
        Verdict::Cancelled => String::from("cancelled"),
    }
}
