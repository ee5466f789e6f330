//! What an endpoint's operations answer when they fail: who is at fault, and whether the peer did anything.

use std::convert::Infallible;
use std::io;

use thiserror::Error;
use valkyrie_frame::{ErrorCode, Family};
use valkyrie_proto::{ApiMisuse, CloseReason, ConfigError, Culprit, Failure, Message, Refusal};
use valkyrie_security::handshake::{self, HandshakeError};
use valkyrie_security::trust::{TrustError, UnknownPeer};
use valkyrie_transport::{Fault, Locator, LocatorError, TransportError};

use crate::{AdmissionError, MethodError, QosRefused};

/// Whether the peer's handler ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// It surely did not: sending the call again does nothing twice.
    No,
    /// It may have.
    Unknown,
    /// It did, and this is its answer.
    Yes,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer's handler, or the peer itself, answered with a failure.
    #[error("the peer answered: {0}")]
    Failed(Failure),
    /// The deadline passed here. The handler is told to stop.
    #[error("the caller's deadline passed before the answer; whether the peer ran the call is unknown")]
    DeadlineExceeded,
    /// The peer is draining and never looked at the call.
    #[error("the peer is draining and did not look at the call; it is safe to send it again")]
    NotProcessed,
    /// The call never left this side.
    #[error("the call was not sent: {0}")]
    NotSent(Refusal),
    /// The method's names cannot be sent.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The connection ended first.
    #[error("the connection ended before the answer ({0}); whether the peer ran the call is unknown")]
    Lost(CloseReason),
    /// There was no connection to send it on.
    #[error("there was no connection to send the call on: {0}")]
    NoConnection(DialerError),
}

impl CallError {
    /// Whether the peer's handler ran.
    pub fn processed(&self) -> Processed {
        match self {
            // By the meaning of these codes whoever answers them has done nothing.
            Self::Failed(failure) => match failure.code {
                ErrorCode::REFUSED | ErrorCode::DRAINING | ErrorCode::OVERLOADED => Processed::No,
                ErrorCode::CANCELLED
                | ErrorCode::DEADLINE_EXCEEDED
                | ErrorCode::HANDLER_PANICKED
                | ErrorCode::NOT_FOUND => Processed::Unknown,
                _ => Processed::Yes,
            },
            Self::DeadlineExceeded | Self::Lost(_) => Processed::Unknown,
            Self::NotProcessed | Self::NotSent(_) | Self::Method(_) | Self::NoConnection(_) => Processed::No,
        }
    }

    /// Whether the same call, sent again later or elsewhere, may succeed and cannot run twice.
    pub fn is_safe_to_retry(&self) -> bool {
        match self {
            Self::Failed(failure) => {
                matches!(
                    failure.code,
                    ErrorCode::REFUSED | ErrorCode::DRAINING | ErrorCode::OVERLOADED
                )
            }
            Self::NotProcessed => true,
            Self::NotSent(refusal) => {
                matches!(
                    refusal,
                    Refusal::Draining | Refusal::Closed | Refusal::Blocked | Refusal::NoExchange
                )
            }
            Self::NoConnection(error) => error.is_transient(),
            Self::DeadlineExceeded | Self::Lost(_) | Self::Method(_) => false,
        }
    }

    /// Who is at fault.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::Failed(_) | Self::NotProcessed => Culprit::Peer,
            Self::DeadlineExceeded | Self::Method(_) => Culprit::Caller,
            Self::NotSent(refusal) => refusal_culprit(refusal),
            Self::Lost(reason) => reason.culprit().unwrap_or(Culprit::Peer),
            Self::NoConnection(error) => error.culprit(),
        }
    }

    /// When to come back, in milliseconds, if the peer said so.
    pub fn retry_after_ms(&self) -> Option<u32> {
        match self {
            Self::Failed(failure) if failure.retry_after_ms > 0 => Some(failure.retry_after_ms),
            _ => None,
        }
    }
}

impl From<valkyrie_proto::CallError> for CallError {
    fn from(error: valkyrie_proto::CallError) -> Self {
        use valkyrie_proto::CallError as Proto;
        match error {
            Proto::Failed(failure) => Self::Failed(failure),
            Proto::DeadlineExceeded => Self::DeadlineExceeded,
            Proto::NotProcessed => Self::NotProcessed,
            Proto::Closed(reason) => Self::Lost(reason),
            _ => Self::Lost(CloseReason::LinkLost),
        }
    }
}

