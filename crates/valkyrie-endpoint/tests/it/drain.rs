//! A drain lets what runs end and refuses what is new.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use valkyrie_endpoint::{CallError, CloseReason, ConnectError, ListenError, Processed, Services};

use valkyrie_transport::Transport;

use crate::people::until;
use crate::support::{Pair, within};

/// A job that says when it runs and ends when it is told to.
fn jobs() -> (Services, mpsc::UnboundedReceiver<()>, watch::Sender<bool>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (go, gone) = watch::channel(false);
    let services = Services::builder()
        .unary("long", "job", move |_, payload| {
            let (tell, mut gone) = (tell.clone(), gone.clone());
            async move {
                tell.send(()).unwrap();
                gone.wait_for(|gone| *gone).await.unwrap();
                Ok::<Bytes, _>(payload)
            }
        })
        .build()
        .unwrap();
    (services, told, go)
}

#[tokio::test]
async fn a_drain_lets_what_runs_end_and_refuses_what_is_new() {
    let (services, mut told, go) = jobs();
    let pair = Pair::new(services).await;
    let connection = pair.connection.clone();
    let running = tokio::spawn(async move { connection.call(("long", "job"), "done").await });
    within(told.recv()).await.unwrap();
    let server = pair.server.clone();
    let draining = tokio::spawn(async move { server.drain(Duration::from_secs(30)).await });
    within(pair.connection.peer_draining())
        .await
        .expect("the peer says that it drains");
    let error = within(pair.connection.call(("long", "job"), "new"))
        .await
        .unwrap_err();
    assert!(error.is_safe_to_retry(), "{error}");
    assert_eq!(error.processed(), Processed::No);
    assert!(!running.is_finished());
    go.send(true).unwrap();
    assert_eq!(within(running).await.unwrap().unwrap(), "done");
    assert_eq!(
        within(draining).await.unwrap(),
        0,
        "no connection had to be closed"
    );
    let reason = within(pair.connection.closed()).await;
    assert!(reason.is_transient(), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_what_does_not_end_in_time() {
    let (services, mut told, _go) = jobs();
    let pair = Pair::new(services).await;
    let connection = pair.connection.clone();
    let running = tokio::spawn(async move { connection.call(("long", "job"), "").await });
    told.recv().await.unwrap();
    assert_eq!(pair.server.drain(Duration::from_secs(2)).await, 1);
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost(_)), "{error}");
    assert!(matches!(pair.connection.closed().await, CloseReason::Peer(_)));
}

#[tokio::test]
async fn a_drained_endpoint_neither_listens_nor_dials() {
    let (services, _told, _go) = jobs();
    let pair = Pair::new(services).await;
    assert_eq!(within(pair.server.drain(Duration::from_secs(30))).await, 0);
    assert!(matches!(
        pair.server.listen("mem://again").await,
        Err(ListenError::Draining)
    ));
    assert!(matches!(
        pair.server.connect("mem://server").await,
        Err(ConnectError::Draining)
    ));
    assert!(pair.client.connect("mem://server").await.is_err());
}

#[tokio::test]
async fn a_connection_can_be_drained_from_either_side() {
    let (services, _told, _go) = jobs();
    let pair = Pair::new(services).await;
    let reason = within(pair.connection.drain()).await;
    assert_eq!(reason.culprit(), None, "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_handshakes_in_progress() {
    let (services, _told, _go) = jobs();
    let pair = Pair::new(services).await;
    let half_open = || pair.server.security_stats().admission.half_open;
    // It says nothing, for which it is cut off after five seconds.
    let _silent = pair
        .transport
        .dial(&"mem://server".parse().unwrap())
        .await
        .unwrap();
    until(|| half_open() == 1).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(pair.server.drain(Duration::from_secs(60)).await, 0);
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(half_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_handshakes_that_outlast_it() {
    let (services, _told, _go) = jobs();
    let pair = Pair::new(services).await;
    let half_open = || pair.server.security_stats().admission.half_open;
    let _silent = pair
        .transport
        .dial(&"mem://server".parse().unwrap())
        .await
        .unwrap();
    until(|| half_open() == 1).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(
        pair.server.drain(Duration::from_secs(1)).await,
        0,
        "a handshake is no connection"
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until(|| half_open() == 0).await;
}
