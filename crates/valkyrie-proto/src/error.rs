//! What can go wrong, and whose fault it is.

use thiserror::Error;
use valkyrie_frame::{DecodeError, ErrorCode, Kind, StreamId};

use crate::{Failure, Message, SettingsError};

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The other side broke the protocol.
    Peer,
    /// This side's application used the session wrongly or closed it.
    Caller,
    /// The link between the two.
    Network,
}

/// An error that ends the session. The session is closed; a last ERROR frame for the peer, if one
/// is due, is the only thing that [`Session::poll_transmit`](crate::Session::poll_transmit) still yields.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer sent bytes that are no frame.
    #[error("the peer sent bytes that are no frame: {0}; the session is closed")]
    Decode(DecodeError),
    /// The peer sent settings that cannot be.
    #[error("the peer's settings are refused: {0}; the session is closed")]
    Settings(#[from] SettingsError),
    /// The peer broke a rule.
    #[error("{0}; the session is closed")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The session was closed already.
    #[error("the session is closed already; nothing was read")]
    Closed,
}

/// The rule that the peer broke. Each closes the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The first frame is not the opening, or is too large for one.
    #[error("the peer did not open with HELLO or HELLO_ACK but with {0}")]
    NoHello(Kind),
    /// A frame of this kind is not allowed now.
    #[error("the peer sent {0} where it is not allowed")]
    UnexpectedFrame(Kind),
    /// A critical frame of a kind that is not known here.
    #[error("the peer sent a critical frame of unknown kind {0}")]
    UnknownCritical(Kind),
    /// A control frame whose payload is malformed.
    #[error("the peer sent a malformed {0}")]
    Malformed(Kind),
    /// More bytes on a stream than it was granted.
    #[error("the peer overran its credit on stream {0}")]
    StreamCredit(StreamId),
    /// More bytes on the connection than it was granted.
    #[error("the peer overran its credit on the connection")]
    ConnectionCredit,
    /// More streams than it was granted.
    #[error("the peer opened more streams than it was granted")]
    StreamCount,
    /// An id that is not the peer's to open, or is open already.
    #[error("the peer opened stream {0}, which is not its to open")]
    StreamId(StreamId),
    /// A frame for a stream that is not open.
    #[error("the peer used stream {0}, which is not open")]
    UnknownStream(StreamId),
    /// A message on a stream whose end it had announced.
    #[error("the peer went on after the end of stream {0}")]
    AfterEnd(StreamId),
    /// More exchanges at once than it was granted, or a number that is still in use.
    #[error("the peer used exchange {0:#x}, which is out of range or still in use")]
    ExchangeId(u32),
    /// An answer to an exchange that this side did not begin or that has ended.
    #[error("the peer answered exchange {0:#x}, which is not open")]
    UnknownExchange(u32),
    /// A fragment that does not continue the message before it.
    #[error("the peer mixed two messages on stream {0}")]
    FragmentMixed(StreamId),
    /// A message larger than was agreed.
    #[error("the peer sent a message of more than {max} bytes on stream {stream}")]
    MessageSize {
        /// Where.
        stream: StreamId,
        /// The limit that was announced to it.
        max: u32,
    },
    /// All half-arrived messages together are more than this side holds.
    #[error("the peer began more large messages at once than this side can hold")]
    Reassembly,
    /// A limit that was raised cannot be lowered, and no limit is past 2^62.
    #[error("the peer granted an impossible limit on stream {0}")]
    CreditValue(StreamId),
    /// The final offset of a reset is not what arrived.
    #[error("the peer's count of bytes on stream {0} differs from what arrived")]
    FinalOffset(StreamId),
    /// Too many PINGs.
    #[error("the peer pings too often")]
    TooManyPings,
    /// Too many cancelled exchanges or reset streams.
    #[error("the peer cancels and resets too often")]
    TooManyCancels,
    /// Too many control frames.
    #[error("the peer sends too many control frames")]
    TooManyControls,
    /// Too many frames that do nothing.
    #[error("the peer sends too many frames that do nothing")]
    TooManyIdle,
    /// Too many fragments smaller than any sender needs.
    #[error("the peer cuts messages into needlessly small fragments")]
    TinyFragments,
    /// Too much on stream 0.
    #[error("the peer sends too much on the critical stream")]
    TooMuchCritical,
    /// An answer of a PING that was not sent.
    #[error("the peer answered a PING that was not sent")]
    UnknownPong,
    /// Counts of frames that cannot be: lower than before, or higher than what was sent.
    #[error("the peer says it received what was not sent, or not what it had received")]
    Counts,
    /// A frame on a lane that is not its class's.
    #[error("the peer sent a {0} on a lane that is not for its class")]
    WrongLane(Kind),
    /// A compressed frame, which was not agreed.
    #[error("the peer sent a compressed frame, which was not agreed")]
    Compressed,
}

