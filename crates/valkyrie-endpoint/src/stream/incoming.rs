//! A stream that the peer opened.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use valkyrie_frame::{Class, Extensions, StreamId};
use valkyrie_proto::{Failure, Opened, StreamKey};

use crate::context::Subject;
use crate::guard::Permit;
use crate::shared::{Shared, Urgency};
use crate::{Connection, Context, RecvStream, SendStream, Verified, clock};

/// A stream that the peer opened and nobody has taken yet. Dropping it resets the stream.
#[derive(Debug)]
pub struct IncomingStream {
    shared: Arc<Shared>,
    key: StreamKey,
    id: StreamId,
    extensions: Extensions,
    payload: Bytes,
    deadline: Option<Instant>,
    taken: bool,
}

impl IncomingStream {
    /// The stream's slot is held once, for what is returned here.
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let Opened {
            key,
            id,
            extensions,
            payload,
            deadline,
        } = opened;
        Self {
            shared,
            key,
            id,
            extensions,
            payload,
            deadline,
            taken: false,
        }
    }

    /// The service and method it was opened for, if it says.
    pub fn route(&self) -> Option<(&str, &str)> {
        self.extensions.route()
    }

    /// Who the peer is, as it has proved.
    pub fn identity(&self) -> &Verified {
        self.shared.guard.identity()
    }

    /// The extensions that came with the opening.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The bytes that came with the opening.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The class of service of the stream.
    pub fn class(&self) -> Class {
        self.id.class()
    }

    /// When the opener gives up on it.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes the stream.
    pub fn accept(mut self) -> (SendStream, RecvStream) {
        self.taken = true;
        self.shared.lock().hold_stream(self.key, 1);
        self.halves()
    }

    /// Refuses the stream and tells the peer why.
    pub fn refuse(self, failure: Failure) {
        let mut core = self.shared.lock();
        core.session.reset(clock::now(), self.key, failure);
        self.shared.commit(core, Urgency::Soon);
    }

    /// The stream and its circumstances for a handler, which holds the stream beside the two halves.
    pub(crate) fn into_handled(mut self, permit: Permit) -> (Context, (SendStream, RecvStream)) {
        self.taken = true;
        {
            let mut core = self.shared.lock();
            core.hold_stream(self.key, 2);
            if let Some(slot) = core.stream(self.key) {
                slot.handled = true;
            }
        }
        let context = Context::new(
            Arc::clone(&self.shared),
            permit,
            Subject::Stream(self.key),
            self.id,
            self.deadline,
            self.extensions.clone(),
        )
        .with_payload(self.payload.clone());
        (context, self.halves())
    }

    fn halves(&self) -> (SendStream, RecvStream) {
        (
            SendStream::new(Connection::new(Arc::clone(&self.shared)), self.key),
            RecvStream::new(Connection::new(Arc::clone(&self.shared)), self.key),
        )
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        if !self.taken {
            let mut core = self.shared.lock();
            core.drop_stream(clock::now(), self.key);
            self.shared.commit(core, Urgency::Soon);
        }
    }
}
