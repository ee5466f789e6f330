//! Why a peer may not do something.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use valkyrie_frame::{Class, ErrorCode};

use super::classes::Classes;
use super::rule::TopicUse;

/// The peer may not do this. Nothing was done, and its rate was not used.
///
/// It is small and copied, so that refusing a flood allocates nothing. Its text may go to the peer: it says what was
/// asked for and why not, and nothing about the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what} is not allowed: {reason}")]
pub struct Denied {
    /// What was asked for.
    pub what: What,
    /// Why it is denied.
    pub reason: DeniedReason,
}

/// What a peer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A call, a notification or a stream, in this class.
    Call(Class),
    /// A topic.
    Topic(TopicUse),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(class) => write!(f, "this call in class {}", class.name()),
            Self::Topic(TopicUse::Publish) => f.write_str("publishing to this topic"),
            Self::Topic(TopicUse::Subscribe) => f.write_str("subscribing to this topic"),
        }
    }
}

/// Why it is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeniedReason {
    /// No rule allows it.
    #[error("nothing permits it to this caller")]
    NoRule,
    /// Rules allow the call, but in other classes.
    #[error("the caller may do it only in {0}")]
    Class(Classes),
    /// A rule denies it.
    #[error("it is forbidden to this caller")]
    Forbidden {
        /// The line of the policy file; 0 where the rule is built in.
        line: u32,
    },
    /// The rate is used up.
    #[error("the caller does it too often, and may again in {} ms", retry_after_ms(.retry_after))]
    Rate {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The caller's credentials have expired on this connection.
    #[error("the caller's credentials have expired")]
    Expired,
}

impl Denied {
    /// The code that the peer is told.
    //= protocol/errors.md#codes
    pub const fn code(&self) -> ErrorCode {
        match self.reason {
            DeniedReason::Rate { .. } => ErrorCode::RESOURCE_EXHAUSTED,
            DeniedReason::Expired => ErrorCode::CREDENTIALS_EXPIRED,
            _ => ErrorCode::PERMISSION_DENIED,
        }
    }

    /// What belongs into `retry_after` of the error: milliseconds, 0 when trying again is of no use.
    pub fn retry_after_ms(&self) -> u32 {
        match &self.reason {
            DeniedReason::Rate { retry_after } => retry_after_ms(retry_after),
            _ => 0,
        }
    }

    /// Whether it counts as a violation: somebody tried what it may not do. Being too fast is none.
    pub const fn is_violation(&self) -> bool {
        !matches!(self.reason, DeniedReason::Rate { .. })
    }
}

/// Rounded up, so that who waits as long as it is told finds the way open.
fn retry_after_ms(time: &Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
