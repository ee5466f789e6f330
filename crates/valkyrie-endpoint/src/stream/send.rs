//! The direction away from here.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use valkyrie_frame::ErrorCode;
use valkyrie_proto::{Failure, Message, Refusal, StreamKey};

use crate::core::HEAD_BYTES;
use crate::shared::Urgency;
use crate::{Connection, SendError, clock};

/// Sends messages on a stream.
///
/// Dropped without [`SendStream::finish`] it resets the stream if anything was sent on it, because a stream that ends
/// in the middle must not look complete, and finishes it if nothing was. Inside a handler the handler's result decides
/// instead.
pub struct SendStream {
    connection: Connection,
    key: StreamKey,
    sent: bool,
    finished: bool,
}

impl SendStream {
    pub(crate) fn new(connection: Connection, key: StreamKey) -> Self {
        Self {
            connection,
            key,
            sent: false,
            finished: false,
        }
    }

    /// Queues a message, waiting while the queue is full. Dropping the future sends nothing.
    ///
    /// # Errors
    /// [`SendError`]: the stream or the connection has ended, or the message never fits. The message is returned.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut unsent = Some(message.into());
        poll_fn(|cx| {
            let Some(message) = unsent.take() else {
                return Poll::Pending;
            };
            let shared = self.connection.shared();
            let bytes = message.payload.len() + HEAD_BYTES;
            let mut core = shared.lock();
            match core.session.send(self.key, message) {
                Ok(()) => {
                    self.sent = true;
                    core.queued_bytes += bytes;
                    shared.commit(core, Urgency::Soon);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.refusal == Refusal::Blocked => {
                    if let Some(slot) = core.stream(self.key) {
                        slot.writer = Some(cx.waker().clone());
                    }
                    shared.commit(core, Urgency::Soon);
                    unsent = Some(error.message);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(SendError {
                    message: error.message,
                    refusal: error.refusal,
                })),
            }
        })
        .await
    }

    /// Queues a message if there is room for it now.
    ///
    /// # Errors
    /// [`SendError`] with [`Refusal::Blocked`] when there is none, and as [`SendStream::send`]. The message is
    /// returned.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let shared = self.connection.shared();
        let bytes = message.payload.len() + HEAD_BYTES;
        let mut core = shared.lock();
        match core.session.send(self.key, message) {
            Ok(()) => {
                self.sent = true;
                core.queued_bytes += bytes;
                shared.commit(core, Urgency::Soon);
                Ok(())
            }
            Err(error) => Err(SendError {
                message: error.message,
                refusal: error.refusal,
            }),
        }
    }

    /// Queues messages from `messages` until it is empty or the queue is full, under one lock, and waits only if not
    /// even one fitted. Says how many went. What did not fit is still in `messages`.
    ///
    /// # Errors
    /// As [`SendStream::send`]; the message that met the error is in it, those after it are in `messages`.
    pub async fn send_many(
        &mut self,
        messages: &mut std::collections::VecDeque<Message>,
    ) -> Result<usize, SendError> {
        poll_fn(|cx| {
            let shared = self.connection.shared();
            let mut core = shared.lock();
            let mut count = 0;
            while let Some(message) = messages.pop_front() {
                let bytes = message.payload.len() + HEAD_BYTES;
                match core.session.send(self.key, message) {
                    Ok(()) => {
                        core.queued_bytes += bytes;
                        count += 1;
                    }
                    Err(error) if error.refusal == Refusal::Blocked => {
                        messages.push_front(error.message);
                        break;
                    }
                    Err(error) => {
                        shared.commit(core, Urgency::Soon);
                        let error = SendError {
                            message: error.message,
                            refusal: error.refusal,
                        };
                        return Poll::Ready(Err(error));
                    }
                }
            }
            self.sent |= count > 0;
            let done = count > 0 || messages.is_empty();
            if !done && let Some(slot) = core.stream(self.key) {
                slot.writer = Some(cx.waker().clone());
            }
            shared.commit(core, Urgency::Soon);
            if done {
                Poll::Ready(Ok(count))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Ends this direction, after everything that is queued. The other direction goes on.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.finished = true;
        let shared = self.connection.shared();
        let mut core = shared.lock();
        // A stream that is over already needs no end.
        let _ = core.session.finish(self.key);
        core.queued_bytes += HEAD_BYTES;
        shared.commit(core, Urgency::Soon);
    }

    /// Ends both directions at once and tells the peer why. What is queued and not sent is lost.
    pub fn reset(mut self, failure: Failure) {
        self.finished = true;
        let shared = self.connection.shared();
        let mut core = shared.lock();
        core.session.reset(clock::now(), self.key, failure);
        shared.commit(core, Urgency::Soon);
    }

    /// The connection it belongs to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        let now = clock::now();
        let handled = core.stream(self.key).is_some_and(|slot| slot.handled);
        if !self.finished && !handled {
            if self.sent {
                let failure = Failure::new(ErrorCode::CANCELLED, "the sender was dropped before it finished");
                core.session.reset(now, self.key, failure);
            } else {
                let _ = core.session.finish(self.key);
            }
        }
        if let Some(slot) = core.stream(self.key) {
            slot.writer = None;
        }
        core.drop_stream(now, self.key);
        shared.commit(core, Urgency::Soon);
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream")
            .field("connection", &self.connection)
            .field("key", &self.key)
            .finish()
    }
}