/// A handler that passes a nested call's failure on says what its own caller should do about it: a failure keeps its
/// code, a lost hop is unavailable.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::Failed(failure) => return failure.clone(),
            CallError::DeadlineExceeded => ErrorCode::DEADLINE_EXCEEDED,
            CallError::NotProcessed | CallError::Lost(_) | CallError::NoConnection(_) => {
                ErrorCode::UNAVAILABLE
            }
            CallError::NotSent(refusal) => refusal_code(refusal),
            CallError::Method(_) => ErrorCode::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

/// Why a notification was not sent. Nothing left this side.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The session refused it.
    #[error("the notification was not sent: {0}")]
    NotSent(Refusal),
    /// The method's names cannot be sent.
    #[error(transparent)]
    Method(#[from] MethodError),
}

/// Why a stream was not opened. Nothing left this side.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The session refused it.
    #[error("the stream was not opened: {0}")]
    Refused(Refusal),
    /// The method's names cannot be sent.
    #[error(transparent)]
    Method(#[from] MethodError),
}

/// Why a message was not sent on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{refusal}")]
pub struct SendError {
    /// The message, untouched.
    pub message: Message,
    /// Why.
    pub refusal: Refusal,
}

/// Why a stream has no next message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer, or this side, reset the stream. Messages that had arrived and were not read are lost with it.
    #[error("the stream was reset: {0}")]
    Reset(Failure),
    /// The connection ended first.
    #[error("the connection ended before the stream: {0}")]
    Lost(CloseReason),
    /// The stream is gone because this side let go of it.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
}

impl From<valkyrie_proto::RecvError> for RecvError {
    fn from(error: valkyrie_proto::RecvError) -> Self {
        use valkyrie_proto::RecvError as Proto;
        match error {
            Proto::Reset(failure) => Self::Reset(failure),
            Proto::Closed(reason) => Self::Lost(reason),
            Proto::Misuse(misuse) => Self::Misuse(misuse),
            _ => Self::Lost(CloseReason::LinkLost),
        }
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Self {
        let code = match &error {
            RecvError::Reset(failure) => return failure.clone(),
            RecvError::Lost(_) => ErrorCode::UNAVAILABLE,
            RecvError::Misuse(_) => ErrorCode::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error.refusal {
            Refusal::Reset(failure) => failure,
            refusal => Self::new(refusal_code(&refusal), refusal.to_string()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match &error {
            OpenError::Refused(refusal) => refusal_code(refusal),
            OpenError::Method(_) => ErrorCode::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

impl From<NotifyError> for Failure {
    fn from(error: NotifyError) -> Self {
        let code = match &error {
            NotifyError::NotSent(refusal) => refusal_code(refusal),
            NotifyError::Method(_) => ErrorCode::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

/// Why an endpoint was not built. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The limits of calls in progress cannot work.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// There is nothing to dial or listen with.
    #[error("the endpoint was given no transport; give it at least one")]
    NoTransport,
    /// The services cannot be served.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// This side was given no identity, and one for the life of the endpoint could not be made.
    #[error("no identity was given, and none could be made: {0}")]
    Identity(String),
}

impl From<QosRefused> for BuildError {
    fn from(refused: QosRefused) -> Self {
        match refused {
            QosRefused::Config(error) => Self::Config(error),
            QosRefused::Admission(error) => Self::Admission(error),
        }
    }
}

/// Why a set of handlers cannot be served. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServicesError {
    /// Two handlers for one method.
    #[error("{service}/{method} was given two handlers; keep one of them")]
    Twice {
        /// The service.
        service: String,
        /// The method.
        method: String,
    },
    /// Names that no peer could send.
    #[error("{service}/{method} cannot be served: {source}")]
    Method {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// What is wrong with them.
        #[source]
        source: MethodError,
    },
}

/// Why a locator was not listened on. Nothing is bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The text is no locator.
    #[error(transparent)]
    Locator(#[from] LocatorError),
    /// No transport of this endpoint has the scheme.
    #[error("no transport of this endpoint listens on {0}; add the one of its scheme")]
    Scheme(Locator),
    /// The transport could not.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The endpoint is draining.
    #[error("the endpoint is draining and listens on nothing new")]
    Draining,
}

/// Why there is no connection. Nothing is left open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no locator.
    #[error(transparent)]
    Locator(#[from] LocatorError),
    /// No transport of this endpoint has the scheme.
    #[error("no transport of this endpoint dials {0}; add the one of its scheme")]
    Scheme(Locator),
    /// The transport could not.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The link was there, and who answered is not known to be whom to talk to.
    #[error("{locator} was reached and the handshake came to nothing: {source}")]
    Handshake {
        /// Where.
        locator: Locator,
        /// Why.
        source: Box<HandshakeError>,
    },
    /// The link was there, and the session ended before it was open.
    #[error("{locator} was reached and the session did not open: {reason}")]
    Session {
        /// Where.
        locator: Locator,
        /// How it ended.
        reason: CloseReason,
    },
    /// The endpoint has as many connections as it allows.
    #[error("the endpoint has {0} connections, as many as it allows")]
    Full(usize),
    /// The endpoint is draining.
    #[error("the endpoint is draining and dials nothing new")]
    Draining,
}

impl ConnectError {
    /// Whether the same attempt may succeed later with nothing changed by the caller.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Locator(_) | Self::Scheme(_) | Self::Draining => false,
            Self::Transport(error) => error.is_transient(),
            Self::Handshake { source, .. } => match &**source {
                HandshakeError::LinkLost | HandshakeError::TimedOut | HandshakeError::Busy { .. } => true,
                // Whoever is in between now may not be for ever.
                HandshakeError::Noise(_) | HandshakeError::Open(_) | HandshakeError::RefusedInClear(_) => {
                    true
                }
                HandshakeError::Refused(refusal) => {
                    !matches!(refusal.code.family(), Some(Family::Auth | Family::Security))
                }
                _ => false,
            },
            Self::Session { reason, .. } => reason.is_transient(),
            Self::Full(_) => true,
        }
    }

    /// Who answered, when nobody vouches for it and somebody may be asked: what it gives can be
    /// [remembered](valkyrie_security::Trust::remember), after which the same attempt succeeds.
    pub fn unknown_peer(&self) -> Option<&UnknownPeer> {
        match self {
            Self::Handshake { source, .. } => match &**source {
                HandshakeError::Trust(TrustError::Unknown(peer)) => Some(peer),
                _ => None,
            },
            _ => None,
        }
    }

    /// The code that says what this side or the other did not like; nothing where no peer came into it.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Handshake { source, .. } => Some(source.code()),
            Self::Session {
                reason: CloseReason::Refused(failure) | CloseReason::Peer(failure),
                ..
            } => Some(failure.code),
            _ => None,
        }
    }

    /// Who is at fault.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::Locator(_) | Self::Scheme(_) | Self::Draining | Self::Full(_) => Culprit::Caller,
            Self::Transport(error) => match error.fault() {
                Fault::Peer => Culprit::Peer,
                Fault::Network => Culprit::Network,
                _ => Culprit::Caller,
            },
            Self::Handshake { source, .. } => match source.culprit() {
                handshake::Culprit::Us => Culprit::Caller,
                handshake::Culprit::Nobody => Culprit::Network,
                handshake::Culprit::Peer => Culprit::Peer,
            },
            Self::Session { reason, .. } => reason.culprit().unwrap_or(Culprit::Peer),
        }
    }
}

impl From<Infallible> for ConnectError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Why a dialer has no connection to give. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialerError {
    /// There is none now, and the policy is not to wait.
    #[error("the connection is down and the policy is to fail at once")]
    Down,
    /// There was none for as long as the policy waits.
    #[error("the connection was down for as long as the caller waits")]
    WaitedTooLong,
    /// Dialling is over: it cannot succeed, or the policy's attempts are used up. The text is the last error's.
    #[error("dialling has ended: {text}")]
    GaveUp {
        /// The last error.
        text: String,
        /// Who was at fault for it.
        culprit: Culprit,
        /// Its code where it has one, as [`ConnectError::code`] says.
        code: Option<ErrorCode>,
    },
}

impl DialerError {
    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::GaveUp { .. })
    }

