//! Taking connections: who is let in, handshakes beside each other, and an end when nothing is left.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, Incoming, ServerConfig};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;
use valkyrie_transport::{Locator, TransportError};

use crate::config::Windows;
use crate::error::QuicError;
use crate::lanes::{close_code, take};
use crate::link::QuicLink;

/// A socket with its listener, or without one and with the links that are left.
#[derive(Debug)]
pub(crate) struct Desk {
    endpoint: Endpoint,
    state: Mutex<State>,
    abandoned: Notify,
}

#[derive(Debug)]
enum State {
    /// A listener takes links.
    Open(Taker),
    /// The listener is gone; newcomers are turned away.
    Abandoned,
    /// The links are gone as well. The socket is about to be closed.
    Over,
}

/// Where links go.
#[derive(Clone, Debug)]
pub(crate) struct Taker {
    pub(crate) links: mpsc::Sender<Result<QuicLink, TransportError>>,
    pub(crate) locator: Locator,
    pub(crate) windows: Windows,
}

/// Why a desk was not given to another listener.
pub(crate) enum NotGiven {
    InUse,
    Over,
}

impl Desk {
    /// Starts taking connections.
    pub(crate) fn open(endpoint: Endpoint, taker: Taker) -> Arc<Self> {
        let desk = Arc::new(Self {
            endpoint,
            state: Mutex::new(State::Open(taker)),
            abandoned: Notify::new(),
        });
        tokio::spawn(serve(Arc::clone(&desk)));
        desk
    }

    /// Gives a socket whose listener is gone to another.
    pub(crate) fn give(&self, config: ServerConfig, taker: Taker) -> Result<(), NotGiven> {
        let mut state = self.lock();
        match *state {
            State::Open(_) => Err(NotGiven::InUse),
            State::Over => Err(NotGiven::Over),
            State::Abandoned => {
                self.endpoint.set_server_config(Some(config));
                *state = State::Open(taker);
                Ok(())
            }
        }
    }

    /// The listener is gone.
    pub(crate) fn abandon(&self) {
        *self.lock() = State::Abandoned;
        self.abandoned.notify_one();
    }

    /// Ready when there is neither a listener nor a link, and then there will not be one again.
    async fn over(&self) {
        loop {
            self.abandoned.notified().await;
            self.endpoint.wait_idle().await;
            let mut state = self.lock();
            if matches!(*state, State::Abandoned) {
                *state = State::Over;
                return;
            }
        }
    }

    fn taker(&self) -> Option<Taker> {
        match &*self.lock() {
            State::Open(taker) => Some(taker.clone()),
            State::Abandoned | State::Over => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections until nothing is left of the desk.
async fn serve(desk: Arc<Desk>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut over = pin!(desk.over());
    loop {
        let incoming = tokio::select! {
            biased;
            incoming = desk.endpoint.accept() => incoming,
            () = &mut over => return,
        };
        let Some(incoming) = incoming else { return };
        admit(&desk, &handshakes, incoming);
    }
}

/// Lets a connection in as far as its handshake, or turns it away.
//= protocol/transports.md#quic
fn admit(desk: &Desk, handshakes: &Arc<Semaphore>, incoming: Incoming) {
    let Some(taker) = desk.taker() else {
        return incoming.refuse();
    };
    let running = HANDSHAKES_MAX - handshakes.available_permits();
    if running >= RETRY_ABOVE && !incoming.remote_address_validated() {
        // Costs one packet and remembers nothing. What may not be retried was validated, and never comes here.
        let _ = incoming.retry();
        return;
    }
    let Ok(handshake) = Arc::clone(handshakes).try_acquire_owned() else {
        return incoming.refuse();
    };
    let Ok(slot) = taker.links.try_reserve_owned() else {
        return incoming.refuse();
    };
    tokio::spawn(async move {
        let shaken = timeout(HANDSHAKE_TIMEOUT, establish(incoming, taker.windows)).await;
        drop(handshake);
        slot.send(match shaken {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(TransportError::Aborted {
                locator: taker.locator,
                source: error.into(),
            }),
            Err(_) => Err(TransportError::TimedOut {
                locator: taker.locator,
                after: HANDSHAKE_TIMEOUT,
            }),
        });
    });
}

async fn establish(incoming: Incoming, windows: Windows) -> Result<QuicLink, QuicError> {
    let connection = incoming.accept()?.await?;
    match take(&connection).await {
        Ok(lanes) => Ok(QuicLink::accepted(connection, lanes, windows)),
        Err(error) => {
            connection.close(close_code::LANES, b"");
            Err(error)
        }
    }
}

/// How many handshakes run at once. A handshake costs about a millisecond of a core, so this many clear within the
/// patience of whoever waits; more are turned away.
pub const HANDSHAKES_MAX: usize = 256;

/// How many handshakes run at once before a newcomer is asked to prove that it receives at its address, which costs it
/// a round trip. Senders with forged addresses can then not take the places of real ones.
pub const RETRY_ABOVE: usize = 32;

/// How long a peer may take from its first packet until its lanes are open: the time that the handshake above gets too.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many links may wait to be accepted. Fleets reconnect all at once after an outage.
pub const WAITING_LINKS_MAX: usize = 1024;

/// How much a peer may send before it was let in or turned away, which happens at once unless this task is starved:
/// the first flight of a handshake with room to spare.
pub(crate) const INCOMING_BYTES_MAX: u64 = 16 * 1024;

/// The same for all such peers together.
pub(crate) const INCOMING_BYTES_TOTAL_MAX: u64 = HANDSHAKES_MAX as u64 * INCOMING_BYTES_MAX;
