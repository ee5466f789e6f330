//! Listening and dialling: who gets through, who is refused and how, and what the listener survives.

use std::task::{Context, Poll, Waker};

use tokio::task::JoinSet;

use super::peers::End;
use super::{Harness, Rudeness};
use crate::{Lane, Listener, Locator, TransportError, accept};

/// Peers that close at once, send garbage, reset, or give up while dialling do the listener no harm: it goes on
/// accepting, and a good peer among them is served.
pub async fn accept_loop_survives_anything(harness: Harness) {
    let listener = harness.listen().await;
    let locator = listener.locator().clone();
    let accept_loop = AcceptLoop::spawn(listener);

    let mut rude = JoinSet::new();
    for _ in 0..RUDE_PEERS {
        // Dropped at once, dropped after a few bytes, and dropped with bytes that were never read.
        drop(harness.dial(&locator).await);
        let end = End::new(harness.dial(&locator).await);
        let _ = end.write(Lane::FIRST, b"half a mess").await;
        drop(end);

        // A dial that is given up before it is done.
        let mut given_up = harness.transport.dial(&locator);
        let _ = given_up.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(given_up);

        if let Some(rude_peer) = &harness.rude_peer {
            for how in Rudeness::ALL {
                rude.spawn(rude_peer(locator.clone(), how));
            }
        }
        serve_one(&harness, &locator).await;
    }
    while let Some(done) = rude.join_next().await {
        done.unwrap_or_else(|error| panic!("{error}"));
    }
    serve_one(&harness, &locator).await;
    accept_loop.abort();
}

/// Links that live side by side do not see each other's bytes.
pub async fn links_do_not_mix(harness: Harness) {
    let listener = harness.listen().await;
    let locator = listener.locator().clone();
    let accept_loop = AcceptLoop::spawn(listener);
    let mut ends = Vec::new();
    for _ in 0..LINKS {
        ends.push(End::new(harness.dial(&locator).await));
    }
    // Every link begins the pattern elsewhere, so a byte from another link is a wrong byte.
    for (index, end) in ends.iter().enumerate() {
        end.send_pattern(Lane::FIRST, index * 1000, index * 1000 + 3000, 3000)
            .await;
    }
    for (index, end) in ends.iter().enumerate().rev() {
        end.receive_pattern(Lane::FIRST, index * 1000, index * 1000 + 3000)
            .await;
    }
    accept_loop.abort();
}

/// Dialling where nobody listens is an error that names the locator and is not the caller's fault.
pub async fn dial_to_nobody_is_a_clear_error(harness: Harness) {
    let nobody = &harness.nobody;
    let Err(error) = harness.transport.dial(nobody).await else {
        panic!("somebody listens at {nobody}")
    };
    assert!(
        matches!(error, TransportError::Refused { .. }),
        "dialling nobody gave {error:?}"
    );
    assert_eq!(error.locator(), nobody);
    assert!(
        error.to_string().contains(nobody.as_str()),
        "{error:?} does not name {nobody}"
    );
    assert!(error.is_transient(), "somebody may listen later");
}

/// A locator of another scheme is refused, to dial and to listen.
pub async fn foreign_scheme_is_refused(harness: Harness) {
    let foreign = Locator::new("x-foreign", "localhost:1").unwrap_or_else(|error| panic!("{error}"));
    let dialled = harness.transport.dial(&foreign).await.err();
    let listened = harness.transport.listen(&foreign).await.err();
    for error in [dialled, listened] {
        assert!(
            matches!(error, Some(TransportError::UnsupportedScheme { .. })),
            "a foreign scheme gave {error:?}"
        );
    }
}

/// A place is listened on once at a time, and is free again when its listener is dropped.
pub async fn address_in_use_is_refused_until_free(harness: Harness) {
    let listener = harness.listen().await;
    let locator = listener.locator().clone();
    assert_eq!(locator.scheme(), harness.transport.scheme());
    match harness.transport.listen(&locator).await {
        Ok(_) => panic!("{locator} was listened on twice"),
        Err(error) => assert!(
            matches!(error, TransportError::AddressInUse { .. }),
            "gave {error:?}"
        ),
    }
    // The refusal did the first listener no harm.
    let accept_loop = AcceptLoop::spawn(listener);
    serve_one(&harness, &locator).await;
    accept_loop.abort();
    accept_loop.ended().await;

    let again = harness.transport.listen(&locator).await;
    let again = again.unwrap_or_else(|error| panic!("{locator} is not free again: {error}"));
    assert_eq!(again.locator(), &locator);
}

/// Dropping the listener turns new peers away and leaves the links it handed out alone.
pub async fn dropping_the_listener_leaves_accepted_links(harness: Harness) {
    let mut listener = harness.listen().await;
    let locator = listener.locator().clone();
    let (dialled, accepted) = tokio::join!(harness.dial(&locator), accept(&mut *listener));
    let accepted = accepted.unwrap_or_else(|error| panic!("accepting failed: {error}"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        matches!(listener.poll_accept(&mut cx), Poll::Pending),
        "a link came from nowhere"
    );
    drop(listener);
    assert!(
        harness.transport.dial(&locator).await.is_err(),
        "a dropped listener was dialled"
    );

    let (dialled, accepted) = (End::new(dialled), End::new(accepted));
    dialled.send_pattern(Lane::FIRST, 0, 1000, 1000).await;
    accepted.receive_pattern(Lane::FIRST, 0, 1000).await;
    accepted.send_pattern(Lane::FIRST, 0, 1000, 1000).await;
    dialled.receive_pattern(Lane::FIRST, 0, 1000).await;
}

/// Accepts for ever, whatever is reported, and echoes on every link.
struct AcceptLoop(tokio::task::JoinHandle<()>);

impl AcceptLoop {
    fn spawn(mut listener: Box<dyn Listener>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                if let Ok(link) = accept(&mut *listener).await {
                    tokio::spawn(End::new(link).echo(Lane::FIRST));
                }
            }
        }))
    }

    fn abort(&self) {
        self.0.abort();
    }

    async fn ended(self) {
        let _ = self.0.await;
    }
}

async fn serve_one(harness: &Harness, locator: &Locator) {
    let end = End::new(harness.dial(locator).await);
    end.send_pattern(Lane::FIRST, 0, 100, 100).await;
    end.receive_pattern(Lane::FIRST, 0, 100).await;
}

const RUDE_PEERS: usize = 25;
const LINKS: usize = 50;
