//! Two ends of a link, a raw QUIC peer, and the small things that tests do with them.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Lane, Link, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_quic::{LANES, QuicTransport};

/// How long a condition is waited for. Nothing here takes long; a machine that is busy may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type BoxLink = Box<dyn Link>;

pub(crate) async fn listen(transport: &QuicTransport) -> Box<dyn Listener> {
    transport.listen(&locator("quic://127.0.0.1:0")).await.unwrap()
}

pub(crate) fn locator(text: &str) -> Locator {
    text.parse().unwrap()
}

pub(crate) fn address(locator: &Locator) -> SocketAddr {
    locator.rest().parse().unwrap()
}

pub(crate) fn at(address: SocketAddr) -> Locator {
    locator(&format!("quic://{address}"))
}

/// Dialled, accepted.
pub(crate) async fn pair(transport: &QuicTransport) -> (BoxLink, BoxLink) {
    let mut listener = listen(transport).await;
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    (dialled.unwrap(), accepted.unwrap())
}

pub(crate) async fn dial_error(transport: &QuicTransport, place: &Locator) -> TransportError {
    let dialled = tokio::time::timeout(PATIENCE, transport.dial(place)).await;
    match dialled.unwrap_or_else(|_| panic!("dialling {place} takes for ever")) {
        Ok(_) => panic!("{place} was dialled"),
        Err(error) => error,
    }
}

pub(crate) async fn write(link: &mut dyn Link, lane: Lane, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, lane, &[IoSlice::new(left)])).await?;
        left = &left[count..];
    }
    Ok(())
}

/// Exactly `count` bytes, or fewer when the input ends.
pub(crate) async fn read(link: &mut dyn Link, lane: Lane, count: usize) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    while buf.len() < count && poll_fn(|cx| link.poll_read(cx, lane, &mut buf)).await? > 0 {}
    Ok(buf)
}

pub(crate) async fn close(link: &mut dyn Link) -> io::Result<()> {
    poll_fn(|cx| link.poll_close(cx)).await
}

/// Ends a link in good order: says that no more will come, and waits until the peer has said so too. A side that went
/// earlier might take along what the other still waits for.
pub(crate) async fn part(mut link: BoxLink) {
    close(&mut *link).await.unwrap();
    for lane in (0..LANES).map(Lane) {
        assert!(read(&mut *link, lane, 1).await.unwrap().is_empty());
    }
}

/// Writes until the link takes no more for a while, and says how much it took.
pub(crate) async fn fill(link: &mut dyn Link, lane: Lane) -> usize {
    let mut taken = 0;
    loop {
        let written = poll_fn(|cx| link.poll_write(cx, lane, &[IoSlice::new(&[0; 8192])]));
        match tokio::time::timeout(Duration::from_millis(200), written).await {
            Ok(written) => taken += written.unwrap(),
            Err(_) => return taken,
        }
    }
}

/// Writes until the link takes no more at this moment, and says how much it took.
pub(crate) fn fill_now(link: &mut dyn Link, lane: Lane) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = 0;
    while let Poll::Ready(written) = link.poll_write(&mut cx, lane, &[IoSlice::new(&[0; 8192])]) {
        taken += written.unwrap();
    }
    taken
}

/// Whether a write finds no room at this moment.
pub(crate) fn is_full(link: &mut dyn Link, lane: Lane) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(
        link.poll_write(&mut cx, lane, &[IoSlice::new(b"x")]),
        Poll::Pending
    )
}

/// A QUIC client that is not ours, speaking `alpn`.
pub(crate) fn raw_client(alpn: &[u8]) -> quinn::Endpoint {
    let tls = Roots::Any.client_config(&[alpn]).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut client = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    client.set_default_client_config(config);
    client
}

/// A QUIC server that is not ours, speaking `alpn`.
pub(crate) fn raw_server(alpn: &[u8]) -> quinn::Endpoint {
    let tls = Certificates::self_signed().server_config(&[alpn]).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap()
}
