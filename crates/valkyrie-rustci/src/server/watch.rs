//! The stream `watch`: how a run stands and what its jobs print, at the watcher's pace.
//!
//! A watcher compares what it has been sent with what there is, and reads logs from their files. So
//! one that is slow skips states that have passed and holds up nobody, and no queue grows for it.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_endpoint::{ErrorCode, Extensions, Failure, Kind, Message, RecvStream, SendStream};

use super::clients::unknown_run;
use super::run::Run;
use super::spool::{Place, Spool};
use super::{Plane, unreadable};
use crate::pipeline::JobIndex;
use crate::schedule::RunResult;
use crate::wire::{FromServer, JobStatus, LogPlace, StatusUpdate, Watch};

/// What one watcher has been sent.
struct Watcher {
    plane: Arc<Plane>,
    run: u64,
    logs: bool,
    jobs: Vec<Sent>,
}

/// What one watcher has been sent of one job.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// The version of the run whose status of the job was sent.
    version: u64,
    /// The attempt whose log is being sent.
    attempt: u32,
    place: Place,
}

/// What is to be done next.
enum Next {
    Status(Box<JobStatus>),
    Log(JobIndex, Arc<Spool>, Place),
    End(RunResult),
    Wait,
}

/// Serves one watcher until the run has ended and everything was sent.
pub(super) async fn serve(
    plane: Arc<Plane>,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Failure> {
    let invalid = |text: &str| Failure::new(ErrorCode::INVALID_ARGUMENT, text);
    let first = recv
        .recv()
        .await?
        .ok_or_else(|| invalid("say which run to watch"))?;
    let watch = Watch::decode(&first.payload).map_err(|error| unreadable(&error))?;
    plane.same_life(watch.server)?;
    let begun = plane.look(|state, _| {
        let run = state.run(watch.run)?;
        Some((run.subscribe(), run.status(), run.version()))
    });
    let (mut changes, status, version) = begun.ok_or_else(|| unknown_run(watch.run))?;
    let jobs = (0..status.jobs.len()).map(|job| {
        let LogPlace { attempt, offset } = watch.log_from.get(job).copied().unwrap_or_default();
        Sent {
            version,
            attempt,
            place: Place::after(offset),
        }
    });
    let mut watcher = Watcher {
        jobs: jobs.collect(),
        plane,
        run: watch.run,
        logs: watch.logs,
    };
    watcher.hold_ends_back(&status.jobs);
    let mut status = status;
    if watch.logs {
        // That a job has ended is told after its log, here as later.
        status
            .jobs
            .iter_mut()
            .filter(|job| job.state.is_terminal())
            .for_each(unend);
    }
    send.send(to_message(StatusUpdate::Run(status))?).await?;
    loop {
        changes.mark_unchanged();
        match watcher.next()? {
            Next::Status(status) => send.send(to_message(StatusUpdate::Job(*status))?).await?,
            Next::Log(job, spool, place) => {
                let read = tokio::task::spawn_blocking(move || spool.read(place)).await;
                let read = read.map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))?;
                let (payloads, place) = read.map_err(|error| lost_log(&error))?;
                for payload in payloads {
                    send.send(log_message(payload)).await?;
                }
                if let Some(sent) = watcher.jobs.get_mut(job.as_usize()) {
                    sent.place = place;
                }
            }
            Next::End(result) => {
                let end = StatusUpdate::End {
                    run: watch.run,
                    result,
                };
                send.send(to_message(end)?).await?;
                return Ok(());
            }
            Next::Wait => tokio::select! {
                // A run that was forgotten takes its sender with it; the next look says so.
                _ = changes.changed() => {}
                // A watcher that goes away needs no answer.
                end = recv.recv() => if end?.is_none() && recv.is_finished() {
                    changes.changed().await.map_err(|_| unknown_run(watch.run))?;
                },
            },
        }
    }
}

impl Watcher {
    /// What the watcher does not have yet. Log bytes come before the news that their job has ended, and
    /// jobs take turns.
    fn next(&mut self) -> Result<Next, Failure> {
        let plane = Arc::clone(&self.plane);
        plane.look(|state, _| {
            let run = state.run(self.run).ok_or_else(|| unknown_run(self.run))?;
            if let Some(status) = self.next_status(run) {
                return Ok(Next::Status(Box::new(status)));
            }
            if let Some((job, spool, place)) = self.next_log(run) {
                return Ok(Next::Log(job, spool, place));
            }
            Ok(run.result().map_or(Next::Wait, Next::End))
        })
    }

    fn next_status(&mut self, run: &Run) -> Option<JobStatus> {
        for (record, sent) in run.jobs.iter().zip(&mut self.jobs) {
            if record.changed <= sent.version {
                continue;
            }
            let kept = record.spool.as_ref().map_or(0, |spool| spool.kept());
            let unread = sent.attempt != record.status.attempt || sent.place.log < kept;
            if record.status.state.is_terminal() && self.logs && kept > 0 && unread {
                continue;
            }
            sent.version = record.changed;
            return Some(record.status.clone());
        }
        None
    }

    /// The next job whose log has unsent bytes, beginning behind the one that had its turn last.
    fn next_log(&mut self, run: &Run) -> Option<(JobIndex, Arc<Spool>, Place)> {
        if !self.logs {
            return None;
        }
        let mut behind: Option<(usize, u64)> = None;
        for (at, (record, sent)) in run.jobs.iter().zip(&mut self.jobs).enumerate() {
            let Some(spool) = &record.spool else { continue };
            if sent.attempt != record.status.attempt {
                (sent.attempt, sent.place) = (record.status.attempt, Place::default());
            }
            // The one that has been sent least: nobody waits behind a job that never stops printing.
            if sent.place.log < spool.kept() && behind.is_none_or(|(_, least)| sent.place.log < least) {
                behind = Some((at, sent.place.log));
            }
        }
        let (at, _) = behind?;
        let job = JobIndex(u32::try_from(at).ok()?);
        Some((job, run.jobs.get(at)?.spool.clone()?, self.jobs.get(at)?.place))
    }

    /// Jobs that had ended before the watch began are reported again, after their logs.
    fn hold_ends_back(&mut self, jobs: &[JobStatus]) {
        if !self.logs {
            return;
        }
        for (job, sent) in jobs.iter().zip(&mut self.jobs) {
            if job.state.is_terminal() {
                sent.version = 0;
            }
        }
    }
}

/// The status of an ended job as it was before its end.
fn unend(job: &mut JobStatus) {
    use crate::wire::JobPhase;
    job.state = if job.started_ms.is_some() {
        JobPhase::Running
    } else {
        JobPhase::Queued
    };
    (job.ended_ms, job.detail) = (None, None);
}

fn to_message(update: StatusUpdate) -> Result<Message, Failure> {
    let payload = FromServer::Status(update).encode();
    let payload = payload.map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))?;
    Ok(Message {
        kind: Kind::STATUS,
        extensions: Extensions::EMPTY,
        payload,
    })
}

fn log_message(payload: Bytes) -> Message {
    Message {
        kind: Kind::LOG,
        extensions: Extensions::EMPTY,
        payload,
    }
}

fn lost_log(error: &std::io::Error) -> Failure {
    Failure::new(
        ErrorCode::INTERNAL,
        format!("the server cannot read the log that it kept: {error}"),
    )
}
