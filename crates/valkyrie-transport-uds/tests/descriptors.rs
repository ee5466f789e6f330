//! A process out of file descriptors goes on listening. A test program of its own, because the limit is the process's.
#![cfg(unix)]

use std::fs::File;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use valkyrie_transport::{Action, Locator, Transport, TransportError, accept};
use valkyrie_transport_uds::UdsTransport;

#[tokio::test]
async fn a_shortage_of_descriptors_is_reported_waited_out_and_survived() {
    let transport = UdsTransport::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.sock");
    let place = Locator::new("uds", path.to_str().unwrap()).unwrap();
    let mut listener = transport.listen(&place).await.unwrap();
    // The peer's descriptor is opened while there are some; connecting takes none.
    let peer = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum,
        },
    )
    .unwrap();
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
    let dial = transport.dial(listener.locator()).await;
    assert!(matches!(
        dial.err(),
        Some(TransportError::Exhausted {
            action: Action::Dial,
            ..
        })
    ));
    peer.connect(&SockAddr::unix(&path).unwrap()).unwrap();

    let shortage = accept(&mut *listener).await;
    assert!(matches!(
        shortage.err(),
        Some(TransportError::Exhausted {
            action: Action::Accept,
            ..
        })
    ));

    // A caller that polls in a loop, for as long as three more reports take, is held back each time.
    let (start, mut polls) = (Instant::now(), 0);
    for _ in 0..3 {
        let report = poll_fn(|cx| {
            polls += 1;
            listener.poll_accept(cx)
        });
        assert!(matches!(
            report.await.err(),
            Some(TransportError::Exhausted { .. })
        ));
    }
    assert!(
        start.elapsed() >= Duration::from_millis(250),
        "the listener did not pause"
    );
    assert!(polls <= 12, "the listener spins: {polls} polls for 3 reports");

    drop(hoard);
    assert!(
        accept(&mut *listener).await.is_ok(),
        "the peer that waited was not accepted"
    );
}
