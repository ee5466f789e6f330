//! What is particular to Unix domain sockets besides their files: credentials, names, full queues, and errors.
#![cfg(unix)]

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::time::timeout;
use valkyrie_transport::{Fault, Locator, PeerCredentials, Transport, TransportError, accept};
use valkyrie_transport_uds::UdsTransport;

fn at(folder: &tempfile::TempDir, name: &str) -> Locator {
    Locator::new("uds", folder.path().join(name).to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn both_ends_know_who_the_other_is() {
    let folder = tempfile::tempdir().unwrap();
    let (transport, place) = (UdsTransport::new(), at(&folder, "v.sock"));
    let mut listener = transport.listen(&place).await.unwrap();
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let us = PeerCredentials {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: Some(std::process::id().try_into().unwrap()),
    };
    for link in [dialled.unwrap(), accepted.unwrap()] {
        assert_eq!(link.capabilities().peer_credentials, Some(us));
        let peer = link.peer();
        assert!(
            peer.contains(place.rest()) && peer.contains(&std::process::id().to_string()),
            "{peer}"
        );
    }
}

#[tokio::test]
async fn nobody_behind_a_file_is_nobody() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("left-behind")).unwrap());
    fs::write(folder.path().join("regular"), "precious").unwrap();
    for name in ["missing", "left-behind", "regular"] {
        let error = UdsTransport::new().dial(&at(&folder, name)).await.err().unwrap();
        assert!(
            matches!(error, TransportError::Refused { .. }),
            "{name}: {error:?}"
        );
        assert_eq!(error.fault(), Fault::Peer);
    }
}

#[tokio::test]
async fn a_locator_that_makes_no_sense_is_the_callers_fault() {
    for text in [
        "uds://relative/path",
        "uds://v.sock",
        "uds:///a/folder/",
        "uds://@",
    ] {
        let locator: Locator = text.parse().unwrap();
        let transport = UdsTransport::new();
        for error in [
            transport.dial(&locator).await.err(),
            transport.listen(&locator).await.err(),
        ] {
            let error = error.unwrap();
            assert!(
                matches!(error, TransportError::Unusable { .. }),
                "{text}: {error:?}"
            );
            assert_eq!(error.fault(), Fault::Caller);
        }
    }
}

/// Fills the queue of a listener that does not accept; gives the links that wait, and the error of the one too many.
async fn fill(
    transport: UdsTransport,
    place: &Locator,
) -> (Vec<Box<dyn valkyrie_transport::Link>>, TransportError) {
    let mut waiting = Vec::new();
    loop {
        match transport.dial(place).await {
            Ok(link) => waiting.push(link),
            Err(error) => return (waiting, error),
        }
        assert!(waiting.len() < 1000, "the queue takes any number of connections");
    }
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_then_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = at(&folder, "v.sock");
    let hurried = UdsTransport::new().with_connect_timeout(Duration::ZERO);
    let mut listener = UdsTransport::new().with_backlog(2).listen(&place).await.unwrap();
    let (waiting, error) = fill(hurried, &place).await;
    assert!(matches!(error, TransportError::Busy { .. }), "{error:?}");
    assert!(error.is_transient());

    // With time, the dial gets in as soon as there is room.
    let transport = UdsTransport::new();
    let mut dial = transport.dial(&place);
    assert!(
        timeout(Duration::ZERO, &mut dial).await.is_err(),
        "there was no room"
    );
    for _ in 0..=waiting.len() / 2 {
        accept(&mut *listener).await.unwrap();
    }
    assert!(dial.await.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_has_no_file_and_no_permissions_and_ends_with_its_listener() {
    let locator: Locator = format!("uds://@valkyrie-name-{}", std::process::id())
        .parse()
        .unwrap();
    let error = UdsTransport::new()
        .with_mode(Some(0o600))
        .listen(&locator)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");

    let listener = UdsTransport::new().listen(&locator).await.unwrap();
    assert_eq!(listener.locator(), &locator);
    assert!(!fs::exists(locator.rest()).unwrap());
    drop(listener);
    assert!(UdsTransport::new().dial(&locator).await.is_err());
    assert!(UdsTransport::new().listen(&locator).await.is_ok());
}
