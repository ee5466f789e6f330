//! Calls and notifications: both ways, at once, in order, refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use valkyrie_endpoint::{
    AccessPolicy, BuildError, CallError, Class, Config, ConnectError, Endpoint, ErrorCode, Failure, Method,
    Priority, Processed, Refusal, Services, ServicesError, Shape,
};
use valkyrie_transport::mem::MemTransport;

use crate::support::{Pair, echo, text, within};

#[tokio::test]
async fn a_call_is_answered() {
    let pair = Pair::new(echo()).await;
    let echo = Method::new("echo", "echo").unwrap();
    for size in [0, 1, 1024, 100_000] {
        let payload = Bytes::from(vec![7; size]);
        assert_eq!(
            within(pair.connection.call(&echo, payload.clone()))
                .await
                .unwrap(),
            payload
        );
    }
}

#[tokio::test]
async fn both_sides_call_each_other() {
    let server = Services::builder()
        .unary("sum", "with_yours", |context, payload| async move {
            let theirs = context
                .connection()
                .call(("number", "mine"), Bytes::new())
                .await?;
            Ok(Bytes::from([&payload[..], &theirs[..]].concat()))
        })
        .build()
        .unwrap();
    let client = Services::builder()
        .unary("number", "mine", |_, _| async { Ok(text("client")) })
        .build()
        .unwrap();
    let pair = Pair::with(server, client, Config::default()).await;
    let answer = within(pair.connection.call(("sum", "with_yours"), "server and "))
        .await
        .unwrap();
    assert_eq!(answer, "server and client");
    // And from the side that accepted, out of any handler.
    let accepted = pair.accepted().await;
    assert_eq!(
        within(accepted.call(("number", "mine"), "")).await.unwrap(),
        "client"
    );
}

#[tokio::test]
async fn a_failure_keeps_its_code_text_and_time() {
    let services = Services::builder()
        .unary("shop", "buy", |_, _| async {
            let mut failure = Failure::new(ErrorCode::OVERLOADED, "too many customers");
            failure.retry_after_ms = 250;
            Err::<Bytes, _>(failure)
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let error = within(pair.connection.call(("shop", "buy"), ""))
        .await
        .unwrap_err();
    let CallError::Failed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (failure.code, failure.text.as_str()),
        (ErrorCode::OVERLOADED, "too many customers")
    );
    assert_eq!(error.retry_after_ms(), Some(250));
    assert!(error.is_safe_to_retry());
    assert_eq!(error.processed(), Processed::No);
}

#[tokio::test]
async fn what_nobody_serves_is_not_found_and_the_connection_lives() {
    let pair = Pair::new(echo()).await;
    for method in [("echo", "other"), ("other", "echo")] {
        let error = within(pair.connection.call(method, "")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Failed(failure) if failure.code == ErrorCode::NOT_FOUND),
            "{error}"
        );
    }
    assert_eq!(
        within(pair.connection.call(("echo", "echo"), "x")).await.unwrap(),
        "x"
    );
}

#[tokio::test]
async fn a_call_of_a_method_that_only_takes_notifications_is_refused() {
    let services = Services::builder()
        .notify("log", "line", |_, _| async {})
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let error = within(pair.connection.call(("log", "line"), ""))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("log/line is notify"), "{error}");
}

#[tokio::test]
async fn names_that_cannot_travel_are_the_callers_mistake() {
    let pair = Pair::new(echo()).await;
    let error = within(pair.connection.call(("", "echo"), "")).await.unwrap_err();
    assert!(matches!(error, CallError::Method(_)));
    assert_eq!(error.processed(), Processed::No);
}

