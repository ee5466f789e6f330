//! What ended a QUIC connection, or kept one from being.

use std::io;

use quinn::{ConnectionError, ReadError, StoppedError, TransportErrorCode, WriteError};

use crate::lanes::close_code;

/// What ended a QUIC connection, or kept one from being. It is the source of the [`io::Error`]s of a link and of the
/// transport's errors. The connection is gone on all of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// The peer speaks QUIC, but no version that this side speaks.
    #[error("the peer speaks QUIC, but not version 1 of it; it is no Valkyrie peer")]
    WrongVersion,
    /// The peer speaks QUIC, but another protocol over it.
    #[error("the peer speaks QUIC, but not valkyrie/2 over it; check the address")]
    WrongProtocol,
    /// The peer's certificate was not one that this side takes.
    #[error("the peer's certificate was refused ({reason}); check the roots, the name and the certificate")]
    CertificateRefused {
        /// What is wrong with it.
        reason: String,
    },
    /// The peer turned the connection away before its handshake.
    #[error("the peer takes no more connections at present")]
    TurnedAway,
    /// The peer did not open or use its lanes as it must.
    #[error("the peer did not use its lanes as Valkyrie does; it is at fault, and the connection was closed")]
    WrongLanes,
    /// The peer had read everything to its end, and closed.
    #[error("the peer had read everything and closed the connection")]
    Done,
    /// The peer dropped the link in the middle.
    #[error("the peer dropped the link; what was under way may be lost")]
    Dropped,
    /// The peer says that this side did not use its lanes as it must.
    #[error("the peer says that lanes were not used as they must be, and closed the connection")]
    LanesDisputed,
    /// The peer closed with a code that Valkyrie does not have.
    #[error("the peer closed the connection with the unknown code {code}")]
    ClosedWith {
        /// The code.
        code: u64,
    },
    /// The peer's QUIC implementation ended the connection.
    #[error("the peer's QUIC ended the connection: {reason}")]
    EndedByPeer {
        /// What it said.
        reason: String,
    },
    /// The peer broke the rules of QUIC.
    #[error("the peer broke the rules of QUIC and the connection was closed: {reason}")]
    PeerMisbehaved {
        /// Which rule.
        reason: String,
    },
    /// The peer has forgotten the connection, as after a restart.
    #[error("the peer no longer knows the connection; it may have been restarted")]
    Forgotten,
    /// Nothing came from the peer for the idle timeout.
    #[error("nothing came from the peer for too long; it or the network is gone")]
    Silent,
    /// This side closed the connection.
    #[error("this side closed the connection")]
    ClosedHere,
    /// This side is out of connection ids.
    #[error("this machine is out of connection ids; close connections")]
    Exhausted,
}

impl QuicError {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::WrongVersion | Self::WrongProtocol | Self::WrongLanes | Self::PeerMisbehaved { .. } => {
                io::ErrorKind::InvalidData
            }
            Self::CertificateRefused { .. } => io::ErrorKind::PermissionDenied,
            Self::TurnedAway => io::ErrorKind::ConnectionRefused,
            Self::Done
            | Self::Dropped
            | Self::LanesDisputed
            | Self::ClosedWith { .. }
            | Self::EndedByPeer { .. }
            | Self::Forgotten => io::ErrorKind::ConnectionReset,
            Self::Silent => io::ErrorKind::TimedOut,
            Self::ClosedHere => io::ErrorKind::NotConnected,
            Self::Exhausted => io::ErrorKind::OutOfMemory,
        }
    }
}

impl From<QuicError> for io::Error {
    fn from(error: QuicError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<ConnectionError> for QuicError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::WrongVersion,
            ConnectionError::TransportError(error) => match tls_alert(error.code) {
                Some(NO_APPLICATION_PROTOCOL) => Self::WrongProtocol,
                Some(alert) if CERTIFICATE_ALERTS.contains(&alert) => {
                    Self::CertificateRefused { reason: error.reason }
                }
                _ => Self::PeerMisbehaved {
                    reason: error.to_string(),
                },
            },
            ConnectionError::ConnectionClosed(close) => match (tls_alert(close.error_code), close.error_code)
            {
                (Some(NO_APPLICATION_PROTOCOL), _) => Self::WrongProtocol,
                (_, TransportErrorCode::CONNECTION_REFUSED) => Self::TurnedAway,
                _ => Self::EndedByPeer {
                    reason: close.to_string(),
                },
            },
            ConnectionError::ApplicationClosed(close) => match close.error_code {
                close_code::DONE => Self::Done,
                close_code::DROPPED => Self::Dropped,
                close_code::LANES => Self::LanesDisputed,
                code => Self::ClosedWith {
                    code: code.into_inner(),
                },
            },
            ConnectionError::Reset => Self::Forgotten,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::CidsExhausted => Self::Exhausted,
        }
    }
}

impl From<WriteError> for QuicError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(_) => Self::WrongLanes,
            // This side finished the lane, or used early data, which it never does.
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::ClosedHere,
        }
    }
}

impl From<ReadError> for QuicError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(_) => Self::WrongLanes,
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                Self::ClosedHere
            }
        }
    }
}

impl From<StoppedError> for QuicError {
    fn from(error: StoppedError) -> Self {
        match error {
            StoppedError::ConnectionLost(error) => error.into(),
            StoppedError::ZeroRttRejected => Self::ClosedHere,
        }
    }
}

/// The alert of TLS that a code of QUIC stands for (RFC 9001, section 4.8).
fn tls_alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    (code >> 8 == 1).then_some((code & 0xff) as u8)
}

/// RFC 7301, section 3.2.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// From `bad_certificate` to `certificate_unknown`, `unknown_ca`, `access_denied`, and `decrypt_error`, which is a
/// signature that does not verify (RFC 8446, section 6).
const CERTIFICATE_ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 49, 51];