    /// The code of the error that ended dialling, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::GaveUp { code, .. } => *code,
            Self::Down | Self::WaitedTooLong => None,
        }
    }

    /// Who is at fault.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::Down | Self::WaitedTooLong => Culprit::Network,
            Self::GaveUp { culprit, .. } => *culprit,
        }
    }
}

/// Why a PING has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PingError {
    /// It was not sent.
    #[error("the ping was not sent: {0}")]
    NotSent(Refusal),
    /// The connection ended first.
    #[error("the connection ended before the answer: {0}")]
    Lost(CloseReason),
}

/// For programs whose `main` speaks [`io::Error`].
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        Self::other(error)
    }
}

fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Blocked | Refusal::NoExchange => ErrorCode::RESOURCE_EXHAUSTED,
        Refusal::MessageSize { .. } => ErrorCode::MESSAGE_SIZE,
        Refusal::NotOpen | Refusal::Draining | Refusal::Closed => ErrorCode::UNAVAILABLE,
        Refusal::Reset(failure) => failure.code,
        _ => ErrorCode::INTERNAL,
    }
}

fn refusal_culprit(refusal: &Refusal) -> Culprit {
    match refusal {
        Refusal::Draining | Refusal::Closed | Refusal::Reset(_) => Culprit::Peer,
        _ => Culprit::Caller,
    }
}
