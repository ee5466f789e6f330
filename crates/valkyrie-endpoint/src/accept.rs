//! The loop that takes links from a listener. Nothing that a peer or the machine does ends it.

use std::sync::Weak;

use valkyrie_transport::{Listener, TransportError, accept};

use crate::endpoint::Inner;

/// Takes links until the endpoint is gone.
///
/// An error is about one link or a shortage, and the listener itself waits after a shortage. Strangers whose handshakes
/// never end are what a server runs short by, so some of those make way; there is nothing else to do here but to go on.
/// A session that goes wrong is its own driver's business.
pub(crate) async fn accept_all(mut listener: Box<dyn Listener>, endpoint: Weak<Inner>) {
    let mut in_a_row = 0;
    loop {
        let accepted = accept(&mut *listener).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        match accepted {
            Ok(link) => endpoint.arrived(link),
            Err(error) => {
                if let TransportError::Exhausted { .. } = error {
                    endpoint.secure.make_room();
                }
                // A listener that fails over and over must not keep this thread to itself.
                tokio::task::yield_now().await;
            }
        }
        in_a_row += 1;
        if in_a_row == IN_A_ROW_MAX {
            in_a_row = 0;
            tokio::task::yield_now().await;
            // Those that have made way are not gone before their tasks have run, and until then have all that a link takes.
            while endpoint.secure.are_too_many_ending() {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Links that are taken before others have their turn. Each makes a task or two; with more of them at once the threads' queues run over, and
/// what has run over waits behind all that comes after it.
const IN_A_ROW_MAX: u32 = 16;
