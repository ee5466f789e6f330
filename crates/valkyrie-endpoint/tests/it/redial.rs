//! A dialer reconnects, backs off, and says what became of calls under way.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use valkyrie_endpoint::{
    AccessPolicy, CallError, Culprit, DialerError, Endpoint, Processed, Redial, Services, WhileDown,
};
use valkyrie_transport::mem::MemTransport;

use crate::support::{echo, within};

fn endpoint(transport: &MemTransport, services: Services) -> Endpoint {
    Endpoint::builder()
        .transport(transport.clone())
        .services(services)
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dialer_reconnects_and_calls_wait_meanwhile() {
    let transport = MemTransport::new();
    let client = endpoint(&transport, Services::default());
    let redial = Redial {
        while_down: WhileDown::Wait(Duration::from_secs(120)),
        ..Redial::default()
    };
    let dialer = client.dialer("mem://later", redial).unwrap();
    let calling = dialer.clone();
    let call = tokio::spawn(async move { calling.call(("echo", "echo"), "patience").await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!call.is_finished());
    for round in 0..5 {
        let server = endpoint(&transport, echo());
        server.listen("mem://later").await.unwrap();
        let answer = within(dialer.call(("echo", "echo"), Bytes::copy_from_slice(&[round])))
            .await
            .unwrap();
        assert_eq!(answer[..], [round]);
        let connection = dialer.connection().await.unwrap();
        server
            .connections()
            .iter()
            .for_each(valkyrie_endpoint::Connection::close);
        drop(server);
        connection.closed().await;
    }
    assert_eq!(call.await.unwrap().unwrap(), "patience");
}

#[tokio::test(start_paused = true)]
async fn attempts_back_off_up_to_the_bound() {
    let transport = MemTransport::new();
    let client = endpoint(&transport, Services::default());
    let redial = Redial {
        attempts_max: Some(20),
        ..Redial::default()
    };
    let begun = Instant::now();
    let dialer = client.dialer("mem://nowhere", redial.clone()).unwrap();
    let patient = loop {
        match dialer.connection().await {
            Err(DialerError::WaitedTooLong) => {}
            other => break other,
        }
    };
    let Err(DialerError::GaveUp { culprit, text, .. }) = patient else {
        panic!("{patient:?}")
    };
    assert_eq!(culprit, Culprit::Peer);
    assert!(text.contains("mem://nowhere"), "{text}");
    // 19 waits, the first nine of them doubling from 100 ms: at most 51 s and ten times 30 s, half of it on average.
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(30) && took < Duration::from_secs(360),
        "{took:?}"
    );
    let error = dialer.call(("echo", "echo"), "").await.unwrap_err();
    assert!(matches!(
        error,
        CallError::NoConnection(DialerError::GaveUp { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn calls_fail_at_once_if_the_policy_says_so() {
    let transport = MemTransport::new();
    let client = endpoint(&transport, Services::default());
    let redial = Redial {
        while_down: WhileDown::Fail,
        ..Redial::default()
    };
    let dialer = client.dialer("mem://nowhere", redial).unwrap();
    let begun = Instant::now();
    let error = dialer.call(("echo", "echo"), "").await.unwrap_err();
    assert_eq!(error, CallError::NoConnection(DialerError::Down));
    assert_eq!(error.processed(), Processed::No);
    assert!(error.is_safe_to_retry());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_no_longer_than_the_policy_says() {
    let transport = MemTransport::new();
    let client = endpoint(&transport, Services::default());
    let redial = Redial {
        while_down: WhileDown::Wait(Duration::from_secs(2)),
        ..Redial::default()
    };
    let dialer = client.dialer("mem://nowhere", redial).unwrap();
    let begun = Instant::now();
    let error = dialer.call(("echo", "echo"), "").await.unwrap_err();
    assert_eq!(error, CallError::NoConnection(DialerError::WaitedTooLong));
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_millis(2100));
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_at_a_break_fails_and_the_next_one_works() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let services = || {
        let tell = tell.clone();
        Services::builder()
            .unary("never", "answers", move |_, _| {
                tell.send(()).unwrap();
                std::future::pending()
            })
            .unary("echo", "echo", |_, payload| async move { Ok(payload) })
            .build()
            .unwrap()
    };
    let transport = MemTransport::new();
    let server = endpoint(&transport, services());
    server.listen("mem://server").await.unwrap();
    let client = endpoint(&transport, Services::default());
    let dialer = client.dialer("mem://server", Redial::default()).unwrap();
    let calling = dialer.clone();
    let call = tokio::spawn(async move { calling.call(("never", "answers"), "").await });
    told.recv().await.unwrap();
    server
        .connections()
        .iter()
        .for_each(valkyrie_endpoint::Connection::close);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.processed(), Processed::Unknown, "{error}");
    assert_eq!(
        within(dialer.call(("echo", "echo"), "again")).await.unwrap(),
        "again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_draining_peer_is_left_and_dialled_again() {
    let transport = MemTransport::new();
    let server = endpoint(&transport, echo());
    server.listen("mem://server").await.unwrap();
    let client = endpoint(&transport, Services::default());
    let dialer = client.dialer("mem://server", Redial::default()).unwrap();
    let first = dialer.connection().await.unwrap();
    server.connections().pop().unwrap().drain().await;
    let second = dialer.connection().await.unwrap();
    assert_ne!(first.id(), second.id());
    assert_eq!(
        within(dialer.call(("echo", "echo"), "moved")).await.unwrap(),
        "moved"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_of_a_dialer_ends_its_connection() {
    let transport = MemTransport::new();
    let server = endpoint(&transport, echo());
    server.listen("mem://server").await.unwrap();
    let client = endpoint(&transport, Services::default());
    let dialer = client.dialer("mem://server", Redial::default()).unwrap();
    dialer.connection().await.unwrap();
    drop(dialer);
    within(async {
        while !server.connections().is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
}
