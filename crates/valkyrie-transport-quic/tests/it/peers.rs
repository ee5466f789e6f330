//! Peers that are not peers: silent, of another protocol or version, dead.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use valkyrie_transport::{Fault, Lane, Transport, TransportError, accept};
use valkyrie_transport_quic::{ALPN, QuicError, QuicTransport};

use crate::support::ends::{
    PATIENCE, address, at, close, dial_error, listen, locator, pair, raw_client, raw_server, read, write,
};
use crate::support::relay::Relay;

fn quic_error(error: &TransportError) -> QuicError {
    let source = error.source().unwrap();
    let inner = source
        .downcast_ref::<std::io::Error>()
        .unwrap()
        .get_ref()
        .unwrap();
    inner.downcast_ref::<QuicError>().unwrap().clone()
}

#[tokio::test]
async fn both_ends_name_each_other() {
    let (dialled, accepted) = pair(&QuicTransport::new()).await;
    for link in [&dialled, &accepted] {
        assert!(link.peer().starts_with("quic 127.0.0.1:"), "{}", link.peer());
        assert_eq!(link.peer_address(), Some([127, 0, 0, 1].into()));
        let can = link.capabilities();
        assert_eq!(
            (can.lanes, can.secure, can.vectored, can.local),
            (5, true, true, true)
        );
        assert_eq!(can.peer_credentials, None);
    }
    assert!(dialled.channel_binding().is_some());
    assert_eq!(dialled.channel_binding(), accepted.channel_binding());
    let (another, _) = pair(&QuicTransport::new()).await;
    assert_ne!(dialled.channel_binding(), another.channel_binding());
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_millis(300);
    let transport = QuicTransport::new().with_connect_timeout(limit);
    let error = dial_error(&transport, &at(silent.local_addr().unwrap())).await;
    assert!(
        matches!(error, TransportError::TimedOut { after, .. } if after == limit),
        "{error:?}"
    );
    assert_eq!(error.fault(), Fault::Network);
}

#[tokio::test]
async fn a_quic_server_of_another_protocol_is_told_as_one() {
    let server = raw_server(b"h3");
    let place = at(server.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let _ = incoming.await;
        }
    });
    let error = dial_error(&QuicTransport::new(), &place).await;
    assert!(matches!(error, TransportError::Aborted { .. }), "{error:?}");
    assert_eq!(quic_error(&error), QuicError::WrongProtocol);
    assert_eq!(error.fault(), Fault::Peer);
    serving.abort();
}

#[tokio::test]
async fn a_quic_client_of_another_protocol_is_refused_and_the_next_is_served() {
    let transport = QuicTransport::new();
    let mut listener = listen(&transport).await;
    let refused = raw_client(b"h3")
        .connect(address(listener.locator()), "localhost")
        .unwrap()
        .await;
    assert!(refused.is_err());
    let error = timeout(PATIENCE, accept(&mut *listener))
        .await
        .unwrap()
        .err()
        .unwrap();
    assert!(matches!(error, TransportError::Aborted { .. }), "{error:?}");
    assert_eq!(quic_error(&error), QuicError::WrongProtocol);

    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn a_server_of_another_version_is_told_as_one() {
    // A server that answers every first packet with the versions it has: none that anybody has.
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let place = at(server.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut packet = vec![0; 2000];
        loop {
            let (length, from) = server.recv_from(&mut packet).await.unwrap();
            // RFC 9000, section 17.2.1: the ids come back the other way round, behind version 0.
            let dcid_end = 6 + usize::from(packet[5]);
            let scid_end = dcid_end + 1 + usize::from(packet[dcid_end]);
            assert!(scid_end < length);
            let mut answer = vec![0x80, 0, 0, 0, 0];
            answer.extend_from_slice(&packet[dcid_end..scid_end]);
            answer.extend_from_slice(&packet[5..dcid_end]);
            answer.extend_from_slice(&[0x3a, 0x4a, 0x5a, 0x6a]);
            server.send_to(&answer, from).await.unwrap();
        }
    });
    let error = dial_error(&QuicTransport::new(), &place).await;
    assert!(matches!(error, TransportError::Aborted { .. }), "{error:?}");
    assert_eq!(quic_error(&error), QuicError::WrongVersion);
    serving.abort();
}

