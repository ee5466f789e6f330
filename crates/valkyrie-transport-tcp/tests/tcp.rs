//! What is particular to TCP: names, ports, families, options, and errors that say what to do.

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::BytesMut;
use valkyrie_transport::{Fault, Lane, Link, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_tcp::TcpTransport;

fn locator(text: &str) -> Locator {
    text.parse().unwrap()
}

async fn dial_error(transport: TcpTransport, text: &str) -> TransportError {
    match transport.dial(&locator(text)).await {
        Ok(_) => panic!("{text} was dialled"),
        Err(error) => error,
    }
}

async fn listen_error(transport: TcpTransport, text: &str) -> TransportError {
    match transport.listen(&locator(text)).await {
        Ok(_) => panic!("{text} was listened on"),
        Err(error) => error,
    }
}

async fn pair(listener: &mut dyn Listener, dialled: &Locator) -> (Box<dyn Link>, Box<dyn Link>) {
    let transport = TcpTransport::new();
    let (dialled, accepted) = tokio::join!(transport.dial(dialled), accept(listener));
    (dialled.unwrap(), accepted.unwrap())
}

async fn carries(from: &mut dyn Link, to: &mut dyn Link) {
    let written = poll_fn(|cx| from.poll_write(cx, Lane::FIRST, &[IoSlice::new(b"hello")])).await;
    assert_eq!(written.unwrap(), 5);
    let mut buf = BytesMut::new();
    poll_fn(|cx| to.poll_read(cx, Lane::FIRST, &mut buf))
        .await
        .unwrap();
    assert_eq!(buf, "hello");
}

#[tokio::test]
async fn a_link_says_the_address_of_its_peer() {
    let transport = TcpTransport::new();
    let mut listener = transport.listen(&locator("tcp://127.0.0.1:0")).await.unwrap();
    let bound = listener.locator().clone();
    let (dialled, accepted) = pair(&mut *listener, &bound).await;
    for link in [dialled, accepted] {
        assert_eq!(link.peer_address(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(link.capabilities().local);
        assert_eq!(link.channel_binding(), None);
    }
}

#[tokio::test]
async fn a_name_is_resolved_to_listen_and_to_dial() {
    let mut listener = TcpTransport::new()
        .listen(&locator("tcp://localhost:0"))
        .await
        .unwrap();
    let port = listener.locator().host_port().unwrap().port;
    assert_ne!(port, 0);
    let (mut here, mut there) = pair(&mut *listener, &locator(&format!("tcp://localhost:{port}"))).await;
    carries(&mut *here, &mut *there).await;
}

#[tokio::test]
async fn both_ends_name_each_other() {
    let mut listener = TcpTransport::new()
        .listen(&locator("tcp://127.0.0.1:0"))
        .await
        .unwrap();
    let bound = listener.locator().clone();
    let (here, there) = pair(&mut *listener, &bound).await;
    assert_eq!(here.peer(), format!("tcp {}", bound.rest()));
    assert!(there.peer().starts_with("tcp 127.0.0.1:"), "{}", there.peer());
    assert!(here.capabilities().vectored);
    assert_eq!(here.capabilities().peer_credentials, None);
}

#[tokio::test]
async fn every_address_of_both_families_is_listened_on_at_once() {
    let Ok(mut listener) = TcpTransport::new().listen(&locator("tcp://[::]:0")).await else {
        // A machine without IPv6 has no `[::]`.
        assert!(std::net::TcpListener::bind("[::]:0").is_err());
        return;
    };
    let port = listener.locator().host_port().unwrap().port;
    for host in ["127.0.0.1", "[::1]"] {
        let (mut here, mut there) = pair(&mut *listener, &locator(&format!("tcp://{host}:{port}"))).await;
        carries(&mut *there, &mut *here).await;
    }
}

#[tokio::test]
async fn dialling_starts_from_the_source_address() {
    let mut listener = TcpTransport::new()
        .listen(&locator("tcp://127.0.0.1:0"))
        .await
        .unwrap();
    let bound = listener.locator().clone();
    let transport = TcpTransport::new().with_source(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let (dialled, accepted) = tokio::join!(transport.dial(&bound), accept(&mut *listener));
    assert!(dialled.is_ok());
    assert!(accepted.unwrap().peer().starts_with("tcp 127.0.0.1:"));

    let error = dial_error(transport, "tcp://[::1]:7").await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_locator_that_makes_no_sense_is_the_callers_fault() {
    for text in ["tcp://localhost", "tcp://:7", "tcp://h:70000", "tcp://::1:7"] {
        for error in [
            dial_error(TcpTransport::new(), text).await,
            listen_error(TcpTransport::new(), text).await,
        ] {
            assert!(matches!(error, TransportError::BadLocator { .. }), "{error:?}");
            assert_eq!(error.fault(), Fault::Caller);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    let error = dial_error(TcpTransport::new(), "tcp://127.0.0.1:0").await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_as_one() {
    // RFC 6761 keeps `.invalid` from ever having an address.
    // A name service that does not answer is waited for, so that it is its own verdict that is seen.
    let transport = TcpTransport::new().with_connect_timeout(Duration::from_secs(120));
    let error = dial_error(transport, "tcp://nobody.invalid:7000").await;
    assert!(matches!(error, TransportError::NameNotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("nobody.invalid"), "{error}");
}

#[tokio::test]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    // RFC 5737 keeps this address for documentation.
    let error = listen_error(TcpTransport::new(), "tcp://192.0.2.1:0").await;
    assert!(
        matches!(error, TransportError::AddressNotAvailable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_dial_ends_when_its_time_is_up() {
    // A backlog that is full leaves a peer's SYN without an answer on Linux.
    let transport = TcpTransport::new().with_connect_timeout(Duration::from_millis(50));
    let listener = TcpTransport::new()
        .with_backlog(0)
        .listen(&locator("tcp://127.0.0.1:0"))
        .await
        .unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        match transport.dial(listener.locator()).await {
            Ok(link) => waiting.push(link),
            Err(error) => break error,
        }
        assert!(
            waiting.len() < 100,
            "a backlog of 0 takes any number of connections"
        );
    };
    assert!(
        matches!(error, TransportError::TimedOut { after, .. } if after == Duration::from_millis(50)),
        "{error:?}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_restarted_server_gets_its_port_back_at_once() {
    let transport = TcpTransport::new();
    let mut listener = transport.listen(&locator("tcp://127.0.0.1:0")).await.unwrap();
    let bound = listener.locator().clone();
    let (mut here, mut there) = pair(&mut *listener, &bound).await;
    carries(&mut *here, &mut *there).await;
    // The server closes first, so its end of the connection lingers in TIME_WAIT on that port.
    drop(there);
    drop(listener);
    drop(here);
    assert_eq!(transport.listen(&bound).await.unwrap().locator(), &bound);
}
