//! What a gateway asks: the contract of whatever answers calls.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use valkyrie_frame::ErrorCode;
use valkyrie_transport::BoxFuture;
use zeroize::Zeroizing;

/// Whatever answers calls.
///
/// Dropping a future that one of these methods gave, or the replies of a stream, means that nobody waits any more: the
/// client hung up or its time was over. The call is to be cancelled.
pub trait Upstream: Send + Sync + 'static {
    /// Makes a call that has one answer.
    fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>>;

    /// Makes a call that has any number of answers.
    fn stream(&self, asked: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>>;

    /// What can be called, for the OpenAPI document. Nothing unless told otherwise.
    fn describe(&self) -> Vec<Offer> {
        Vec::new()
    }

    /// Why calls cannot be answered now, if they cannot: what `/readyz` says.
    fn unready(&self) -> Option<String> {
        None
    }
}

/// The answers of a streaming call, one after the other.
pub trait Replies: Send + 'static {
    /// The next one; `None` when there are no more. Not called again after that or after a failure.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>>;
}

/// One call, as an HTTP client made it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// The name of the service.
    pub service: String,
    /// The name of the method.
    pub method: String,
    /// What came with it.
    pub metadata: Metadata,
    /// The body.
    pub body: Bytes,
    /// How long the client waits. The gateway gives up then, too.
    pub timeout: Duration,
}

/// What came with a call beside its body.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// The W3C `traceparent`, in the binary form of the trace context extension.
    //= protocol/extensions.md#registry
    pub trace_context: Option<[u8; 26]>,
    /// What `Authorization: Bearer` holds.
    pub token: Option<BearerToken>,
    /// The type of the body, as the client wrote it.
    pub content_type: Option<String>,
}

/// A secret that says what its bearer may do. Wiped when it is dropped; nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text behind `Bearer `.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code:?})")]
pub struct Failure {
    /// The code, from which the HTTP status follows.
    pub code: ErrorCode,
    /// For people; the client gets to read it.
    pub text: String,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that does not say when to come back.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            retry_after: None,
        }
    }

    /// There is no such service or method, or not of this shape.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::NOT_FOUND, text)
    }
}

/// Something that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The name of the service.
    pub service: String,
    /// The name of the method.
    pub method: String,
    /// How it answers.
    pub shape: Shape,
    /// A sentence about it; may be empty.
    pub about: String,
}

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// Once.
    Unary,
    /// Not at all.
    Notify,
    /// Any number of times.
    Stream,
}
