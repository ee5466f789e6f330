//! Why a token is not taken, or cannot be made.

use thiserror::Error;
use valkyrie_frame::ErrorCode;

use crate::time::UnixTime;

/// A token is not taken, or cannot be made or narrowed. Whatever was there before is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The holder's token is longer than one may be.
    #[error("the token is longer than {} bytes", super::Token::BYTES_MAX)]
    TooLong,
    /// The holder's token cannot be read.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// The holder's token says something that this side does not evaluate. Guessing could widen it.
    #[error("the token has {0}, which is not taken here")]
    Unsupported(&'static str),
    /// The holder's token has more of something than is looked at.
    #[error("the token has more than {bound} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are looked at.
        bound: usize,
    },
    /// None of the keys that are trusted here signed it, or it was changed afterwards.
    #[error("the token is signed by nobody who is trusted for it here, or was changed since")]
    Signature,
    /// It, or what it was made from, was revoked here.
    #[error("the token is revoked")]
    Revoked,
    /// It is not good at this time.
    #[error("the token is not good at {0}")]
    Time(UnixTime),
    /// It is bound to another peer.
    #[error("the token is bound to another peer than the one that shows it")]
    OtherPeer,
    /// It grants nothing.
    #[error("the token grants nothing")]
    NoRights,
    /// The holder sealed it: it cannot be narrowed any more.
    #[error("the token is sealed and cannot be narrowed any more")]
    Sealed,
    /// A name that the caller gave is empty or too long.
    #[error("`{0}` is no name of a service or method; nothing was made")]
    Name(String),
    /// This machine gave no randomness or no memory. Nothing was made.
    #[error("this machine gave no randomness or no memory for a key; nothing was made")]
    Key,
}

impl TokenError {
    /// The code that the peer is told.
    //= protocol/errors.md#codes
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Time(_) => ErrorCode::CREDENTIALS_EXPIRED,
            Self::Revoked => ErrorCode::IDENTITY_REVOKED,
            Self::Signature => ErrorCode::IDENTITY_UNTRUSTED,
            Self::Key => ErrorCode::INTERNAL,
            _ => ErrorCode::UNAUTHENTICATED,
        }
    }
}
