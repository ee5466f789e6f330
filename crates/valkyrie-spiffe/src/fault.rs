//! What goes wrong between a workload and its agent.

use std::time::Duration;

use spiffe::WorkloadApiError;
use spiffe::transport::{GrpcStatusCode, TransportError};
use thiserror::Error;
use valkyrie_security::spiffe::SvidError;

/// What was wrong with the agent, or with what it sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AgentFault {
    /// It has not said anything yet.
    #[error("the SPIFFE agent has not answered; identity and trust are as they were")]
    Silent,
    /// Nobody listens there, or the connection broke.
    #[error("the SPIFFE agent cannot be reached: {0}; identity and trust are as they were")]
    Unreachable(String),
    /// It ended the answers.
    #[error("the SPIFFE agent ended its answers; identity and trust are as they were")]
    Ended,
    /// It has no identity for this workload, or none any more.
    #[error(
        "the SPIFFE agent has no identity for this workload: {0}; nobody is believed because of the agent, the last \
         identity stays until it expires"
    )]
    NotRegistered(String),
    /// It does not take the request and is not asked again.
    #[error(
        "the SPIFFE agent does not take requests of the Workload API and is not asked again: {0}; identity and trust \
         are as they were"
    )]
    Refused(String),
    /// What it sent is no answer of the Workload API.
    #[error(
        "the SPIFFE agent sent no valid answer of the Workload API: {0}; identity and trust are as they were"
    )]
    Answer(String),
    /// It sent more than is taken.
    #[error("the SPIFFE agent sent an answer longer than 4 MiB; identity and trust are as they were")]
    TooLong,
    /// The identity cannot be used.
    #[error("the SPIFFE agent sent an identity that cannot be used: {0}; the former one, if any, stays")]
    Svid(SvidError),
    /// The identity is not good any more, by this machine's clock.
    #[error(
        "the SPIFFE agent sent an identity that has expired by this machine's clock; the former one, if any, stays"
    )]
    Expired,
    /// The bundle of a trust domain cannot be used.
    #[error(
        "the SPIFFE agent sent a bundle of {trust_domain} that cannot be used: {error}; all bundles are as they were"
    )]
    Bundle {
        /// Whose bundle it is.
        trust_domain: String,
        /// What is wrong with it.
        error: SvidError,
    },
}

impl AgentFault {
    /// Asking again would be answered the same.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl From<WorkloadApiError> for AgentFault {
    fn from(error: WorkloadApiError) -> Self {
        let code = match &error {
            WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_) => {
                return Self::NotRegistered(error.to_string());
            }
            WorkloadApiError::Transport(TransportError::Status(status)) => status.code(),
            WorkloadApiError::Transport(_) => return Self::Unreachable(sentence(&error)),
            _ => return Self::Answer(error.to_string()),
        };
        match code {
            GrpcStatusCode::InvalidArgument | GrpcStatusCode::Unimplemented => {
                Self::Refused(sentence(&error))
            }
            // Both are what the gRPC library says of a message that it did not take.
            GrpcStatusCode::OutOfRange => Self::TooLong,
            GrpcStatusCode::Internal => Self::Answer(sentence(&error)),
            _ => Self::Unreachable(sentence(&error)),
        }
    }
}

/// The error and what caused it; the libraries below say little in the outermost one.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(deeper) = cause else { break };
        let said = deeper.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}

/// No identity was given that can be used. Trust is unchanged.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// It was not said which agent to ask.
    #[error("no SPIFFE agent is named: say where its socket is, or set SPIFFE_ENDPOINT_SOCKET")]
    NoAddress,
    /// The address is none.
    #[error("`{address}` is not the address of a SPIFFE agent, such as unix:/run/spire/agent.sock: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent gave nothing that can be used.
    #[error("no identity within {} s: {fault}", .patience.as_secs())]
    NoIdentity {
        /// How long it was asked.
        patience: Duration,
        /// What was wrong the last time.
        fault: AgentFault,
    },
    /// This machine gave no randomness for a static key.
    #[error("this machine gave no randomness for a static key; the agent was not asked")]
    Key,
}

/// Causes that are told; chains of errors are shorter.
const CAUSES_MAX: usize = 8;
