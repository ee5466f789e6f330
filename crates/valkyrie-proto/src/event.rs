//! What a session tells its owner.

use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, ErrorCode, Extensions, Kind, StreamId};

use crate::{CloseReason, Resume, Settings};

/// An exchange that this side began. Stale keys are recognised and answer nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeKey(pub(crate) u32);

impl ExchangeKey {
    /// The place in the exchange table, below the peer's `max_exchanges`: an owner may keep an
    /// array beside the session's.
    #[inline]
    pub const fn index(self) -> usize {
        (self.0 & 0xFFFF) as usize
    }
}

/// An exchange that the peer began and this side owes an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) correlation: u32,
    pub(crate) lane: StreamId,
}

impl RequestId {
    /// The class of service that the request came in and the answer goes out with.
    pub const fn class(self) -> Class {
        self.lane.class()
    }

    /// The place in the table of incoming exchanges, below this side's `max_exchanges`.
    #[inline]
    pub const fn index(self) -> usize {
        (self.correlation & 0xFFFF) as usize
    }
}

/// A stream. The key stays good until [`Session::release`](crate::Session::release); the stream's
/// id may meanwhile belong to a later stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl StreamKey {
    /// The place in the stream table: an owner may keep an array beside the session's.
    #[inline]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A request or notification that has wholly arrived.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The exchange to answer; `None` for a notification.
    pub id: Option<RequestId>,
    /// The lane it came on.
    pub lane: StreamId,
    /// REQUEST or NOTIFY, or the kind of another group that a layer above assigned.
    pub kind: Kind,
    /// Its extensions, the route among them.
    pub extensions: Extensions,
    /// Its bytes.
    pub payload: Bytes,
    /// When the sender gives up on it.
    pub deadline: Option<Instant>,
    /// Credit that a notification holds until [`Session::release_notify`](crate::Session::release_notify);
    /// 0 for a request.
    pub cost: u32,
}

/// A stream that the peer opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The stream.
    pub key: StreamKey,
    /// Its id, for people.
    pub id: StreamId,
    /// The extensions of the OPEN, the route among them.
    pub extensions: Extensions,
    /// The payload of the OPEN, at most 4 KiB.
    pub payload: Bytes,
    /// When the opener gives up on it.
    pub deadline: Option<Instant>,
}

/// What the peer said of itself when the session opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its settings, already validated.
    pub settings: Settings,
}

/// Something that happened. Events are bounded by what the peer may have outstanding.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The opening is done; commands are welcome.
    Connected(Box<Peer>),
    /// The peer sent a request, or a notification when it has no id.
    Incoming(Incoming),
    /// The peer, or the deadline, has given up on a request. Its handler should stop; the answer
    /// is still owed and frees the slot, whatever it says.
    Cancelled {
        /// Which request.
        id: RequestId,
        /// [`ErrorCode::CANCELLED`] or [`ErrorCode::DEADLINE_EXCEEDED`], or what the peer gave.
        code: ErrorCode,
    },
    /// An exchange of this side has ended; take the result with
    /// [`Session::take_response`](crate::Session::take_response).
    Completed(ExchangeKey),
    /// The peer opened a stream.
    Opened(Box<Opened>),
    /// [`Session::recv`](crate::Session::recv) has something new: messages, the end, or an error.
    /// Said once until `recv` is called again.
    Readable(StreamKey),
    /// [`Session::send`](crate::Session::send) was refused as blocked and may be tried again, or
    /// will now say why it never works.
    Writable(StreamKey),
    /// A lane on which [`Session::call`](crate::Session::call) or
    /// [`Session::notify`](crate::Session::notify) was refused as blocked has room again.
    LaneWritable(Class),
    /// [`Session::call`](crate::Session::call) or [`Session::open`](crate::Session::open) was
    /// refused for want of exchanges or streams, and there are some again.
    Capacity,
    /// A PONG answered [`Session::ping`](crate::Session::ping).
    Pong {
        /// The token given to `ping`.
        token: u64,
        /// The time between.
        rtt: Duration,
    },
    /// The peer wants nothing new. What is running may end.
    Draining {
        /// When to come back, in milliseconds; jitter is the receiver's to add.
        retry_after_ms: u32,
    },
    /// The session has lost its link and is kept: it goes on with the next one, see
    /// [`Session::begin_resume`](crate::Session::begin_resume) and
    /// [`Session::accept_resume`](crate::Session::accept_resume). The link it had, if there still is one, is to be dropped.
    Detached,
    /// The session goes on, over another link.
    Resumed,
    /// At an acceptor, in place of the opening: the peer wants to continue another session on this link. This session
    /// is over but for [`Session::refuse_resume`](crate::Session::refuse_resume).
    ResumeAsked(Box<Resume>),
    /// A drain that this side asked for is done: nothing is outstanding, CLOSE goes out.
    Drained,
    /// The session is over. The last event.
    Closed(CloseReason),
}
