//! No wake-up is lost, however many tasks share a connection.

use std::time::Duration;

use bytes::Bytes;
use valkyrie_endpoint::{Config, Method, Services};

use crate::support::{Pair, echo};

/// Every lost wake-up ends in a hang, which the time limit turns into a failure.
async fn finishes<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .expect("a wake-up was lost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_among_many_callers() {
    let pair = Pair::new(echo()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_u32 {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            let echo = Method::new("echo", "echo").unwrap();
            for number in 0..157_u32 {
                // Small and large, so that pushers write by themselves, in batches and against a full pipe.
                let bytes = if number.is_multiple_of(13) { 70_000 } else { 64 };
                let mut payload = vec![task as u8; bytes];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let payload = Bytes::from(payload);
                assert_eq!(connection.call(&echo, payload.clone()).await.unwrap(), payload);
            }
        });
    }
    finishes(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
    assert_eq!(pair.connection.stats().outstanding, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_when_one_caller_is_alone_on_the_wire() {
    let pair = Pair::new(echo()).await;
    let echo = Method::new("echo", "echo").unwrap();
    finishes(async {
        for number in 0..5000_u32 {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            assert_eq!(
                pair.connection.call(&echo, payload.clone()).await.unwrap(),
                payload
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_with_calls_cancelled_all_the_time() {
    let services = Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .unary("slow", "echo", |_, payload| async move {
            tokio::task::yield_now().await;
            Ok(payload)
        })
        .build()
        .unwrap();
    let mut config = Config::default();
    config.limits.max_exchanges = 8;
    config.budgets.cancels = u32::MAX;
    let pair = Pair::with(services, Services::default(), config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32_u32 {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            for number in 0..200_u32 {
                let method = if (task + number).is_multiple_of(2) {
                    "echo"
                } else {
                    "slow"
                };
                let call = connection.call((method, "echo"), "payload");
                if number.is_multiple_of(5) {
                    tokio::select! { biased; _ = call => {}, () = tokio::task::yield_now() => {} }
                } else {
                    assert_eq!(call.await.unwrap(), "payload");
                }
            }
        });
    }
    finishes(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_among_many_streams() {
    let services = Services::builder()
        .stream("echo", "stream", |_, mut send, mut recv| async move {
            while let Some(message) = recv.recv().await? {
                send.send(message).await?;
            }
            Ok(())
        })
        .build()
        .unwrap();
    let pair = Pair::new(services).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_usize {
        let connection = pair.connection.clone();
        tasks.spawn(async move {
            let (mut send, mut recv) = connection.open(("echo", "stream")).await.unwrap();
            let sending = tokio::spawn(async move {
                for number in 0..500_usize {
                    send.send(Bytes::from(vec![task as u8; 1 + (number * 97) % 5000]))
                        .await
                        .unwrap();
                }
                send.finish();
            });
            let mut count = 0;
            while let Some(message) = recv.recv().await.unwrap() {
                assert_eq!(message.payload.len(), 1 + (count * 97) % 5000);
                count += 1;
            }
            assert_eq!(count, 500);
            sending.await.unwrap();
        });
    }
    finishes(async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    })
    .await;
}