#[tokio::test]
async fn class_and_priority_arrive() {
    let services = Services::builder()
        .unary("what", "class", |context, _| async move {
            Ok(Bytes::from(context.class().name()))
        })
        .build()
        .unwrap();
    // The critical class is for those to whom it is given by name.
    let (policy, config) = (AccessPolicy::allow_all(), Config::default());
    let pair = Pair::permitting(policy, services, Services::default(), config).await;
    for class in Class::ALL {
        let call = pair
            .connection
            .call(("what", "class"), "")
            .class(class)
            .priority(class.default_priority());
        assert_eq!(within(call).await.unwrap(), class.name());
    }
    let clamped = pair
        .connection
        .call(("what", "class"), "")
        .priority(Priority::from_byte(255));
    assert_eq!(within(clamped).await.unwrap(), "data");
    assert!(
        pair.connection
            .stats()
            .session
            .class(Class::Data)
            .priority_clamped
            > 0
    );
}

#[tokio::test]
async fn an_idempotency_key_arrives() {
    let services = Services::builder()
        .unary("bank", "pay", |context, _| async move {
            let key = context.extensions().iter().find_map(|extension| match extension {
                valkyrie_frame::Extension::IdempotencyKey(key) => Some(Bytes::copy_from_slice(key)),
                _ => None,
            });
            key.ok_or_else(|| Failure::new(ErrorCode::INVALID_ARGUMENT, "no key"))
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let call = pair.connection.call(("bank", "pay"), "").idempotency_key([9; 16]);
    assert_eq!(within(call).await.unwrap(), &[9; 16][..]);
}

#[tokio::test]
async fn notifications_arrive_in_order_and_give_their_credit_back() {
    const COUNT: u32 = 50_000;
    let (send, mut recv) = mpsc::unbounded_channel();
    let services = Services::builder()
        .notify("log", "line", move |_, payload| {
            let send = send.clone();
            async move { send.send(payload).unwrap() }
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let method = Method::new("log", "line").unwrap();
    let sending = async {
        for number in 0..COUNT {
            let payload = Bytes::from([&number.to_be_bytes()[..], &[0; 200]].concat());
            pair.connection.notify(&method, payload).await.unwrap();
        }
    };
    let receiving = async {
        for number in 0..COUNT {
            assert_eq!(recv.recv().await.unwrap()[..4], number.to_be_bytes());
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test]
async fn a_notification_nobody_takes_is_counted() {
    let pair = Pair::new(echo()).await;
    within(pair.connection.notify(("no", "body"), "x")).await.unwrap();
    within(pair.connection.call(("echo", "echo"), "")).await.unwrap();
    assert_eq!(pair.accepted().await.stats().unrouted, 1);
}

#[tokio::test]
async fn more_calls_than_the_peer_takes_at_once_wait_their_turn() {
    let mut config = Config::default();
    config.limits.max_exchanges = 3;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let services = {
        let most = Arc::clone(&most);
        Services::builder()
            .unary("slow", "echo", move |_, payload| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(payload)
                }
            })
            .build()
            .unwrap()
    };
    let pair = Pair::with(services, Services::default(), config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            assert_eq!(
                connection.call(("slow", "echo"), payload.clone()).await.unwrap(),
                payload
            );
        });
    }
    within(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn waiting_callers_that_give_up_do_not_hold_up_the_rest() {
    let mut config = Config::default();
    config.limits.max_exchanges = 1;
    let pair = Pair::with(echo(), Services::default(), config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100_u32 {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            let call = connection.call(("echo", "echo"), "x");
            if number % 3 == 0 {
                // Polled a few times and dropped.
                tokio::select! { biased; _ = call => {}, () = tokio::task::yield_now() => {} }
            } else {
                assert_eq!(call.await.unwrap(), "x");
            }
        });
    }
    within(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
}

#[tokio::test]
async fn a_ping_measures_the_round_trip() {
    let pair = Pair::new(echo()).await;
    assert!(within(pair.connection.ping()).await.unwrap() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_closed_connection_refuses_calls_that_surely_did_nothing() {
    let pair = Pair::new(echo()).await;
    pair.connection.close();
    let error = within(pair.connection.call(("echo", "echo"), ""))
        .await
        .unwrap_err();
    assert_eq!(error, CallError::NotSent(Refusal::Closed));
    assert_eq!(error.processed(), Processed::No);
    within(pair.connection.closed()).await;
    assert!(pair.client.connections().is_empty());
}

#[tokio::test]
async fn a_call_under_way_when_the_peer_closes_may_have_run() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let services = Services::builder()
        .unary("never", "answers", move |_, _| {
            started.send(()).unwrap();
            std::future::pending()
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let connection = pair.connection.clone();
    let call = tokio::spawn(async move { connection.call(("never", "answers"), "").await });
    within(starts.recv()).await.unwrap();
    pair.accepted().await.close();
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Lost(_)), "{error}");
    assert_eq!(error.processed(), Processed::Unknown);
}

#[tokio::test]
async fn the_last_handle_of_a_dialled_connection_ends_it() {
    let pair = Pair::new(echo()).await;
    let accepted = pair.accepted().await;
    let second = pair.connection.clone();
    let Pair {
        connection,
        server: _server,
        client,
        transport: _transport,
    } = pair;
    drop(connection);
    assert_eq!(
        within(second.call(("echo", "echo"), "still here")).await.unwrap(),
        "still here"
    );
    drop(second);
    within(accepted.closed()).await;
    // The client's driver is on its way out as well.
    within(async {
        while !client.connections().is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn on_connection_is_told_of_every_peer() {
    let transport = MemTransport::new();
    let (send, recv) = oneshot::channel();
    let send = std::sync::Mutex::new(Some(send));
    let server = Endpoint::builder()
        .transport(transport.clone())
        .on_connection(move |connection| {
            if let Some(send) = send.lock().unwrap().take() {
                send.send(connection).unwrap();
            }
        })
        .build()
        .unwrap();
    server.listen("mem://server").await.unwrap();
    let client = Endpoint::builder()
        .transport(transport)
        .services(echo())
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap();
    let _connection = client.connect("mem://server").await.unwrap();
    let accepted = within(recv).await.unwrap();
    assert_eq!(
        within(accepted.call(("echo", "echo"), "back")).await.unwrap(),
        "back"
    );
}

#[tokio::test]
async fn mistakes_in_building_are_named() {
    assert_eq!(Endpoint::builder().build().unwrap_err(), BuildError::NoTransport);
    let mut config = Config::default();
    config.limits.max_exchanges = 0;
    let built = Endpoint::builder()
        .transport(MemTransport::new())
        .config(config)
        .build();
    assert!(matches!(built, Err(BuildError::Config(_))));
    let handler = |_, payload: Bytes| async move { Ok(payload) };
    let twice = Services::builder()
        .unary("a", "b", handler)
        .unary("a", "b", handler)
        .build();
    assert!(matches!(twice, Err(ServicesError::Twice { .. })));
    assert!(matches!(
        Services::builder().unary("", "b", handler).build(),
        Err(ServicesError::Method { .. })
    ));
    let endpoint = Endpoint::builder()
        .transport(MemTransport::new())
        .build()
        .unwrap();
    assert!(matches!(
        endpoint.connect("tcp://localhost:1").await,
        Err(ConnectError::Scheme(_))
    ));
    assert!(matches!(
        endpoint.connect("nonsense").await,
        Err(ConnectError::Locator(_))
    ));
}

#[test]
fn services_say_what_they_serve() {
    let services = Services::builder()
        .unary("a", "call", |_, payload| async move { Ok(payload) })
        .notify("a", "tell", |_, _| async {})
        .stream("b", "flow", |_, _, _| async { Ok(()) })
        .build()
        .unwrap();
    assert_eq!(
        services.routes().collect::<Vec<_>>(),
        [
            ("a", "call", Shape::Unary),
            ("a", "tell", Shape::Notify),
            ("b", "flow", Shape::Stream)
        ]
    );
}
