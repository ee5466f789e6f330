//! What an application hands to a session and gets from it.

use bytes::Bytes;
use valkyrie_frame::{ErrorCode, Extensions, Kind};

/// One whole message. Larger ones than a frame are cut into fragments and put together again by
/// the session; the application never sees a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The kind of frame it travels in. [`Kind::DATA`] on streams unless a layer above says
    /// otherwise; REQUEST, RESPONSE and NOTIFY for exchanges.
    pub kind: Kind,
    /// Its extensions. On a message of several fragments they ride on the first.
    pub extensions: Extensions,
    /// Its bytes.
    pub payload: Bytes,
}

impl Message {
    /// A message of kind DATA without extensions.
    #[inline]
    pub const fn data(payload: Bytes) -> Self {
        Self {
            kind: Kind::DATA,
            extensions: Extensions::EMPTY,
            payload,
        }
    }
}

impl From<Bytes> for Message {
    #[inline]
    fn from(payload: Bytes) -> Self {
        Self::data(payload)
    }
}

/// Why an exchange or a stream failed, as it travels on the wire.
//= protocol/session.md#failure
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}{text}", if text.is_empty() { "" } else { ": " })]
pub struct Failure {
    /// What kind of failure.
    pub code: ErrorCode,
    /// When to try again, in milliseconds from now; 0 when the sender has no opinion.
    pub retry_after_ms: u32,
    /// Words for people; at most [`Failure::MAX_TEXT_BYTES`], longer ones are cut.
    pub text: String,
}

impl Failure {
    /// The longest text that travels, so that a failure always fits a small control frame.
    pub const MAX_TEXT_BYTES: usize = 1024;

    /// A failure with a code and words.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            retry_after_ms: 0,
            text: text.into(),
        }
    }
}
