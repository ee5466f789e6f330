//! Taking a node out of service without a failed call.

use std::time::Duration;

use valkyrie_endpoint::Endpoint;
use valkyrie_registry::Presence;
use valkyrie_registry::agent::Status;
use valkyrie_registry::store::StoreError;

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leaving {
    /// How long it goes on taking calls after the registry was told that it leaves, so that routers have noticed before the first call
    /// is refused.
    pub notice: Duration,
    /// How long what has begun may take to end.
    pub drain: Duration,
    /// How long it will be away, if it comes back.
    pub back_in: Duration,
}

impl Default for Leaving {
    /// Two seconds, several times what a registry needs to tell everybody; half a minute to end; not to come back.
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            back_in: Duration::ZERO,
        }
    }
}

/// Says in the registry that a node drains, goes on serving while others take notice, then drains it and takes it out of the registry.
/// Says how many connections had to be closed before what they carried had ended.
///
/// A registry that cannot be told does not keep the node: it is given as long as others would be given to notice.
///
/// # Errors
/// [`StoreError`]: the node has drained, and its registration ends with its lease.
pub async fn leave(endpoint: &Endpoint, presence: Presence, leaving: Leaving) -> Result<usize, StoreError> {
    // Whether it was told or not: nothing else is to be done about it.
    let _ = tokio::time::timeout(leaving.notice, presence.say(Status::Draining)).await;
    tokio::time::sleep(leaving.notice).await;
    let closed = endpoint.drain_and_return(leaving.drain, leaving.back_in).await;
    presence.leave().await?;
    Ok(closed)
}
