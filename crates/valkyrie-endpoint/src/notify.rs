//! One notification: a message without an answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use valkyrie_frame::{Class, Kind, Priority};
use valkyrie_proto::{Message, SendError};

use crate::call::wait_for;
use crate::core::{HEAD_BYTES, Line};
use crate::shared::Urgency;
use crate::wait::Ticket;
use crate::{Connection, Method, MethodError, NotifyError};

/// A notification that is sent when it is first polled. Ready once it is queued; dropping it before that sends nothing.
#[must_use = "a notification is sent when it is awaited"]
#[derive(Debug)]
pub struct Notify<'a> {
    connection: &'a Connection,
    class: Class,
    priority: Option<Priority>,
    message: Option<Result<Message, MethodError>>,
    ticket: Ticket,
}

impl<'a> Notify<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        method: Result<Method, MethodError>,
        payload: Bytes,
    ) -> Self {
        let message = method.map(|method| Message {
            kind: Kind::NOTIFY,
            extensions: method.extensions().clone(),
            payload,
        });
        Self {
            connection,
            class: Class::Data,
            priority: None,
            message: Some(message),
            ticket: None,
        }
    }

    /// The class of service it travels in; [`Class::Data`] unless told otherwise. In [`Class::Bulk`] it may be
    /// dropped, and every drop is counted.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Its priority within the class; the middle of the class's band unless told otherwise.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The kind of frame it travels in, for layers that assign one of another group; NOTIFY unless told otherwise.
    pub fn kind(mut self, kind: Kind) -> Self {
        if let Some(Ok(message)) = &mut self.message {
            message.kind = kind;
        }
        self
    }

    /// Sends it if there is room now.
    pub(crate) fn try_now(mut self) -> Result<(), NotifyError> {
        match self.message.take() {
            Some(Ok(message)) => self
                .push(message)
                .map_err(|error| NotifyError::NotSent(error.refusal)),
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn push(&mut self, message: Message) -> Result<(), SendError> {
        let shared = self.connection.shared();
        let mut core = shared.lock();
        let bytes = message.payload.len() + HEAD_BYTES;
        let now = core.seen;
        core.session.notify(now, self.class, self.priority, message)?;
        core.queued_bytes += bytes;
        let next = core.leave(Line::Lane(self.class), &mut self.ticket);
        shared.commit_with(core, Urgency::Soon, next.into_iter().collect());
        Ok(())
    }
}

impl Future for Notify<'_> {
    type Output = Result<(), NotifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let message = match this.message.take() {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Pending,
        };
        let shared = this.connection.shared();
        let mut core = shared.lock();
        let bytes = message.payload.len() + HEAD_BYTES;
        let now = core.seen;
        let sent = core.session.notify(now, this.class, this.priority, message);
        let line = Line::Lane(this.class);
        match sent {
            Ok(()) => {
                core.queued_bytes += bytes;
                let next = core.leave(line, &mut this.ticket);
                shared.commit_with(core, Urgency::Soon, next.into_iter().collect());
                Poll::Ready(Ok(()))
            }
            Err(error) if wait_for(&error.refusal, this.class) == Some(line) => {
                core.join(line, &mut this.ticket, cx.waker());
                this.message = Some(Ok(error.message));
                Poll::Pending
            }
            Err(error) => {
                let next = core.leave(line, &mut this.ticket);
                drop(core);
                next.into_iter().for_each(Waker::wake);
                Poll::Ready(Err(NotifyError::NotSent(error.refusal)))
            }
        }
    }
}

impl Drop for Notify<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let next = self
                .connection
                .shared()
                .lock()
                .leave(Line::Lane(self.class), &mut self.ticket);
            next.into_iter().for_each(Waker::wake);
        }
    }
}
