//! What can be wrong with a record, and who is at fault.

use valkyrie_security::identity::{SignatureError, SigningError};

use super::RECORD_BYTES_MAX;
use crate::agent::{AgentIdError, DescriptionError};

/// The bytes are no record, or not one that the agent whose place it is signed. Nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More bytes than a record can have.
    #[error("the record has {0} bytes, more than the {RECORD_BYTES_MAX} that one can have")]
    TooLong(usize),
    /// It ends inside a field.
    #[error("the record ends too early")]
    Truncated,
    /// Something follows the last signature.
    #[error("{0} bytes follow the last signature of the record")]
    Trailing(usize),
    /// Another version.
    #[error("the record is of version {0}, of which this side knows nothing")]
    Version(u8),
    /// A field is not what it may be, or is not written the one way that it is.
    #[error("the {0} of the record is not what it may be")]
    Field(&'static str),
    /// The description breaks a rule.
    #[error("{0}")]
    Description(#[from] DescriptionError),
    /// It lies at another agent's place.
    #[error("the record lies where another agent's belongs")]
    Place,
    /// Whoever wrote it does not speak for the agent.
    #[error("the record was not signed by the agent whose place it lies at: {0}")]
    Signature(#[from] SignatureError),
}

impl From<AgentIdError> for RecordError {
    fn from(_: AgentIdError) -> Self {
        Self::Field("instance")
    }
}

/// No record was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The caller's description breaks a rule.
    #[error("{0}")]
    Description(#[from] DescriptionError),
    /// The caller's instance has a `/`.
    #[error("{0}")]
    Instance(#[from] AgentIdError),
    /// The caller's description is longer than a record may be.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// This machine is at fault.
    #[error("{0}")]
    Signing(#[from] SigningError),
}
