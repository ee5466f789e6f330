//! A listener out of file descriptors goes on listening. A test program of its own, because the limit is the process's.
#![cfg(unix)]

use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use valkyrie_transport::{Action, Transport, TransportError, accept};
use valkyrie_transport_ws::WsTransport;

#[tokio::test]
async fn a_shortage_of_descriptors_is_told_waited_out_and_survived() {
    let transport = WsTransport::new();
    let locator = "ws://127.0.0.1:0/".parse().unwrap();
    let mut listener = transport.listen(&locator).await.unwrap();
    let locator = listener.locator().clone();
    let address: SocketAddr = locator.rest().trim_end_matches('/').parse().unwrap();
    // The peer's descriptor is opened while there are some; connecting takes none.
    let mut peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();

    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let dialled = transport.dial(&locator).await.err();
    assert!(
        matches!(
            dialled,
            Some(TransportError::Exhausted {
                action: Action::Dial,
                ..
            })
        ),
        "{dialled:?}"
    );
    peer.connect(&address.into()).unwrap();
    let mut polls = 0;
    for _ in 0..3 {
        let told = poll_fn(|cx| {
            polls += 1;
            listener.poll_accept(cx)
        });
        let told = told.await.err();
        assert!(
            matches!(
                told,
                Some(TransportError::Exhausted {
                    action: Action::Accept,
                    ..
                })
            ),
            "{told:?}"
        );
    }
    assert!(polls <= 12, "the listener spins: {polls} polls for 3 reports");

    drop(hoard);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: valkyrie.v2\r\n\r\n";
    peer.write_all(request.as_bytes()).unwrap();
    assert!(
        accept(&mut *listener).await.is_ok(),
        "the peer that waited was not accepted"
    );
}