impl PeerMisbehaved {
    /// The code that the peer is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::StreamCredit(_) | Self::ConnectionCredit | Self::CreditValue(_) | Self::FinalOffset(_) => {
                ErrorCode::FLOW_CONTROL
            }
            Self::NoHello(_) | Self::UnexpectedFrame(_) | Self::UnknownCritical(_) | Self::WrongLane(_) => {
                ErrorCode::UNEXPECTED_FRAME
            }
            Self::MessageSize { .. } => ErrorCode::FRAME_SIZE,
            Self::Reassembly
            | Self::TooManyPings
            | Self::TooManyCancels
            | Self::TooManyControls
            | Self::TooManyIdle
            | Self::TinyFragments
            | Self::TooMuchCritical => ErrorCode::EXCESSIVE_LOAD,
            _ => ErrorCode::PROTOCOL,
        }
    }
}

impl From<DecodeError> for SessionError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl SessionError {
    /// The code that the peer is told.
    pub fn code(&self) -> ErrorCode {
        use valkyrie_frame::HeaderError;
        match self {
            Self::Decode(DecodeError::Header(HeaderError::Version { .. })) => ErrorCode::VERSION,
            Self::Decode(DecodeError::Header(HeaderError::Length { .. })) => ErrorCode::FRAME_SIZE,
            Self::Decode(_) | Self::Settings(_) => ErrorCode::PROTOCOL,
            Self::PeerMisbehaved(rule) => rule.code(),
            Self::Closed => ErrorCode::OK,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("this side closed the session: {0}")]
    Local(Failure),
    /// The peer closed it.
    #[error("the peer closed the session: {0}")]
    Peer(Failure),
    /// The peer broke the protocol.
    #[error("{0}")]
    Error(#[from] SessionError),
    /// The peer said that this side broke the protocol.
    #[error("the peer refused the session: {0}")]
    Refused(Failure),
    /// The link ended without a CLOSE.
    #[error("the link ended before the session did")]
    LinkLost,
    /// What protects the link found bytes on it that the peer did not send. A new link may be sound.
    #[error("the link is broken: {0}")]
    Broken(Failure),
    /// The peer said nothing for too long.
    #[error("the peer said nothing for {0:?}")]
    Timeout(std::time::Duration),
    /// The opening was not finished in time.
    #[error("the peer did not finish the opening within {0:?}")]
    HandshakeTimeout(std::time::Duration),
}

impl CloseReason {
    /// Who is at fault; `None` for an orderly end.
    pub fn culprit(&self) -> Option<Culprit> {
        match self {
            Self::Local(failure) | Self::Peer(failure) if failure.code == ErrorCode::OK => None,
            Self::Local(_) | Self::Refused(_) => Some(Culprit::Caller),
            Self::Peer(_) | Self::Error(_) | Self::HandshakeTimeout(_) => Some(Culprit::Peer),
            Self::LinkLost | Self::Broken(_) | Self::Timeout(_) => Some(Culprit::Network),
        }
    }

    /// Whether reconnecting makes sense: the link or the peer's life ended, not the right to speak.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::LinkLost | Self::Broken(_) | Self::Timeout(_) | Self::HandshakeTimeout(_) => true,
            Self::Peer(failure) => {
                matches!(
                    failure.code,
                    ErrorCode::OK | ErrorCode::DRAINING | ErrorCode::UNAVAILABLE | ErrorCode::OVERLOADED
                )
            }
            _ => false,
        }
    }
}

