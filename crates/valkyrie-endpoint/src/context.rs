//! What a handler knows of the message it serves.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, Extensions, StreamId};
use valkyrie_proto::{RequestId, StreamKey};

use crate::guard::Permit;
use crate::local::Run;
use crate::shared::Shared;
use crate::{Connection, Verified, clock};

/// The circumstances of one request, notification or stream: who sent it, until when, and whether it is still wanted.
#[derive(Debug)]
pub struct Context {
    shared: Arc<Shared>,
    subject: Subject,
    lane: StreamId,
    deadline: Option<Instant>,
    extensions: Extensions,
    /// Of a stream's opening.
    payload: Bytes,
}

/// What the handler was started for.
#[derive(Debug)]
pub(crate) enum Subject {
    Request(RequestId),
    Notification,
    Stream(StreamKey),
    /// A call that came by no connection.
    Local(Arc<Run>),
}

impl Context {
    #[inline]
    pub(crate) fn new(
        shared: Arc<Shared>,
        _: Permit,
        subject: Subject,
        lane: StreamId,
        deadline: Option<Instant>,
        extensions: Extensions,
    ) -> Self {
        Self {
            shared,
            subject,
            lane,
            deadline,
            extensions,
            payload: Bytes::new(),
        }
    }

    pub(crate) fn with_payload(mut self, payload: Bytes) -> Self {
        self.payload = payload;
        self
    }

    /// The connection it came on, to call back.
    pub fn connection(&self) -> Connection {
        Connection::new(Arc::clone(&self.shared))
    }

    /// Who is at the other end, for people.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Who the peer is, as it has proved; see [`Verified::how`] for how far that goes on a plain connection.
    pub fn identity(&self) -> &Verified {
        self.shared.guard.identity()
    }

    /// The class of service it came with.
    pub fn class(&self) -> Class {
        self.lane.class()
    }

    /// When the sender gives up. Calls made inside the handler inherit what is left of it by themselves; tasks that
    /// the handler spawns do not.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is left until the deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(clock::now()))
    }

    /// The extensions that came with it.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The bytes that came with the opening of a stream; empty for requests and notifications, whose handlers are given
    /// theirs.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Keeps the handler running when its request is cancelled: it learns of that from [`Context::cancelled`], cleans
    /// up and ends by itself. The request's slot stays taken until then.
    pub fn shield(&self) {
        match &self.subject {
            Subject::Request(id) => self.shared.lock().shield(*id),
            Subject::Local(run) => run.shield(),
            Subject::Notification | Subject::Stream(_) => {}
        }
    }

    /// Waits until nobody wants the answer any more: the caller cancelled, the deadline passed, the stream was reset,
    /// or the connection ended. Also ready once the handler has ended.
    pub async fn cancelled(&self) {
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            let cancelled = match &self.subject {
                Subject::Request(id) => core.poll_cancelled(*id, cx.waker()),
                Subject::Stream(key) => core.poll_stream_over(*key, cx.waker()),
                Subject::Local(run) => run.poll_cancelled(cx.waker()),
                Subject::Notification => {
                    core.watch_life(cx.waker());
                    core.closed.is_some()
                }
            };
            if cancelled { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