#[tokio::test]
async fn a_client_of_another_version_is_told_the_one_there_is() {
    let listener = listen(&QuicTransport::new()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address(listener.locator())).await.unwrap();
    // A long header of a version that is reserved to be unknown, padded as a first packet must be.
    let mut packet = vec![0xc0, 0x0a, 0x0a, 0x0a, 0x0a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8];
    packet.extend_from_slice(&[9; 8]);
    packet.resize(1200, 0);
    client.send(&packet).await.unwrap();
    let mut answer = vec![0; 2000];
    let length = timeout(PATIENCE, client.recv(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer[1..5], [0, 0, 0, 0], "no version negotiation");
    let versions = &answer[5 + 1 + 8 + 1 + 8..length];
    assert!(
        versions.chunks(4).any(|version| version == [0, 0, 0, 1]),
        "{versions:?}"
    );
    assert!(
        !versions.chunks(4).any(|version| version[0] == 0xff),
        "drafts are offered: {versions:?}"
    );
}

#[tokio::test]
async fn a_dialler_that_never_opens_its_lanes_is_given_up() {
    let mut listener = listen(&QuicTransport::new()).await;
    let client = raw_client(ALPN);
    let connection = client
        .connect(address(listener.locator()), "localhost")
        .unwrap()
        .await
        .unwrap();
    // One of five, and then nothing.
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    let error = timeout(PATIENCE, accept(&mut *listener))
        .await
        .unwrap()
        .err()
        .unwrap();
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
    timeout(PATIENCE, connection.closed()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_dies_is_found_out_by_whoever_reads_or_writes() {
    let transport = QuicTransport::new().with_idle_timeout(Duration::from_secs(1));
    let mut listener = listen(&transport).await;
    let alive = Arc::new(AtomicBool::new(true));
    let relay = {
        let alive = Arc::clone(&alive);
        Relay::start(address(listener.locator()), move |_, _| {
            alive.load(Ordering::SeqCst)
        })
        .await
    };
    let place = at(relay.address());
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    write(&mut *dialled, Lane(1), b"alive").await.unwrap();
    assert_eq!(read(&mut *accepted, Lane(1), 5).await.unwrap(), "alive");

    alive.store(false, Ordering::SeqCst);
    let reading = timeout(PATIENCE, read(&mut *accepted, Lane(1), 1)).await.unwrap();
    assert_eq!(reading.unwrap_err().kind(), ErrorKind::TimedOut);
    let writing = timeout(PATIENCE, async {
        loop {
            if let Err(error) = write(&mut *dialled, Lane(1), &[0; 4096]).await {
                return error;
            }
        }
    });
    assert_eq!(writing.await.unwrap().kind(), ErrorKind::TimedOut);
    // Closing says the same, as often as it is asked.
    for _ in 0..2 {
        let closing = timeout(PATIENCE, close(&mut *dialled)).await.unwrap();
        assert_eq!(closing.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn keepalive_keeps_an_idle_link() {
    let transport = QuicTransport::new()
        .with_idle_timeout(Duration::from_secs(2))
        .with_keepalive(Some(Duration::from_millis(100)));
    let plain = QuicTransport::new().with_idle_timeout(Duration::from_secs(2));
    let (mut kept, mut other) = pair(&transport).await;
    let (mut idle, _held) = pair(&plain).await;
    // The link that is not kept alive says when long enough was waited.
    let ended = timeout(PATIENCE, read(&mut *idle, Lane(0), 1)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::TimedOut);
    write(&mut *kept, Lane(0), b"still").await.unwrap();
    assert_eq!(read(&mut *other, Lane(0), 5).await.unwrap(), "still");
}

#[tokio::test]
async fn a_locator_that_makes_no_sense_is_the_callers_fault() {
    let transport = QuicTransport::new();
    for text in ["quic://localhost", "quic://:7", "quic://h:70000", "quic://::1:7"] {
        let place = locator(text);
        let listened = transport.listen(&place).await.err().unwrap();
        for error in [dial_error(&transport, &place).await, listened] {
            assert!(matches!(error, TransportError::BadLocator { .. }), "{error:?}");
            assert_eq!(error.fault(), Fault::Caller);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    let error = dial_error(&transport, &locator("quic://127.0.0.1:0")).await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_is_resolved_to_listen_and_to_dial() {
    let transport = QuicTransport::new();
    let mut listener = transport.listen(&locator("quic://localhost:0")).await.unwrap();
    let port = listener.locator().host_port().unwrap().port;
    // Nobody listens at the other of the addresses of the name, if it has two; that is found out and passed over.
    let place = locator(&format!("quic://localhost:{port}"));
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn dialling_starts_from_the_source_address() {
    let source = [127, 0, 0, 2].into();
    let transport = QuicTransport::new().with_source(Some(source));
    let mut listener = listen(&transport).await;
    let place = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    assert!(dialled.is_ok());
    // Where the loopback network is one address, there is no other to dial from.
    assert_eq!(accepted.unwrap().peer_address(), Some(source));
    let error = dial_error(&transport, &locator("quic://[::1]:7")).await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
}
