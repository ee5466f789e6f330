//! Opening a stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use valkyrie_frame::{Class, Extensions, Priority};
use valkyrie_proto::OpenError as Refused;

use crate::connection::InLine;
use crate::core::{HEAD_BYTES, Line};
use crate::method::with_trace;
use crate::shared::Urgency;
use crate::{Connection, Method, MethodError, OpenError, RecvStream, SendStream, clock};

/// A stream that is opened when it is first polled. It waits only when the peer grants no further stream.
#[must_use = "a stream is opened when it is awaited"]
pub struct Open<'a> {
    connection: &'a Connection,
    class: Class,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    payload: Bytes,
    extensions: Result<Extensions, MethodError>,
    wait: InLine<'a>,
}

impl<'a> Open<'a> {
    pub(crate) fn new(connection: &'a Connection, method: Result<Method, MethodError>) -> Self {
        Self {
            connection,
            class: Class::Data,
            priority: None,
            timeout: None,
            payload: Bytes::new(),
            extensions: method.map(|method| method.extensions().clone()),
            wait: InLine {
                shared: connection.shared(),
                line: Line::Open,
                ticket: None,
            },
        }
    }

    /// The class of service of the stream; [`Class::Data`] unless told otherwise. The critical class has none.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Its priority within the class; the middle of the class's band unless told otherwise.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How long the whole stream may take. It never outlives the deadline of the handler that opens it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Bytes that go with the opening itself, at most 4 KiB.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The trace it belongs to, as a W3C `traceparent` in binary: version, trace id, parent id and flags.
    pub fn trace_context(mut self, context: &[u8; 26]) -> Self {
        if let Ok(extensions) = &self.extensions {
            self.extensions = with_trace(extensions, context);
        }
        self
    }
}

impl Future for Open<'_> {
    type Output = Result<(SendStream, RecvStream), OpenError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let extensions = match &this.extensions {
            Ok(extensions) => extensions.clone(),
            Err(error) => return Poll::Ready(Err((*error).into())),
        };
        let shared = this.connection.shared();
        let mut core = shared.lock();
        let (now, timeout) = clock::allowance(this.timeout, core.seen);
        let opened = core.session.open(
            now,
            this.class,
            this.priority,
            extensions,
            this.payload.clone(),
            timeout,
        );
        match opened {
            Ok(key) => {
                core.hold_stream(key, 2);
                core.queued_bytes += this.payload.len() + HEAD_BYTES;
                let mut wakers: Vec<Waker> = Vec::new();
                wakers.extend(core.leave(Line::Open, &mut this.wait.ticket));
                if timeout.is_some() {
                    // The driver looks at its timer again.
                    wakers.extend(core.driver.clone());
                }
                shared.commit_with(core, Urgency::Soon, wakers);
                let send = SendStream::new(Connection::new(Arc::clone(shared)), key);
                let recv = RecvStream::new(Connection::new(Arc::clone(shared)), key);
                Poll::Ready(Ok((send, recv)))
            }
            Err(Refused::Refused(refusal)) => Poll::Ready(Err(OpenError::Refused(refusal))),
            Err(_) => {
                core.join(Line::Open, &mut this.wait.ticket, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl std::fmt::Debug for Open<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("connection", self.connection)
            .field("class", &self.class)
            .finish()
    }
}
