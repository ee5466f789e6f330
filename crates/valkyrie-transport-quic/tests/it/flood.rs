//! Many handshakes at once: newcomers prove their address, and then some are turned away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use valkyrie_transport::{Transport, TransportError, accept};
use valkyrie_transport_quic::{HANDSHAKES_MAX, QuicTransport, RETRY_ABOVE};

use crate::support::ends::{PATIENCE, address, at, listen};
use crate::support::relay::{Relay, Way, is_retry};

/// A dial that begins a handshake and never ends it: what the acceptor says does not arrive, but for Retry.
async fn stuck(acceptor: SocketAddr) -> (Relay, JoinHandle<()>) {
    let relay = Relay::start(acceptor, |way, datagram| {
        way == Way::ToAcceptor || is_retry(datagram)
    })
    .await;
    let place = at(relay.address());
    let dialling = tokio::spawn(async move {
        let transport = QuicTransport::new().with_connect_timeout(PATIENCE);
        let _ = transport.dial(&place).await;
    });
    (relay, dialling)
}

#[tokio::test]
async fn a_newcomer_among_many_handshakes_proves_its_address_and_is_served() {
    let transport = QuicTransport::new().with_connect_timeout(PATIENCE);
    let mut listener = listen(&transport).await;
    let acceptor = address(listener.locator());
    let deadline = Instant::now() + PATIENCE;
    let mut crowd = Vec::new();
    let _newcomer = loop {
        assert!(Instant::now() < deadline, "nobody was asked to prove an address");
        // Handshakes are given up after a while, so the crowd is renewed until the newcomer meets it.
        for _ in 0..RETRY_ABOVE + 4 {
            crowd.push(stuck(acceptor).await);
        }
        let retries = Arc::new(AtomicUsize::new(0));
        let relay = {
            let retries = Arc::clone(&retries);
            Relay::start(acceptor, move |way, datagram| {
                if way == Way::ToDialler && is_retry(datagram) {
                    retries.fetch_add(1, Ordering::SeqCst);
                }
                true
            })
            .await
        };
        let dialled = transport.dial(&at(relay.address())).await;
        assert!(dialled.is_ok(), "{:?}", dialled.err());
        if retries.load(Ordering::SeqCst) > 0 {
            break (dialled, relay);
        }
    };
    // The acceptor hands the newcomer out, beside reports about the crowd.
    while accept(&mut *listener).await.is_err() {
        assert!(Instant::now() < deadline, "the newcomer was not handed out");
    }
    for (_, dialling) in crowd {
        dialling.abort();
    }
}

#[tokio::test]
async fn a_newcomer_beyond_the_bound_is_told_that_the_listener_is_busy() {
    let listener = listen(&QuicTransport::new()).await;
    let acceptor = address(listener.locator());
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut crowd = Vec::new();
    let mut busy = false;
    while !busy {
        assert!(Instant::now() < deadline, "there is no bound on handshakes");
        for _ in 0..HANDSHAKES_MAX / 4 {
            crowd.push(stuck(acceptor).await);
        }
        // Only a verdict about this moment counts; a newcomer that is served has met too small a crowd.
        let transport = QuicTransport::new().with_connect_timeout(Duration::from_secs(10));
        match transport.dial(listener.locator()).await {
            Err(TransportError::Busy { .. }) => busy = true,
            Err(TransportError::TimedOut { .. }) | Ok(_) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    for (_, dialling) in crowd {
        dialling.abort();
    }
}
