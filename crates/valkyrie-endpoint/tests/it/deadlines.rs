//! Deadlines hold on both sides and go on into nested calls.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use valkyrie_endpoint::{CallError, Config, ErrorCode, Processed, Services};

use crate::support::{Pair, within};

fn never() -> Services {
    Services::builder()
        .unary("never", "answers", |_, _| std::future::pending())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let pair = Pair::new(never()).await;
    for timeout in [
        Duration::from_millis(20),
        Duration::from_secs(3),
        Duration::from_secs(100),
    ] {
        let begun = Instant::now();
        let call = pair.connection.call(("never", "answers"), "").timeout(timeout);
        let error = call.await.unwrap_err();
        // Whichever side's clock strikes first says so.
        match &error {
            CallError::DeadlineExceeded => {}
            CallError::Failed(failure) => assert_eq!(failure.code, ErrorCode::DEADLINE_EXCEEDED),
            _ => panic!("{error}"),
        }
        assert_eq!(error.processed(), Processed::Unknown);
        let took = begun.elapsed();
        assert!(
            took >= timeout && took < timeout + Duration::from_millis(50),
            "{timeout:?}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_stops_the_handler_and_frees_its_slot() {
    let mut config = Config::default();
    config.limits.max_exchanges = 1;
    let pair = Pair::with(never(), Services::default(), config).await;
    for _ in 0..3 {
        let call = pair
            .connection
            .call(("never", "answers"), "")
            .timeout(Duration::from_millis(100));
        assert!(within(call).await.is_err());
    }
    within(async {
        while pair.connection.stats().outstanding > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_inherits_what_is_left_of_the_deadline() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = Services::builder()
        .unary("outer", "job", |context, _| async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            // Asking for more than is left changes nothing.
            let inner = context
                .connection()
                .call(("inner", "job"), "")
                .timeout(Duration::from_secs(60))
                .await?;
            Ok(inner)
        })
        .build()
        .unwrap();
    let client = Services::builder()
        .unary("inner", "job", move |context, _| {
            tell.send(context.remaining()).unwrap();
            async { Ok(Bytes::new()) }
        })
        .build()
        .unwrap();
    let pair = Pair::with(server, client, Config::default()).await;
    pair.connection
        .call(("outer", "job"), "")
        .timeout(Duration::from_secs(10))
        .await
        .unwrap();
    let left = told
        .recv()
        .await
        .unwrap()
        .expect("the nested call has a deadline");
    assert!(
        left <= Duration::from_secs(6) && left > Duration::from_millis(5900),
        "{left:?}"
    );
    // Outside of handlers nothing is inherited.
    pair.accepted().await.call(("inner", "job"), "").await.unwrap();
    assert_eq!(told.recv().await, Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline() {
    let services = Services::builder()
        .stream("never", "ends", |_, _send, _recv| std::future::pending())
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let begun = Instant::now();
    let open = pair
        .connection
        .open(("never", "ends"))
        .timeout(Duration::from_secs(5));
    let (_send, mut recv) = open.await.unwrap();
    assert!(recv.recv().await.is_err());
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_millis(5050),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_noticed_by_an_idle_connection() {
    // The other side is a listener whose links nobody reads.
    let transport = valkyrie_transport::mem::MemTransport::new();
    let place = "mem://silent".parse().unwrap();
    let mut listener = valkyrie_transport::Transport::listen(&transport, &place)
        .await
        .unwrap();
    let client = valkyrie_endpoint::Endpoint::builder()
        .transport(transport)
        .build()
        .unwrap();
    let begun = Instant::now();
    let dialled = tokio::spawn(async move { client.connect(&place).await });
    let _link = valkyrie_transport::accept(&mut *listener).await.unwrap();
    let error = dialled.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_by_its_keepalive() {
    let pair = Pair::new(never()).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!pair.connection.is_closed());
    within(pair.connection.ping()).await.unwrap();
}
