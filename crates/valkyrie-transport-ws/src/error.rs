//! What goes wrong on a link, and on the way to one.

use std::io;

use crate::frame::{Violation, close_code};

/// Why an established link ended before its time: the source of the [`io::Error`] that a read or a write gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// The peer broke a rule of WebSocket. It was told the code; the link is closed.
    #[error("{0}; the link is closed")]
    Violation(#[from] Violation),
    /// The peer sent a text message. It was told 1003; the link is closed.
    #[error("the peer sent a text message, and only binary messages carry a link; the link is closed")]
    Text,
    /// The peer sent more after it had ended its direction. It was told 1002; the link is closed.
    #[error("the peer sent a message after the empty one that ends its direction; the link is closed")]
    AfterEnd,
    /// The peer closed with a code that means a failure.
    #[error("the peer closed the WebSocket with code {code} ({reason}); the link is closed")]
    Closed {
        /// The code.
        code: u16,
        /// What it gave as a reason.
        reason: String,
    },
    /// The peer closed both directions before we ended ours.
    #[error("the peer closed the WebSocket; what was written and had not arrived is lost")]
    Gone,
    /// The connection below ended without the end of the direction, or without a close frame.
    #[error("the connection ended in the middle, without a close frame; bytes may be missing")]
    Cut,
}

impl LinkFault {
    /// The code that the peer is told, where the fault is its own.
    pub(crate) fn close_code(&self) -> u16 {
        match self {
            Self::Violation(violation) => violation.close_code(),
            Self::Text => close_code::UNSUPPORTED,
            Self::AfterEnd => close_code::PROTOCOL,
            Self::Closed { .. } | Self::Gone | Self::Cut => close_code::NORMAL,
        }
    }
}

impl From<LinkFault> for io::Error {
    fn from(fault: LinkFault) -> Self {
        let kind = match fault {
            LinkFault::Violation(_) | LinkFault::Text | LinkFault::AfterEnd => io::ErrorKind::InvalidData,
            LinkFault::Closed { .. } => io::ErrorKind::ConnectionAborted,
            LinkFault::Gone => io::ErrorKind::BrokenPipe,
            LinkFault::Cut => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, fault)
    }
}

/// Why a connection did not become a link: the source within [`TransportError::Aborted`]. There is no link.
///
/// [`TransportError::Aborted`]: valkyrie_transport::TransportError::Aborted
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// A dialler asked for something else than a link here. It was told `status` and why.
    #[error("the dialler was answered {status}: {why}")]
    Turned {
        /// The HTTP status it got.
        status: u16,
        /// The sentence it got.
        why: &'static str,
    },
    /// The acceptor answered something else than 101.
    #[error(
        "the peer answered HTTP {status} where 101 was expected; check the address, the path and any proxy"
    )]
    Status {
        /// The status.
        status: u16,
    },
    /// The acceptor's answer is HTTP, says 101, and is not an upgrade to a link.
    #[error("the peer's answer is no upgrade to {}: {why}", crate::SUBPROTOCOL)]
    Answer {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The peer does not speak HTTP.
    #[error("the peer does not speak HTTP")]
    NotHttp,
    /// The peer spoke TLS to a place that does not.
    #[error("the dialler spoke TLS, and this is a plain place; dial it with ws, or listen with wss")]
    TlsOnPlain,
    /// The peer's head is longer than [`HEAD_BYTES_MAX`](crate::HEAD_BYTES_MAX).
    #[error("the peer's HTTP head is longer than {} bytes", crate::HEAD_BYTES_MAX)]
    TooLong,
    /// The peer was slower than [`HANDSHAKE_TIME_MAX`](crate::HANDSHAKE_TIME_MAX).
    #[error(
        "the peer was not done with the opening within {:?}",
        crate::HANDSHAKE_TIME_MAX
    )]
    TooSlow,
    /// So many others were opening that this one, the oldest, gave way.
    #[error("as many connections as may were being opened, and this one, the oldest, gave way")]
    GaveWay,
    /// The peer hung up.
    #[error("the peer hung up before the opening was done")]
    HungUp,
    /// TLS failed.
    #[error("TLS with the peer failed: {0}")]
    Tls(#[source] io::Error),
    /// The system failed the connection.
    #[error("the connection failed during the opening: {0}")]
    Io(#[source] io::Error),
}