/// Why a command was not carried out, without the message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue is full: wait for the matching event and try again.
    #[error("the queue is full for now; nothing was sent")]
    Blocked,
    /// No exchange is free: wait for [`Event::Capacity`](crate::Event::Capacity).
    #[error("the peer takes no more exchanges at once for now; nothing was sent")]
    NoExchange,
    /// The message is larger than the peer takes; it never fits.
    #[error("the message has {found} bytes and the peer takes {max}; nothing was sent")]
    MessageSize {
        /// Bytes of the message.
        found: usize,
        /// The peer's limit, or the class's.
        max: u32,
    },
    /// The session has not opened yet.
    #[error("the session is not open yet; nothing was sent")]
    NotOpen,
    /// One of the two sides is draining.
    #[error("the session is draining and takes nothing new; nothing was sent")]
    Draining,
    /// The session is over.
    #[error("the session is closed; nothing was sent")]
    Closed,
    /// The peer, or this side, reset the stream.
    #[error("the stream was reset: {0}; the message was not sent")]
    Reset(Failure),
    /// The caller broke a rule of this API.
    #[error("{0}; nothing was sent")]
    Misuse(#[from] ApiMisuse),
}

/// The caller's mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// The key is of a stream or exchange that is gone.
    #[error("the stream or exchange of this key is gone")]
    StaleKey,
    /// The stream was finished by this side.
    #[error("the caller finished this stream already")]
    Finished,
    /// The request was answered already.
    #[error("the caller answered this request already")]
    AlreadyAnswered,
    /// The kind of frame is none that an application may send here.
    #[error("the kind of this message is not one that a stream or exchange carries")]
    Kind,
    /// The extensions leave no room for the deadline that the caller asked for.
    #[error("the extensions of this message leave no room for its deadline")]
    Extensions,
    /// The critical class has no streams to open.
    #[error("the critical class has no streams of its own")]
    NoStreams,
}

/// A message that was not sent, and why. The message is returned; the session is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{refusal}")]
pub struct SendError {
    /// The message, untouched.
    pub message: Message,
    /// Why.
    pub refusal: Refusal,
}

/// Why no stream was opened. The session is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer grants no further stream for now: wait for [`Event::Capacity`](crate::Event::Capacity).
    #[error("the peer grants no further stream for now")]
    NoStream,
    /// Every id of the class is in use: wait for [`Event::Capacity`](crate::Event::Capacity).
    #[error("every stream id of the class is in use")]
    NoId,
    /// It never works, or not on this session.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// How an exchange ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer's handler, or the peer itself, answered with a failure.
    #[error("the peer answered: {0}")]
    Failed(Failure),
    /// The deadline passed here. The handler is told; whether it ran is unknown.
    #[error("the deadline passed; whether the peer ran the call is unknown")]
    DeadlineExceeded,
    /// The peer never looked at the request: it is safe to try again elsewhere.
    #[error("the peer is draining and did not look at the call; it is safe to send it again")]
    NotProcessed,
    /// The session ended first; whether the peer ran the call is unknown.
    #[error("the session ended before the answer: {0}")]
    Closed(CloseReason),
}

/// Why a stream has no next message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer, or this side, reset the stream. Messages that had arrived before are lost with it.
    #[error("the stream was reset: {0}")]
    Reset(Failure),
    /// The session ended first.
    #[error("the session ended before the stream: {0}")]
    Closed(CloseReason),
    /// The key is of a stream that is gone.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
}
