//! Peers that say the wrong things of themselves, or nothing, when a connection begins.

use std::error::Error;
use std::time::Duration;

use valkyrie_transport::{Listener, Locator, Transport, TransportError, accept};

use super::raw::{Raw, RawListener};
use super::support::{anywhere, device};
use crate::device::Event;
use crate::wire::{Rejection, VERSION};
use crate::{HelloError, RdmaError, RdmaTransport};

async fn listener() -> Option<Box<dyn Listener>> {
    Some(RdmaTransport::new().listen(&anywhere(device()?)).await.unwrap())
}

fn rdma_error(error: &TransportError) -> Option<RdmaError> {
    let source = error.source()?.downcast_ref::<std::io::Error>()?;
    source.get_ref()?.downcast_ref::<RdmaError>().cloned()
}

/// That the listener still does what it is there for.
async fn serves(listener: &mut dyn Listener) {
    let dialled = RdmaTransport::new()
        .dial(&listener.locator().clone())
        .await
        .unwrap();
    let accepted = accept(listener).await.unwrap();
    assert_eq!(dialled.capabilities(), accepted.capabilities());
}

#[tokio::test]
async fn diallers_that_are_no_valkyrie_are_turned_away() {
    let Some(mut listener) = listener().await else {
        return;
    };
    let address = listener.locator().rest().parse().unwrap();
    let good = Raw::before_asking(address).await.prepared.hello();
    let mut version_2 = good.encode();
    version_2[4] = 2;
    let mut no_slots = good.encode();
    no_slots[6..8].fill(0);
    let cases: [(&[u8], Rejection, HelloError); 4] = [
        (b"", Rejection::Malformed, HelloError::NotValkyrie),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            Rejection::Malformed,
            HelloError::NotValkyrie,
        ),
        (
            &version_2,
            Rejection::Version { theirs: VERSION },
            HelloError::Version { theirs: 2 },
        ),
        (&no_slots, Rejection::Malformed, HelloError::Slots { slots: 0 }),
    ];
    for (private, expected, told) in cases {
        let (_raw, answer) = Raw::ask(address, private).await;
        let Event::Rejected { private, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(Rejection::parse(&private), expected);
        let error = accept(&mut *listener).await.err().expect("it was turned away");
        assert!(matches!(error, TransportError::Aborted { .. }), "{error:?}");
        assert_eq!(rdma_error(&error), Some(RdmaError::Hello(told)));
    }
    serves(&mut *listener).await;
}

#[tokio::test]
async fn a_dialler_that_never_completes_holds_up_nobody_and_is_given_up() {
    let Some(mut listener) = listener().await else {
        return;
    };
    let address = listener.locator().rest().parse().unwrap();
    let raw = Raw::before_asking(address).await;
    raw.prepared.id().connect(&raw.prepared.hello().encode()).unwrap();
    // The library answers the acceptor when the event is read, and nobody does.
    serves(&mut *listener).await;
    let error = accept(&mut *listener).await.err().expect("it never completes");
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
    serves(&mut *listener).await;
}

/// Dials a listener of the connection manager alone that treats the request in its own way.
async fn dial(raw: &RawListener) -> TransportError {
    let locator = Locator::new("rdma", &raw.address.to_string()).unwrap();
    let transport = RdmaTransport::new().with_connect_timeout(Duration::from_secs(3));
    transport
        .dial(&locator)
        .await
        .err()
        .expect("that is no Valkyrie peer")
}

#[tokio::test]
async fn acceptors_that_are_no_valkyrie_are_told_apart() {
    let Some(address) = device() else { return };
    let raw = RawListener::bind((address, 0).into()).unwrap();
    let (error, _held) = tokio::join!(dial(&raw), raw.accept_saying(b"SMTP"));
    assert_eq!(
        rdma_error(&error),
        Some(RdmaError::Hello(HelloError::NotValkyrie))
    );
    let (error, _held) = tokio::join!(dial(&raw), raw.accept_saying(b"VKRD\x09"));
    assert_eq!(
        rdma_error(&error),
        Some(RdmaError::Hello(HelloError::Version { theirs: 9 }))
    );
    for (rejection, expected) in [
        (&b"VKRD\x09\x03"[..], RdmaError::DisputedVersion { theirs: 9 }),
        (&Rejection::Malformed.encode()[..], RdmaError::Disputed),
    ] {
        let reject = async {
            let (id, private) = raw.request().await;
            assert!(private.starts_with(b"VKRD"));
            id.reject(rejection).unwrap();
        };
        let (error, ()) = tokio::join!(dial(&raw), reject);
        assert_eq!(rdma_error(&error), Some(expected));
    }
    let reject = async {
        let (id, _) = raw.request().await;
        id.reject(&Rejection::Busy.encode()).unwrap();
    };
    let (error, ()) = tokio::join!(dial(&raw), reject);
    assert!(matches!(error, TransportError::Busy { .. }), "{error:?}");
}

#[tokio::test]
async fn an_acceptor_that_says_nothing_is_given_up() {
    let Some(address) = device() else { return };
    let raw = RawListener::bind((address, 0).into()).unwrap();
    let (error, _held) = tokio::join!(dial(&raw), raw.request());
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
}
