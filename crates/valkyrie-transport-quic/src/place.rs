//! Who in this process listens where, and sockets that outlive their listener.
//!
//! A QUIC listener and the links it handed out share one socket. A listener that is dropped leaves its links alone, so
//! its socket lives on, and the system does not let its address be bound again. Whoever listens there next is given
//! that socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::accept::Desk;

/// The sockets of this process that were made to listen, by their address. As many as there are sockets.
static PLACES: LazyLock<Mutex<HashMap<SocketAddr, Place>>> = LazyLock::new(Mutex::default);

struct Place {
    desk: Weak<Desk>,
    closed: watch::Receiver<()>,
}

/// Keeps an address in the table for as long as its socket lives.
#[derive(Debug)]
pub(crate) struct Claim {
    address: SocketAddr,
    /// Dropped with the claim, which is what those who wait see.
    _closed: watch::Sender<()>,
}

/// What this process has at an address.
pub(crate) enum Found {
    /// Nothing. The system may know of somebody else.
    Nothing,
    /// A socket with or without a listener.
    Desk(Arc<Desk>),
    /// A socket that is about to be closed. Waiting ends, with an error, when it is.
    Closing(watch::Receiver<()>),
}

/// What is at `address`.
pub(crate) fn find(address: SocketAddr) -> Found {
    match lock().get(&address) {
        None => Found::Nothing,
        Some(place) => match place.desk.upgrade() {
            Some(desk) => Found::Desk(desk),
            None => Found::Closing(place.closed.clone()),
        },
    }
}

/// Puts a socket that was just bound into the table. `Claim` is for the socket to keep, `settle` for the desk to be
/// found by once there is one.
pub(crate) fn claim(address: SocketAddr) -> Claim {
    let (sender, closed) = watch::channel(());
    let place = Place {
        desk: Weak::new(),
        closed,
    };
    lock().insert(address, place);
    Claim {
        address,
        _closed: sender,
    }
}

/// Says whose socket the one at `address` is.
pub(crate) fn settle(address: SocketAddr, desk: &Arc<Desk>) {
    if let Some(place) = lock().get_mut(&address) {
        place.desk = Arc::downgrade(desk);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock().remove(&self.address);
    }
}

fn lock() -> MutexGuard<'static, HashMap<SocketAddr, Place>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}
