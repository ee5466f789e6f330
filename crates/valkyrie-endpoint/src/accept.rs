//! The loop that takes links from a listener. Nothing that a peer or the machine does ends it.

use std::sync::Weak;

use valkyrie_transport::{Listener, accept};

use crate::endpoint::Inner;

/// Takes links until the endpoint is gone.
///
/// An error is about one link or a passing shortage, and the listener itself waits after a shortage, so there is
/// nothing to do here but to go on. A session that goes wrong is its own driver's business.
pub(crate) async fn accept_all(mut listener: Box<dyn Listener>, endpoint: Weak<Inner>) {
    loop {
        let accepted = accept(&mut *listener).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        match accepted {
            Ok(link) => endpoint.arrived(link),
            // A listener that fails over and over must not keep this thread to itself.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
