//! Listeners and the sockets they share with their links.

use std::net::UdpSocket;

use valkyrie_transport::{Lane, Transport, TransportError, accept};
use valkyrie_transport_quic::QuicTransport;

use crate::support::ends::{address, dial_error, listen, locator, read, write};

#[tokio::test]
async fn a_new_listener_takes_the_socket_that_links_of_the_last_one_still_use() {
    let transport = QuicTransport::new();
    let mut listener = listen(&transport).await;
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    drop(listener);
    let error = dial_error(&transport, &place).await;
    assert!(matches!(error, TransportError::Busy { .. }), "{error:?}");

    let mut listener = transport.listen(&place).await.unwrap();
    assert_eq!(listener.locator(), &place);
    let (another, taken) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (mut another, mut taken) = (another.unwrap(), taken.unwrap());
    for (from, to) in [(&mut dialled, &mut accepted), (&mut another, &mut taken)] {
        write(&mut **from, Lane(1), b"hello").await.unwrap();
        assert_eq!(read(&mut **to, Lane(1), 5).await.unwrap(), "hello");
    }
    let twice = transport.listen(&place).await.err();
    assert!(
        matches!(twice, Some(TransportError::AddressInUse { .. })),
        "{twice:?}"
    );
}

#[tokio::test]
async fn a_socket_is_closed_when_its_listener_and_its_links_are_gone() {
    let transport = QuicTransport::new();
    let mut listener = listen(&transport).await;
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let links = (dialled.unwrap(), accepted.unwrap());
    drop(listener);
    assert!(
        UdpSocket::bind(address(&place)).is_err(),
        "the links lost their socket"
    );
    drop(links);
    // Nobody says when a connection was forgotten, so the system is asked until it is.
    let deadline = std::time::Instant::now() + crate::support::ends::PATIENCE;
    while let Err(error) = UdpSocket::bind(address(&place)) {
        assert!(
            std::time::Instant::now() < deadline,
            "the socket is still open: {error}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn somebody_elses_socket_is_not_taken() {
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = locator(&format!("quic://{}", theirs.local_addr().unwrap()));
    let error = QuicTransport::new().listen(&place).await.err();
    assert!(
        matches!(error, Some(TransportError::AddressInUse { .. })),
        "{error:?}"
    );
    drop(theirs);
    assert!(QuicTransport::new().listen(&place).await.is_ok());
}

#[tokio::test]
async fn every_address_of_both_families_is_listened_on_at_once() {
    let transport = QuicTransport::new();
    let Ok(mut listener) = transport.listen(&locator("quic://[::]:0")).await else {
        // A machine without IPv6 has no `[::]`.
        assert!(UdpSocket::bind("[::]:0").is_err());
        return;
    };
    let port = listener.locator().host_port().unwrap().port;
    for host in ["127.0.0.1", "[::1]"] {
        let place = locator(&format!("quic://{host}:{port}"));
        let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
        let (_dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        let peer = accepted.peer();
        assert!(peer.starts_with(&format!("quic {host}:")), "{peer}");
    }
}

#[tokio::test]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    // RFC 5737 keeps this address for documentation.
    let error = QuicTransport::new()
        .listen(&locator("quic://192.0.2.1:0"))
        .await
        .err();
    assert!(
        matches!(error, Some(TransportError::AddressNotAvailable { .. })),
        "{error:?}"
    );
}
