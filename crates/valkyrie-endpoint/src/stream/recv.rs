//! The direction towards here.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use valkyrie_proto::{Failure, Inbox, Message, StreamKey};

use crate::shared::Urgency;
use crate::{Connection, RecvError, clock};

/// Receives the messages of a stream.
///
/// All that has arrived is taken over under one lock and then handed out without one. What has not been taken over
/// holds the peer's credit, so a reader that stops stops its sender, and nobody else.
///
/// Dropped before the end it lets what was under way arrive unread; if the peer goes on after that the stream is reset.
pub struct RecvStream {
    connection: Connection,
    key: StreamKey,
    arrived: Inbox,
    /// What comes after `arrived`.
    ending: Option<Result<(), RecvError>>,
}

impl RecvStream {
    pub(crate) fn new(connection: Connection, key: StreamKey) -> Self {
        Self {
            connection,
            key,
            arrived: Inbox::new(),
            ending: None,
        }
    }

    /// The next message, or `None` after the last. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`RecvError`]: the stream was reset or the connection ended. Every later call says the same.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message if it is here: `Ok(None)` says that it is not, or that there is none any more, which
    /// [`RecvStream::is_finished`] tells apart.
    ///
    /// # Errors
    /// As [`RecvStream::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Message>, RecvError> {
        if self.arrived.is_empty() && self.ending.is_none() {
            self.take_over(None);
        }
        match (self.arrived.pop_front(), &self.ending) {
            (Some(message), _) => Ok(Some(message)),
            (None, Some(Err(error))) => Err(error.clone()),
            (None, _) => Ok(None),
        }
    }

    /// Waits for messages and moves all that are here, `max` at most, behind those in `out`. Says how many; 0 is the
    /// end (or `max` was 0).
    ///
    /// # Errors
    /// As [`RecvStream::recv`].
    pub async fn recv_many(&mut self, out: &mut Vec<Message>, max: usize) -> Result<usize, RecvError> {
        if max == 0 {
            return Ok(0);
        }
        let Some(first) = self.recv().await? else {
            return Ok(0);
        };
        let before = out.len();
        out.reserve(self.arrived.len().min(max - 1) + 1);
        out.push(first);
        while out.len() - before < max
            && let Some(message) = self.arrived.pop_front()
        {
            out.push(message);
        }
        Ok(out.len() - before)
    }

    /// Bytes that the peer may send ahead of this reader: of the job class, what the path has been found to hold. 0 once the stream
    /// is over, and where there is no such bound.
    pub fn window_bytes(&self) -> u32 {
        let core = self.connection.shared().lock();
        core.session.recv_window(self.key).unwrap_or_default()
    }

    /// Whether the peer has ended its direction and everything has been received.
    pub fn is_finished(&self) -> bool {
        self.arrived.is_empty() && matches!(self.ending, Some(Ok(())))
    }

    /// Ends both directions at once and tells the peer why.
    pub fn reset(self, failure: Failure) {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        core.session.reset(clock::now(), self.key, failure);
        shared.commit(core, Urgency::Soon);
    }

    /// The connection it belongs to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    #[inline]
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, RecvError>> {
        if let Some(message) = self.arrived.pop_front() {
            return Poll::Ready(Ok(Some(message)));
        }
        if self.ending.is_none() {
            self.take_over(Some(cx));
        }
        match (self.arrived.pop_front(), &self.ending) {
            (Some(message), _) => Poll::Ready(Ok(Some(message))),
            (None, Some(Ok(()))) => Poll::Ready(Ok(None)),
            (None, Some(Err(error))) => Poll::Ready(Err(error.clone())),
            (None, None) => Poll::Pending,
        }
    }

    /// Swaps the arrived messages out of the session. If there are none and it is not the end, leaves word.
    fn take_over(&mut self, cx: Option<&mut Context<'_>>) {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        match core.session.recv(self.key, &mut self.arrived) {
            Ok(true) => self.ending = Some(Ok(())),
            Ok(false) => {
                if self.arrived.is_empty()
                    && let Some(cx) = cx
                    && let Some(slot) = core.stream(self.key)
                {
                    match &mut slot.reader {
                        Some(known) => known.clone_from(cx.waker()),
                        free => *free = Some(cx.waker().clone()),
                    }
                }
            }
            Err(error) => {
                let error = match (&error, &core.closed) {
                    (valkyrie_proto::RecvError::Misuse(_), Some(reason)) => {
                        RecvError::Lost((**reason).clone())
                    }
                    _ => error.into(),
                };
                self.ending = Some(Err(error));
            }
        }
        // Reading returns credit, which has to travel.
        shared.commit(core, Urgency::Soon);
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        let handled = core.stream(self.key).is_some_and(|slot| slot.handled);
        if !handled && !matches!(self.ending, Some(Ok(()))) {
            core.session.abandon_recv(clock::now(), self.key);
        }
        if let Some(slot) = core.stream(self.key) {
            slot.reader = None;
        }
        core.drop_stream(clock::now(), self.key);
        shared.commit(core, Urgency::Soon);
    }
}

impl fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream")
            .field("connection", &self.connection)
            .field("key", &self.key)
            .finish()
    }
}
