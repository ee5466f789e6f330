//! What became of a routed message that failed.

use std::sync::Arc;

use valkyrie_endpoint::{
    CallError, ConnectError, Failure, MethodError, NotifyError, OpenError, Processed, RecvError,
};
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
    /// A stream of replies broke off, or was refused before the first of them.
    #[error("{locator}: {source}")]
    Stream {
        /// Where.
        locator: Locator,
        /// What happened.
        #[source]
        source: RecvError,
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
            Self::Stream {
                source: RecvError::Reset(_),
                ..
            } => Processed::No,
            Self::Stream { .. } => Processed::Unknown,
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
            // Whoever asked for the replies knows whether they may be asked for again.
            Self::Stream { .. } => self.processed() == Processed::No,
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

/// Why a stream of replies has ended before its end. What was handed on before stays: each reply once and in order, as far as the service
/// honours the position.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContinuedError {
    /// The service ended it with a failure, which is an answer: no other node was asked.
    #[error("{locator} ended the stream of replies: {failure}")]
    Failed {
        /// The node that did.
        locator: Locator,
        /// What it says.
        failure: Failure,
    },
    /// The time for the whole was over before the replies were.
    #[error("the caller's deadline passed before the stream of replies had ended")]
    DeadlineExceeded,
    /// It broke off, and as many further attempts as the routing allows brought nothing new.
    #[error("the stream of replies broke off, and {retries} further attempts brought nothing new: {last}")]
    NoProgress {
        /// How many there were.
        retries: u32,
        /// What came of the last.
        #[source]
        last: RoutedError,
    },
    /// It broke off while so many messages failed that the budget had no retry for it, for as long as it may wait.
    #[error("the stream of replies broke off, and there is no budget to go on elsewhere: {last}")]
    OverBudget {
        /// Why it broke off.
        #[source]
        last: RoutedError,
    },
    /// There was nowhere to open it, at first or for what was left of it.
    #[error("there is nowhere to open the stream of replies: {0}")]
    NotOpened(#[source] RoutedError),
}

fn is_passing(refusal: &valkyrie_endpoint::Refusal) -> bool {
    use valkyrie_endpoint::Refusal as R;
    matches!(refusal, R::Draining | R::Closed | R::Blocked | R::NoExchange)
}
