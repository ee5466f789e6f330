//! A process out of file descriptors says so when it dials, and goes on accepting, which takes none. A test program of
//! its own, because the limit is the process's.
#![cfg(target_os = "linux")]

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use valkyrie_transport::{Action, Transport, TransportError, accept};
use valkyrie_transport_quic::QuicTransport;

#[tokio::test]
async fn a_shortage_of_descriptors_is_reported_and_does_not_end_accepting() {
    let transport = QuicTransport::new();
    let mut listener = transport
        .listen(&"quic://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let place = listener.locator().clone();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(64),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(
        error.raw_os_error(),
        Some(24),
        "the limit was not what ended the hoarding"
    );
    let dialled = transport.dial(&place).await;
    assert!(matches!(
        dialled.err(),
        Some(TransportError::Exhausted {
            action: Action::Dial,
            ..
        })
    ));

    // One descriptor for the dialler, and none is left for the acceptor.
    hoard.pop();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    assert!(dialled.is_ok() && accepted.is_ok());
}
