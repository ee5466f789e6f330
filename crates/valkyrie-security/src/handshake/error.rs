//! Why a handshake came to nothing, and whose fault it was.

use thiserror::Error;
use valkyrie_frame::{DecodeError, ErrorCode, Kind};

use super::envelope::Refusal;
use crate::channel::OpenError;
use crate::channel::SealError;
use crate::credentials::CredentialsError;
use crate::identity::SigningError;
use crate::noise::NoiseError;
use crate::suite::SuiteId;
use crate::token::TokenError;
use crate::trust::TrustError;

/// Why a handshake came to nothing. The link cannot be used for anything after it; nothing of a session has happened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer's bytes are no frame.
    #[error("the peer sent what is no frame: {0}")]
    Frame(DecodeError),
    /// The peer's message cannot be read.
    #[error("the peer sent a message of the handshake that cannot be read: {0}")]
    Malformed(&'static str),
    /// The peer sent more in clear than a handshake has.
    #[error("the peer sent more before it proved anything than a handshake has")]
    TooLong,
    /// A frame that has no place here.
    #[error("the peer sent {0} where the handshake has no place for it")]
    Unexpected(Kind),
    /// The session began before the peer was known.
    #[error("the peer sent session data before it said who it is")]
    DataTooEarly,
    /// A channel of another version.
    #[error("the peer speaks version {0} of the channel, this side version 1")]
    ChannelVersion(u8),
    /// No suite that both sides permit.
    #[error("the peer offers no suite that this side permits, only {}", list(.0))]
    NoCommonSuite(Vec<SuiteId>),
    /// The peer asked for a suite that this side did not offer, or keeps to a weaker one than both permit.
    #[error(
        "the peer wants {0}, which is not what both sides prefer: somebody may be weakening the connection"
    )]
    Downgrade(SuiteId),
    /// The first message came before.
    #[error("the peer's first message was sent before")]
    Replay,
    /// The first message of a known-key handshake cannot be taken and nothing else is offered.
    #[error("the peer's first message was made for another key or another time, and it offers nothing else")]
    NotForUs,
    /// The link does not give what a bound channel needs.
    #[error("the peer wants records unsealed on a link that does not prove it is safe")]
    NotBound,
    /// A Noise message does not verify.
    #[error("the handshake does not verify: {0}")]
    Noise(#[from] NoiseError),
    /// A record does not verify.
    #[error("a record of the handshake does not verify: {0}")]
    Open(#[from] OpenError),
    /// Our own record could not be sealed.
    #[error("this side could not seal its credentials: {0}")]
    Seal(#[from] SealError),
    /// The peer's credentials cannot be read.
    #[error("the peer's credentials cannot be read: {0}")]
    Credentials(#[from] CredentialsError),
    /// Our own proof could not be signed.
    #[error("this side could not sign the handshake: {0}")]
    Signing(#[from] SigningError),
    /// The peer is not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The token that the peer presents grants nothing here.
    #[error("the peer's token is refused: {0}")]
    Token(#[from] TokenError),
    /// The peer refused; under keys that only it has.
    #[error("the peer refuses this side: {} ({})", .0.text, .0.code)]
    Refused(Refusal),
    /// Somebody on the way, perhaps the peer, said no in clear. It proves nothing.
    #[error("somebody answered in clear, perhaps the peer: {} ({})", .0.text, .0.code)]
    RefusedInClear(Refusal),
    /// The peer asked for a plain connection.
    #[error("the peer wants a plain connection, which this side was not told to take")]
    PlainRefused,
    /// This side is too busy.
    #[error("this side takes no more handshakes for {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The handshake was not done in time.
    #[error("the handshake was not done in time")]
    TimedOut,
    /// The link ended in the middle.
    #[error("the link ended in the middle of the handshake")]
    LinkLost,
    /// The machine has ended already.
    #[error("the handshake is over; the caller went on with it")]
    Over,
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The other end, or somebody on the way who speaks for it.
    Peer,
    /// This side.
    Us,
    /// The link, or nobody.
    Nobody,
}

impl HandshakeError {
    /// The code that the peer is told.
    //= protocol/errors.md#codes
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Frame(_) | Self::Malformed(_) | Self::Credentials(_) => ErrorCode::PROTOCOL,
            Self::TooLong => ErrorCode::FRAME_SIZE,
            Self::Unexpected(_) | Self::DataTooEarly => ErrorCode::UNEXPECTED_FRAME,
            Self::ChannelVersion(_) => ErrorCode::VERSION,
            Self::NoCommonSuite(_) | Self::Downgrade(_) | Self::NotBound => ErrorCode::DOWNGRADE,
            Self::Replay => ErrorCode::REPLAY,
            Self::NotForUs | Self::PlainRefused => ErrorCode::UNAUTHENTICATED,
            Self::Noise(_) | Self::Open(_) => ErrorCode::INTEGRITY,
            Self::Trust(error) => error.code(),
            Self::Token(error) => error.code(),
            Self::Refused(refusal) | Self::RefusedInClear(refusal) => refusal.code,
            Self::Busy { .. } => ErrorCode::OVERLOADED,
            Self::TimedOut => ErrorCode::HANDSHAKE_TIMEOUT,
            Self::LinkLost => ErrorCode::LINK_LOST,
            Self::Seal(_) | Self::Signing(_) | Self::Over => ErrorCode::INTERNAL,
        }
    }

    /// Who is to blame.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::Seal(_) | Self::Signing(_) | Self::Over | Self::Busy { .. } => Culprit::Us,
            Self::LinkLost => Culprit::Nobody,
            _ => Culprit::Peer,
        }
    }

    /// It belongs in the audit log: somebody tried what no honest peer does, or is not trusted.
    pub fn is_violation(&self) -> bool {
        let code = self.code().value();
        (200..300).contains(&code) || (700..800).contains(&code)
    }

    /// What the peer is told, in words that give nothing away to one that has proved nothing.
    pub(crate) fn refusal(&self) -> Refusal {
        let retry_after_ms = match self {
            Self::Busy { retry_after_ms } => *retry_after_ms,
            _ => 0,
        };
        let text = match self {
            Self::Noise(_) | Self::Open(_) => "the handshake does not verify".to_owned(),
            Self::Trust(error) => error.told_to_peer().to_owned(),
            Self::Token(_) => "the token grants nothing here".to_owned(),
            Self::Seal(_) | Self::Signing(_) | Self::Over => "this side failed".to_owned(),
            Self::Refused(_) | Self::RefusedInClear(_) | Self::LinkLost => String::new(),
            other => other.to_string(),
        };
        Refusal {
            code: self.code(),
            retry_after_ms,
            text,
        }
    }
}

fn list(suites: &[SuiteId]) -> String {
    let names: Vec<_> = suites.iter().map(SuiteId::to_string).collect();
    names.join(", ")
}
