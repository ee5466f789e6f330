//! Dropping a call reaches its handler, and its slot is free when the handler has stopped.

use bytes::Bytes;
use tokio::sync::mpsc;
use valkyrie_endpoint::{Config, Services};

use crate::support::{Pair, echo, text, within};

/// Says when it is dropped.
struct Tell(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[tokio::test]
async fn dropping_a_call_drops_its_handler() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let services = Services::builder()
        .unary("long", "job", move |_, _| {
            let tell = tell.clone();
            async move {
                tell.send("started").unwrap();
                let _dropped = Tell(tell, "dropped");
                std::future::pending().await
            }
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let connection = pair.connection.clone();
    let call = tokio::spawn(async move { connection.call(("long", "job"), "").await });
    assert_eq!(within(told.recv()).await, Some("started"));
    call.abort();
    assert_eq!(within(told.recv()).await, Some("dropped"));
    // The exchange is free again once the peer has answered.
    within(async {
        while pair.connection.stats().outstanding > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_handlers_own_calls_are_cancelled_with_it() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = Services::builder()
        .unary("outer", "job", |context, _| async move {
            Ok(context.connection().call(("inner", "job"), "").await?)
        })
        .build()
        .unwrap();
    let client = Services::builder()
        .unary("inner", "job", move |_, _| {
            let tell = tell.clone();
            async move {
                tell.send("started").unwrap();
                let _dropped = Tell(tell, "dropped");
                std::future::pending().await
            }
        })
        .build()
        .unwrap();
    let pair = Pair::with(server, client, Config::default()).await;
    let connection = pair.connection.clone();
    let call = tokio::spawn(async move { connection.call(("outer", "job"), "").await });
    assert_eq!(within(told.recv()).await, Some("started"));
    call.abort();
    assert_eq!(within(told.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn a_shielded_handler_cleans_up_and_holds_its_slot_until_it_has() {
    let mut config = Config::default();
    config.limits.max_exchanges = 1;
    let (tell, mut told) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let services = Services::builder()
        .unary("careful", "job", move |context, _| {
            let (tell, mut gone) = (tell.clone(), gone.clone());
            async move {
                context.shield();
                tell.send("started").unwrap();
                context.cancelled().await;
                tell.send("cleaning").unwrap();
                gone.wait_for(|gone| *gone).await.unwrap();
                tell.send("clean").unwrap();
                Ok(Bytes::new())
            }
        })
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap();
    let pair = Pair::with(services, Services::default(), config).await;
    let connection = pair.connection.clone();
    let call = tokio::spawn(async move { connection.call(("careful", "job"), "").await });
    assert_eq!(within(told.recv()).await, Some("started"));
    call.abort();
    assert_eq!(within(told.recv()).await, Some("cleaning"));
    // The only exchange is still taken: a second call waits for it.
    let connection = pair.connection.clone();
    let second = tokio::spawn(async move { connection.call(("echo", "echo"), "second").await });
    within(pair.connection.ping()).await.unwrap();
    assert!(!second.is_finished());
    go.send(true).unwrap();
    assert_eq!(within(told.recv()).await, Some("clean"));
    assert_eq!(within(second).await.unwrap().unwrap(), "second");
}

#[tokio::test]
async fn closing_the_connection_stops_its_handlers() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let services = Services::builder()
        .unary("long", "job", {
            let tell = tell.clone();
            move |_, _| {
                let tell = tell.clone();
                async move {
                    tell.send("started").unwrap();
                    let _dropped = Tell(tell, "dropped");
                    std::future::pending().await
                }
            }
        })
        .stream("long", "stream", move |_, _send, _recv| {
            let tell = tell.clone();
            async move {
                tell.send("started").unwrap();
                let _dropped = Tell(tell, "dropped");
                std::future::pending().await
            }
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let connection = pair.connection.clone();
    let call = tokio::spawn(async move { connection.call(("long", "job"), "").await });
    let _stream = within(pair.connection.open(("long", "stream"))).await.unwrap();
    assert_eq!(within(told.recv()).await, Some("started"));
    assert_eq!(within(told.recv()).await, Some("started"));
    pair.connection.close();
    assert_eq!(within(told.recv()).await, Some("dropped"));
    assert_eq!(within(told.recv()).await, Some("dropped"));
    assert!(within(call).await.unwrap().is_err());
}

#[tokio::test]
async fn a_reset_stream_stops_a_handler_that_waits_for_something_else() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let services = Services::builder()
        .stream("long", "stream", move |_, _send, _recv| {
            let tell = tell.clone();
            async move {
                tell.send("started").unwrap();
                let _dropped = Tell(tell, "dropped");
                std::future::pending().await
            }
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let (mut send, recv) = within(pair.connection.open(("long", "stream"))).await.unwrap();
    send.send(text("unread")).await.unwrap();
    assert_eq!(within(told.recv()).await, Some("started"));
    drop((send, recv));
    assert_eq!(within(told.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn a_context_that_outlives_its_handler_learns_that_it_is_over() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let services = Services::builder()
        .unary("quick", "job", move |context, payload| {
            let tell = tell.clone();
            async move {
                tokio::spawn(async move {
                    context.cancelled().await;
                    tell.send("over").unwrap();
                });
                Ok(payload)
            }
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    within(pair.connection.call(("quick", "job"), "")).await.unwrap();
    assert_eq!(within(told.recv()).await, Some("over"));
}

#[tokio::test]
async fn a_call_dropped_before_it_is_polled_sends_nothing() {
    let pair = Pair::new(echo()).await;
    drop(pair.connection.call(("echo", "echo"), "x"));
    assert_eq!(pair.connection.stats().outstanding, 0);
}
