//! The runner's side door: `register`, and the stream of job frames.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use valkyrie_endpoint::{Context, ErrorCode, Extensions, Failure, Kind, Message, RecvStream, SendStream};

use super::registry::{OUTBOX_MAX, RunnerEntry};
use super::state::{State, millis};
use super::{Plane, unreadable};
use crate::schedule::{CancelCause, RunnerId, Verdict};
use crate::wire::{FromRunner, FromServer, JobRef, PROTOCOL, Register, Registered, StepPhase};

/// A runner presents itself.
pub(super) fn register(plane: &Plane, context: &Context, payload: &Bytes) -> Result<Bytes, Failure> {
    let register = Register::decode(payload).map_err(|error| unreadable(&error))?;
    let connection = context.connection().id();
    let registered = plane.change(|state, now| {
        if state.registry.is_full() {
            let text = "this server knows as many runners as it can";
            return Err(Failure::new(ErrorCode::RESOURCE_EXHAUSTED, text));
        }
        // A runner that registers again on its connection starts over.
        if let Some(before) = state.registry.on_connection(connection) {
            state.drop_runner(before, now);
        }
        let id = RunnerId(state.next_runner);
        state.next_runner += 1;
        let identity = context.identity().fingerprint();
        // What another identity holds is not to be had by naming it.
        let was = register.was.filter(|was| {
            let before = state.registry.entry(*was);
            before.is_some_and(|before| before.identity == identity)
        });
        let entry = RunnerEntry {
            identity,
            name: register.name,
            labels: register.labels,
            slots: register.slots,
            used: 0,
            connection,
            outbox: None,
            lease_until: now + plane.config.limits.lease,
            draining: false,
            healthy: true,
        };
        state.registry.insert(id, entry);
        state.runner_came(id, was, now);
        let ours = |at: &JobRef| {
            state
                .run(at.run)
                .is_some_and(|run| run.is_held_by(id, at.job, at.attempt))
        };
        Ok(Registered {
            protocol: PROTOCOL.min(register.protocol),
            runner: id,
            lease_ms: millis(plane.config.limits.lease),
            stop: register.held.iter().copied().filter(|at| !ours(at)).collect(),
        })
    })?;
    registered.encode().map_err(|error| unreadable(&error))
}

/// Serves the stream of job frames of a registered runner until it ends.
pub(super) async fn serve(
    plane: Arc<Plane>,
    context: Context,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Failure> {
    let connection = context.connection().id();
    let (outbox, mut queued) = mpsc::channel(OUTBOX_MAX);
    let opened = plane.change(|state, now| {
        let id = state.registry.on_connection(connection)?;
        state.registry.entry_mut(id)?.outbox = Some(outbox);
        state.runner_changed(id, now);
        Some(id)
    });
    let Some(id) = opened else {
        return Err(Failure::new(ErrorCode::FAILED_PRECONDITION, "register first"));
    };
    let talk = async {
        while let Some(message) = queued.recv().await {
            send.send(to_message(&message)?).await?;
        }
        Err(Failure::new(
            ErrorCode::LEASE_LOST,
            "the runner was given up; register again",
        ))
    };
    let listen = async {
        while let Some(message) = recv.recv().await? {
            // What cannot be read is ignored, as a runner may be newer than this server.
            if let Ok(message) = FromRunner::decode(message.kind.byte(), &message.payload) {
                plane.change(|state, now| hear(&plane, state, id, message, now));
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = talk => ended,
        ended = listen => ended,
    };
    plane.change(|state, now| {
        let Some(entry) = state.registry.entry_mut(id) else {
            return;
        };
        entry.outbox = None;
        // A runner that drained and finished its stream has left; one that broke off may come back.
        if ended.is_ok() && entry.draining {
            state.drop_runner(id, now);
        } else {
            state.runner_changed(id, now);
        }
    });
    ended
}

fn to_message(message: &FromServer) -> Result<Message, Failure> {
    Ok(Message {
        kind: Kind::from_byte(message.kind().code()),
        extensions: Extensions::EMPTY,
        payload: message
            .encode()
            .map_err(|error| Failure::new(ErrorCode::INTERNAL, error.to_string()))?,
    })
}

fn hear(plane: &Plane, state: &mut State, runner: RunnerId, message: FromRunner, now: Instant) {
    match message {
        FromRunner::Accept(accept) => {
            let at = accept.at;
            let taken = state.call(at.run, now, |schedule| {
                schedule.accepted(now, runner, at.job, at.attempt)
            });
            if !matches!(taken, Some(Ok(()))) {
                state.send_cancel(runner, at, CancelCause::Superseded);
            }
        }
        // Reports about attempts that are not the runner's change nothing, and the next lease says so.
        FromRunner::Reject(reject) => {
            let at = reject.at;
            state.call(at.run, now, |schedule| {
                schedule.rejected(now, runner, at.job, at.attempt)
            });
        }
        FromRunner::Start(start) => {
            let at = start.at;
            state.call(at.run, now, |schedule| {
                schedule.started(now, runner, at.job, at.attempt)
            });
        }
        FromRunner::Progress(progress) => {
            if let Some(run) = state.run_mut(progress.at.run)
                && progress.phase == StepPhase::Started
                && run.is_held_by(runner, progress.at.job, progress.at.attempt)
            {
                run.step_started(progress.at.job, progress.step);
            }
        }
        FromRunner::Complete(complete) => {
            state.report(runner, complete.at, Verdict::Succeeded, complete.log_bytes, now);
        }
        FromRunner::Failed(failed) => state.report(runner, failed.at, failed.verdict, failed.log_bytes, now),
        FromRunner::Lease(lease) => {
            let Some(entry) = state.registry.entry_mut(runner) else {
                return;
            };
            let changed = std::mem::replace(&mut entry.draining, lease.draining) != lease.draining;
            if changed {
                state.runner_changed(runner, now);
            }
            state.lease(&plane.config, runner, &lease.held, now);
        }
        FromRunner::Health(health) => {
            let Some(entry) = state.registry.entry_mut(runner) else {
                return;
            };
            entry.healthy = health.ok;
            state.runner_changed(runner, now);
        }
        // Heard, and that is all: the final report follows, or the schedule ends the job itself.
        FromRunner::CancelAck(_) | FromRunner::Metrics(_) => {}
    }
}
