//! One call: a request, and a wait for its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use valkyrie_frame::{Class, Kind, Priority};
use valkyrie_proto::{CloseReason, ExchangeKey, Message, Refusal};

use crate::core::{Core, HEAD_BYTES, Line};
use crate::driver::SOON;
use crate::method::{with_key, with_trace};
use crate::shared::Urgency;
use crate::wait::Ticket;
use crate::{CallError, Connection, Method, MethodError, clock};

/// A call that is made when it is first polled. Dropping it afterwards cancels it: the peer's handler is told to stop.
#[must_use = "a call is made when it is awaited"]
#[derive(Debug)]
pub struct Call<'a> {
    connection: &'a Connection,
    class: Class,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not sent. The ticket is a place in a line, when it had to wait for room.
    Unsent {
        message: Message,
        line: Option<Line>,
        ticket: Ticket,
    },
    Refused(MethodError),
    Sent(ExchangeKey),
    Done,
}

impl<'a> Call<'a> {
    #[inline]
    pub(crate) fn new(
        connection: &'a Connection,
        method: Result<Method, MethodError>,
        payload: Bytes,
    ) -> Self {
        let state = match method {
            Ok(method) => State::Unsent {
                message: Message {
                    kind: Kind::REQUEST,
                    extensions: method.extensions().clone(),
                    payload,
                },
                line: None,
                ticket: None,
            },
            Err(error) => State::Refused(error),
        };
        Self {
            connection,
            class: Class::Data,
            priority: None,
            timeout: None,
            state,
        }
    }

    /// The class of service it travels in; [`Class::Data`] unless told otherwise.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Its priority within the class; the middle of the class's band unless told otherwise.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How long the answer may take. Both sides give up then. A call made inside a handler never outlives the
    /// handler's own deadline, whatever is said here.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A key by which the service can tell that this is the same thing asked again.
    pub fn idempotency_key(mut self, key: [u8; 16]) -> Self {
        if let State::Unsent { message, .. } = &mut self.state {
            match with_key(&message.extensions, &key) {
                Ok(extensions) => message.extensions = extensions,
                Err(error) => self.state = State::Refused(error),
            }
        }
        self
    }

    /// The trace it belongs to, as a W3C `traceparent` in binary: version, trace id, parent id and flags.
    pub fn trace_context(mut self, context: &[u8; 26]) -> Self {
        if let State::Unsent { message, .. } = &mut self.state {
            match with_trace(&message.extensions, context) {
                Ok(extensions) => message.extensions = extensions,
                Err(error) => self.state = State::Refused(error),
            }
        }
        self
    }

    /// Sends the request, or waits for room.
    #[inline]
    fn begin(
        &mut self,
        mut core: MutexGuard<'_, Core>,
        message: Message,
        line: Option<Line>,
        mut ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, CallError>> {
        // Only a deadline needs to know the time.
        let (now, timeout) = clock::allowance(self.timeout, core.seen);
        let bytes = message.payload.len() + HEAD_BYTES;
        let sent = core
            .session
            .call(now, self.class, self.priority, message, timeout);
        let mut wakers = Vec::new();
        let outcome = match sent {
            Ok(key) => {
                // Whoever came in passes the baton on: there may be room for the next as well.
                wakers.extend(line.and_then(|line| core.leave(line, &mut ticket)));
                core.watch_call(key, cx.waker());
                core.queued_bytes += bytes;
                self.state = State::Sent(key);
                if let Some(timeout) = timeout.filter(|&timeout| timeout <= SOON) {
                    let at = now + timeout;
                    if core.armed.is_none_or(|armed| at < armed) {
                        wakers.extend(core.driver.clone());
                    }
                }
                Poll::Pending
            }
            Err(error) => match wait_for(&error.refusal, self.class) {
                Some(wanted) => {
                    if let Some(line) = line.filter(|&line| line != wanted) {
                        wakers.extend(core.leave(line, &mut ticket));
                    }
                    core.join(wanted, &mut ticket, cx.waker());
                    self.state = State::Unsent {
                        message: error.message,
                        line: Some(wanted),
                        ticket,
                    };
                    Poll::Pending
                }
                None => {
                    wakers.extend(line.and_then(|line| core.leave(line, &mut ticket)));
                    Poll::Ready(Err(match core.closed.as_deref() {
                        Some(reason) if error.refusal == Refusal::Closed => closed_before(reason),
                        _ => CallError::NotSent(error.refusal),
                    }))
                }
            },
        };
        // Alone on the wire there is nothing that the request could share a write with.
        let urgency = if core.session.outstanding() == 1 {
            Urgency::Now
        } else {
            Urgency::Soon
        };
        self.connection.shared().commit_with(core, urgency, wakers);
        outcome
    }

    fn finish(&mut self, key: ExchangeKey, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallError>> {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        match core.session.take_response(key) {
            Some(outcome) => {
                core.forget_call(key);
                shared.commit(core, Urgency::Soon);
                Poll::Ready(outcome.map(|message| message.payload).map_err(CallError::from))
            }
            None => match &core.closed {
                Some(reason) => Poll::Ready(Err(CallError::Lost((**reason).clone()))),
                None => {
                    core.watch_call(key, cx.waker());
                    self.state = State::Sent(key);
                    Poll::Pending
                }
            },
        }
    }
}

impl Future for Call<'_> {
    type Output = Result<Bytes, CallError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match std::mem::replace(&mut this.state, State::Done) {
            State::Sent(key) => this.finish(key, cx),
            State::Unsent {
                message,
                line,
                ticket,
            } => {
                let connection = this.connection;
                this.begin(connection.shared().lock(), message, line, ticket, cx)
            }
            State::Refused(error) => Poll::Ready(Err(error.into())),
            State::Done => Poll::Pending,
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Sent(key) => {
                let shared = self.connection.shared();
                let mut core = shared.lock();
                core.forget_call(key);
                core.session.cancel(clock::now(), key);
                shared.commit(core, Urgency::Soon);
            }
            State::Unsent {
                line: Some(line),
                mut ticket,
                ..
            } => {
                let next = self.connection.shared().lock().leave(line, &mut ticket);
                next.into_iter().for_each(Waker::wake);
            }
            _ => {}
        }
    }
}

/// The line to wait in, if waiting helps.
pub(crate) fn wait_for(refusal: &Refusal, class: Class) -> Option<Line> {
    match refusal {
        Refusal::Blocked => Some(Line::Lane(class)),
        Refusal::NoExchange => Some(Line::Exchange),
        _ => None,
    }
}

/// A call on a connection that had ended before: it surely did nothing.
pub(crate) fn closed_before(_: &CloseReason) -> CallError {
    CallError::NotSent(Refusal::Closed)
}
