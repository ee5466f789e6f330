//! Handlers that have to wait, each a task of its own.
//!
//! A task ends in exactly one way whatever happens to its handler: it answers (or ends the stream) after the handler's
//! future is gone, so a slot is never free while its handler still runs. That holds for a task that is dropped with its
//! runtime as well.

use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use valkyrie_frame::{Class, ErrorCode, StreamId};
use valkyrie_proto::{Failure, RequestId, StreamKey};

use crate::core::{HEAD_BYTES, response};
use crate::handler::{Answer, Panicked, Running, drop_quietly, poll_running};
use crate::services::{StreamFuture, StreamHandler};
use crate::shared::{Counters, Shared, Urgency};
use crate::{Context, RecvStream, SendStream, clock};

/// What a handler's end is reported to.
pub(crate) enum Debt {
    /// A request is owed its answer.
    Answer(RequestId),
    /// A notification holds credit on a lane.
    Credit { lane: StreamId, cost: u32 },
}

/// A request's or notification's handler that did not answer at once.
pub(crate) struct HandlerTask {
    shared: Arc<Shared>,
    running: Option<Running>,
    debt: Debt,
    deadline: Option<Instant>,
}

impl HandlerTask {
    pub(crate) fn new(shared: Arc<Shared>, running: Running, debt: Debt, deadline: Option<Instant>) -> Self {
        if let Debt::Answer(id) = debt {
            shared.roster.admission.enter(id.class());
        }
        Self {
            shared,
            running: Some(running),
            debt,
            deadline,
        }
    }

    /// Drops the handler, then pays.
    fn end(&mut self, answer: Answer) {
        drop_quietly(self.running.take());
        let mut core = self.shared.lock();
        let mut wakers = Vec::new();
        match self.debt {
            Debt::Answer(id) => {
                let now = clock::now();
                self.shared.roster.admission.leave(id.class(), now);
                core.respond(now, id, answer.map(response), &mut wakers);
            }
            Debt::Credit { lane, cost } => core.session.release_notify(lane, cost),
        }
        let urgency = if core.requests_running == 0 {
            Urgency::Now
        } else {
            Urgency::Soon
        };
        self.shared.commit_with(core, urgency, wakers);
    }
}

impl Future for HandlerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let stopped = match this.debt {
            Debt::Answer(id) => this.shared.lock().poll_run(id, cx.waker()).err(),
            Debt::Credit { .. } => None,
        };
        if let Some(code) = stopped {
            this.end(Err(Failure::new(
                code,
                "the handler was stopped because nobody waits for its answer",
            )));
            return Poll::Ready(());
        }
        let Some(running) = &mut this.running else {
            return Poll::Ready(());
        };
        let answer = match poll_running(running, cx, this.deadline) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(Panicked) => {
                Counters::add(&this.shared.counters.panics);
                Err(Panicked::failure())
            }
        };
        this.end(answer);
        Poll::Ready(())
    }
}

impl Drop for HandlerTask {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.end(Err(Failure::new(
                ErrorCode::UNAVAILABLE,
                "the handler was stopped with its runtime",
            )));
        }
    }
}

/// A stream's handler.
pub(crate) struct StreamTask {
    shared: Arc<Shared>,
    key: StreamKey,
    class: Class,
    state: StreamState,
    deadline: Option<Instant>,
}

enum StreamState {
    Begin(Arc<StreamHandler>, Box<(Context, SendStream, RecvStream)>),
    Runs(StreamFuture),
    Ended,
}

impl StreamTask {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (key, class): (StreamKey, Class),
        handler: Arc<StreamHandler>,
        context: Context,
        halves: (SendStream, RecvStream),
    ) -> Self {
        let deadline = context.deadline();
        shared.roster.admission.enter(class);
        Self {
            shared,
            key,
            class,
            state: StreamState::Begin(handler, Box::new((context, halves.0, halves.1))),
            deadline,
        }
    }

    /// Calls the handler's function on the first poll, inside the same guard as its future.
    fn begin(&mut self) -> Result<(), Panicked> {
        if !matches!(self.state, StreamState::Begin(..)) {
            return Ok(());
        }
        if let StreamState::Begin(handler, arguments) = mem::replace(&mut self.state, StreamState::Ended) {
            let future = clock::with_deadline(self.deadline, || {
                catch_unwind(AssertUnwindSafe(|| {
                    let (context, send, recv) = *arguments;
                    handler(context, send, recv)
                }))
                .map_err(|_| Panicked)
            })?;
            self.state = StreamState::Runs(future);
        }
        Ok(())
    }

    /// Drops the handler, then ends the stream as it said.
    fn end(&mut self, outcome: Result<(), Failure>) {
        drop_quietly(mem::replace(&mut self.state, StreamState::Ended));
        let mut core = self.shared.lock();
        let now = clock::now();
        self.shared.roster.admission.leave(self.class, now);
        match outcome {
            // Misuse here means that the handler had finished by itself, or that the stream is over anyway.
            Ok(()) => {
                let _ = core.session.finish(self.key);
                // What the handler did not care to read must not turn its good end into a reset.
                let _ = core.session.recv(self.key, &mut Default::default());
            }
            Err(failure) => core.session.reset(now, self.key, failure),
        }
        core.queued_bytes += HEAD_BYTES;
        if let Some(slot) = core.stream(self.key) {
            slot.handled = false;
        }
        core.drop_stream(now, self.key);
        self.shared.commit(core, Urgency::Soon);
    }
}

impl Future for StreamTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let polled = match this.begin() {
            Ok(()) => match &mut this.state {
                StreamState::Runs(future) => poll_running(future, cx, this.deadline),
                _ => return Poll::Ready(()),
            },
            Err(panicked) => Err(panicked),
        };
        let outcome = match polled {
            Ok(Poll::Pending) => {
                // Its own messages to a reset stream fail; a handler that waits for something else is dropped.
                if this.shared.lock().poll_stream_over(this.key, cx.waker()) {
                    this.end(Err(Failure::new(ErrorCode::CANCELLED, "the stream is over")));
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(outcome)) => outcome,
            Err(Panicked) => {
                Counters::add(&this.shared.counters.panics);
                Err(Panicked::failure())
            }
        };
        this.end(outcome);
        Poll::Ready(())
    }
}

impl Drop for StreamTask {
    fn drop(&mut self) {
        if !matches!(self.state, StreamState::Ended) {
            self.end(Err(Failure::new(
                ErrorCode::UNAVAILABLE,
                "the handler was stopped with its runtime",
            )));
        }
    }
}
