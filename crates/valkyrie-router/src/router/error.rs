//! What became of a routed message that failed.

use std::sync::Arc;

use valkyrie_endpoint::{CallError, ConnectError, MethodError, NotifyError, OpenError, Processed};
use valkyrie_transport::Locator;

use crate::{RouteError, Unfit};

/// Why a routed message has no answer. It is about the last attempt; the ones before failed so that another was safe.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutedError {
    /// There was no way to send it.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The peer could not be reached at any of its places. Nothing was sent.
    #[error("{locator} could not be reached: {source}; nothing was sent")]
    Connect {
        /// The first of its places.
        locator: Locator,
        /// What happened there.
        #[source]
        source: Arc<ConnectError>,
    },
    /// No link to the peer can do what the message needs. Nothing was sent.
    #[error("no link to {locator} will do: {unfit}")]
    Unfit {
        /// The first of its places.
        locator: Locator,
        /// What is missing.
        #[source]
        unfit: Unfit,
    },
    /// The time for the whole was over before there was a connection. Nothing was sent.
    #[error("the caller's deadline passed before there was a connection to {locator}; nothing was sent")]
    NoTime {
        /// The first of the places that were being dialled.
        locator: Locator,
    },
    /// The call failed.
    #[error("{locator}: {source}")]
    Call {
        /// Who was called.
        locator: Locator,
        /// What happened.
        #[source]
        source: CallError,
    },
    /// The stream was not opened.
    #[error("{locator}: {source}")]
    Open {
        /// Where.
        locator: Locator,
        /// What happened.
        #[source]
        source: OpenError,
    },
    /// The notification was not sent.
    #[error("{locator}: {source}")]
    Notify {
        /// Where.
        locator: Locator,
        /// What happened.
        #[source]
        source: NotifyError,
    },
    /// The method's names cannot be sent.
    #[error(transparent)]
    Method(#[from] MethodError),
}

impl RoutedError {
    /// Whether a peer's handler ran, as far as the last attempt goes.
    pub fn processed(&self) -> Processed {
        match self {
            Self::Call { source, .. } => source.processed(),
            _ => Processed::No,
        }
    }

    /// Whether sending the same again, later, may succeed and cannot run it twice.
    pub fn is_safe_to_retry(&self) -> bool {
        match self {
            Self::Route(error) => matches!(
                error,
                RouteError::Nobody | RouteError::AllFailing { .. } | RouteError::AllTried
            ),
            Self::Connect { source, .. } => source.is_transient(),
            Self::NoTime { .. } => true,
            Self::Call { source, .. } => source.is_safe_to_retry(),
            Self::Open { source, .. } => matches!(source, OpenError::Refused(refusal) if is_passing(refusal)),
            Self::Notify { source, .. } => {
                matches!(source, NotifyError::NotSent(refusal) if is_passing(refusal))
            }
            Self::Unfit { .. } | Self::Method(_) => false,
        }
    }

    /// Whether another peer may do better at once: everything that is safe, and what is the one peer's own trouble.
    pub(crate) fn is_for_another_peer(&self) -> bool {
        match self {
            // Whatever kept us from this peer keeps nobody from the next.
            Self::Connect { .. } | Self::Unfit { .. } => true,
            Self::NoTime { .. } | Self::Route(_) => false,
            _ => self.is_safe_to_retry(),
        }
    }
}

fn is_passing(refusal: &valkyrie_endpoint::Refusal) -> bool {
    use valkyrie_endpoint::Refusal as R;
    matches!(refusal, R::Draining | R::Closed | R::Blocked | R::NoExchange)
}
