//! What goes wrong on a link, and on the way to one.

use std::io;

/// Why an established link ended before its time: the source of the [`io::Error`] that a read or a write gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// The peer, or a proxy between, gave the request up.
    #[error("the peer, or a proxy between, reset the link ({reason}); what was under way may be lost")]
    Reset {
        /// The HTTP/2 error code, by its name.
        reason: String,
    },
    /// The peer, or a proxy between, ended the whole connection.
    #[error("the peer, or a proxy between, ended the connection ({reason}); what was under way may be lost")]
    GoAway {
        /// The HTTP/2 error code, by its name.
        reason: String,
    },
    /// The peer broke a rule of HTTP/2, and was told.
    #[error("the peer broke a rule of HTTP/2 ({reason}); the link is closed")]
    Violation {
        /// The HTTP/2 error code that it was told.
        reason: String,
    },
    /// The connection below ended before the end of the body.
    #[error("the connection ended in the middle of the link; bytes may be missing")]
    Cut,
    /// The system failed the connection.
    #[error("the connection failed ({kind}); bytes may be missing")]
    Io {
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The peer takes no more bytes, although it did not say that it failed.
    #[error("the peer takes no more; what was written and had not arrived is lost")]
    Gone,
}

impl LinkFault {
    pub(crate) fn from_h2(error: &h2::Error) -> Self {
        let reason = error
            .reason()
            .map_or_else(|| error.to_string(), |reason| format!("{reason:?}"));
        match error.get_io() {
            Some(io)
                if matches!(
                    io.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Cut
            }
            Some(io) => Self::Io { kind: io.kind() },
            None if !error.is_remote() => Self::Violation { reason },
            None if error.is_go_away() => Self::GoAway { reason },
            None => Self::Reset { reason },
        }
    }
}

impl From<LinkFault> for io::Error {
    fn from(fault: LinkFault) -> Self {
        let kind = match &fault {
            LinkFault::Reset { .. } | LinkFault::GoAway { .. } => io::ErrorKind::ConnectionReset,
            LinkFault::Violation { .. } => io::ErrorKind::InvalidData,
            LinkFault::Cut => io::ErrorKind::UnexpectedEof,
            LinkFault::Io { kind } => *kind,
            LinkFault::Gone => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, fault)
    }
}

/// Why a connection did not become a link: the source within [`TransportError::Aborted`]. There is no link.
///
/// [`TransportError::Aborted`]: valkyrie_transport::TransportError::Aborted
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The dialler asked for something else than a link here. It was told `status` and why.
    #[error("the dialler was answered {status}: {why}")]
    Turned {
        /// The HTTP status it got.
        status: u16,
        /// The sentence it got.
        why: &'static str,
    },
    /// The acceptor answered something else than 200.
    #[error(
        "the peer answered HTTP {status} where a link was expected; check the address and any proxy between"
    )]
    Status {
        /// The status.
        status: u16,
    },
    /// The acceptor answered 200, and its answer is not a link.
    #[error("the peer answered 200, but not as a link answers; check the address and any proxy between")]
    NoLink,
    /// The peer does not speak HTTP/2.
    #[error("the peer does not speak HTTP/2 ({0})")]
    NotHttp2(String),
    /// The dialler spoke TLS to a place that does not.
    #[error("the dialler spoke TLS, and this is a plain place; dial it with http, or listen with https")]
    TlsOnPlain,
    /// The peer was slower than [`HANDSHAKE_TIME_MAX`](crate::HANDSHAKE_TIME_MAX).
    #[error(
        "the peer was not done with the opening within {:?}",
        crate::HANDSHAKE_TIME_MAX
    )]
    TooSlow,
    /// So many others were opening that this one, the oldest, gave way.
    #[error(
        "more than {} connections were being opened, and this was the oldest",
        crate::HANDSHAKES_MAX
    )]
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

impl OpenError {
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        if error.is_io() {
            return match error.into_io() {
                Some(error) => Self::from_io(error),
                None => Self::HungUp,
            };
        }
        Self::NotHttp2(error.to_string())
    }

    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted => Self::HungUp,
            _ => Self::Io(error),
        }
    }
}
