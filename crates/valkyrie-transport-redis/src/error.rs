//! What goes wrong with the broker, and on a link through it.

use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use valkyrie_transport::{Action, Locator, TransportError};

/// What a broker refused or failed to do: the source of errors about it. What it said is not repeated beyond its code,
/// because some brokers repeat what they were sent, passwords included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerFault {
    /// The user or its password is wrong, or there must be one.
    #[error("the broker does not take the user or its password, or wants some")]
    Login,
    /// The user may not use a command or a channel.
    #[error(
        "the broker's rules for this user do not allow it; it needs the commands hello, publish, subscribe and psubscribe \
         and the channels valkyrie.2.*, and a subscription to a pattern that very pattern"
    )]
    NotAllowed,
    /// The broker is too old.
    #[error("the broker does not speak RESP3; Redis 6 or later does")]
    Old,
    /// The broker is starting, or in no state to serve.
    #[error("the broker is not ready to serve")]
    NotReady,
    /// The broker did not answer a command in time.
    #[error("the broker did not answer within {:?}", crate::ANSWER_TIME_MAX)]
    Silent,
    /// The connection to the broker ended.
    #[error("the connection to the broker ended")]
    Gone,
    /// The broker refused a command for another reason, or what answered is none.
    #[error("the broker answered something that does not fit the command")]
    Nonsense,
}

impl BrokerFault {
    pub(crate) fn io_kind(self) -> io::ErrorKind {
        match self {
            Self::Login | Self::NotAllowed => io::ErrorKind::PermissionDenied,
            Self::Old => io::ErrorKind::Unsupported,
            Self::NotReady => io::ErrorKind::ConnectionRefused,
            Self::Silent => io::ErrorKind::TimedOut,
            Self::Gone => io::ErrorKind::ConnectionAborted,
            Self::Nonsense => io::ErrorKind::InvalidData,
        }
    }

    pub(crate) fn into_transport(self, action: Action, locator: &Locator) -> TransportError {
        let source = io::Error::from(self);
        let locator = locator.clone();
        match self {
            Self::Login | Self::NotAllowed => TransportError::PermissionDenied {
                locator,
                action,
                source,
            },
            Self::Silent => TransportError::TimedOut {
                locator,
                after: crate::ANSWER_TIME_MAX,
            },
            Self::Gone => TransportError::Aborted { locator, source },
            _ => TransportError::Io {
                locator,
                action,
                source,
            },
        }
    }
}

impl From<BrokerFault> for io::Error {
    fn from(fault: BrokerFault) -> Self {
        Self::new(fault.io_kind(), fault)
    }
}

impl From<RedisError> for BrokerFault {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Login,
            ErrorKind::RESP3NotSupported => Self::Old,
            ErrorKind::Io if error.is_timeout() => Self::Silent,
            ErrorKind::Io => Self::Gone,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::NotAllowed,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown,
            ) => Self::NotReady,
            _ => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => Self::Login,
                _ => Self::Nonsense,
            },
        }
    }
}

/// Why an established link ended before its time: the source of the [`io::Error`] that a read or a write gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// The broker is gone, or refuses us.
    #[error("{0}; the link through it is over, and bytes may be missing")]
    Broker(#[from] BrokerFault),
    /// The peer is gone: it said so, or the broker knows nobody who listens to it.
    #[error("the peer is gone; what was written and had not arrived is lost")]
    PeerGone,
    /// The peer has not been heard of for too long.
    #[error("the peer has not been heard of for {0:?}; the link is given up")]
    PeerSilent(Duration),
    /// The broker lost something. The peer is told that the link is over.
    #[error("the broker lost packets: number {expected} was next and {arrived} came; the link is over")]
    Gap {
        /// The number that was next.
        expected: u64,
        /// The number that came.
        arrived: u64,
    },
    /// The peer sent more than it was allowed to. It is told that the link is over.
    #[error("the peer sent more than the window it was given; the link is over")]
    Overrun,
    /// A packet that is none, or none that may come here. The peer is told that the link is over.
    #[error("a packet came on the link that is none of this protocol, or not in its place; the link is over")]
    Malformed,
}

impl From<LinkFault> for io::Error {
    fn from(fault: LinkFault) -> Self {
        let kind = match fault {
            LinkFault::Broker(fault) => fault.io_kind(),
            LinkFault::PeerGone => io::ErrorKind::ConnectionReset,
            LinkFault::PeerSilent(_) => io::ErrorKind::TimedOut,
            LinkFault::Gap { .. } => io::ErrorKind::UnexpectedEof,
            LinkFault::Overrun | LinkFault::Malformed => io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}
