//! Why a message was refused.

use super::Kind;

/// A message that was not understood. Nothing of it was used; the connection may go on, because
/// messages are framed below this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kind has no meaning in this direction, or none at all.
    #[error("the peer sent a frame of kind {0:#04x}, which it may not send here; it was ignored")]
    UnexpectedKind(u8),
    /// Too long to be looked at.
    #[error("the peer sent {length} bytes as {kind:?}, and at most {max} are read; it was ignored")]
    TooLong {
        /// Of what kind.
        kind: Kind,
        /// Its length.
        length: usize,
        /// The bound.
        max: usize,
    },
    /// Not the JSON it should be.
    #[error("the peer sent a {kind:?} that cannot be read: {error}; it was ignored")]
    Malformed {
        /// Of what kind.
        kind: Kind,
        /// What the parser said.
        error: String,
    },
    /// A call's request or answer that is not the JSON it should be.
    #[error("the peer sent a call that cannot be read: {error}; it was ignored")]
    MalformedCall {
        /// What the parser said.
        error: String,
    },
    /// A field beyond its bound.
    #[error("a field is beyond its bound: {0}; the message was not used")]
    Limit(#[from] WireLimit),
    /// A LOG payload shorter than its header, or of an unknown version, stream or flag.
    #[error("the peer sent a log frame that cannot be read: {0}; it was ignored")]
    Log(&'static str),
}

/// Which bound a field broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` has {found}, at most {max} allowed")]
pub struct WireLimit {
    /// The field.
    pub field: &'static str,
    /// Its length or value.
    pub found: u64,
    /// The bound.
    pub max: u64,
}

/// Checks a length or number against its bound.
pub(super) fn within(field: &'static str, found: usize, max: usize) -> Result<(), WireLimit> {
    match found <= max {
        true => Ok(()),
        false => Err(WireLimit {
            field,
            found: found as u64,
            max: max as u64,
        }),
    }
}

/// A message that can say whether its fields are within their bounds. Called after every decode and
/// before every encode, so that a mistake is found on the side that made it.
pub(super) trait Bounded {
    fn check(&self) -> Result<(), WireLimit>;
}
