//! Messages of 64 bytes in one direction through one redis-server: over a link, over the bus, and over the `redis` crate alone
//! with one message for each PUBLISH. Both sides are in this process, on two threads; the server is a third.
//!
//! `cargo bench -p valkyrie-transport-redis`, with redis-server installed. A batch is 1,024 messages; the library alone gets
//! it as one pipeline.

#[path = "../tests/support/mod.rs"]
mod support;

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redis::aio::SendError;
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use support::Redis;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use valkyrie_transport::{Bus, BusMessage, Lane, MailboxBounds, Transport, accept};
use valkyrie_transport_redis::{RedisBus, RedisTransport};

const MESSAGE: [u8; 64] = [7; 64];
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = BATCH_MESSAGES * MESSAGE.len();

fn one_way(criterion: &mut Criterion) {
    let Some(server) = Redis::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("one_way_64_bytes_through_redis");
    group
        .throughput(Throughput::Elements(BATCH_MESSAGES as u64))
        .measurement_time(Duration::from_secs(5));
    group.bench_function("link", |bencher| {
        bencher.iter_custom(|batches| over_a_link(&runtime, &server, batches));
    });
    group.bench_function("bus", |bencher| {
        bencher.iter_custom(|batches| over_the_bus(&runtime, &server, batches));
    });
    group.bench_function("library", |bencher| {
        bencher.iter_custom(|batches| over_the_library(&runtime, &server, batches));
    });
    group.finish();
}

fn over_a_link(runtime: &Runtime, server: &Redis, batches: u64) -> Duration {
    runtime.block_on(async {
        let transport = RedisTransport::new();
        let at = server.at("bench");
        let mut listener = transport.listen(&at).await.unwrap();
        let (dialled, accepted) = tokio::join!(transport.dial(&at), accept(&mut *listener));
        let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
        let start = Instant::now();
        let writer = tokio::spawn(async move {
            let batch = MESSAGE.repeat(BATCH_MESSAGES);
            for _ in 0..batches {
                let mut left = &batch[..];
                while !left.is_empty() {
                    let write = poll_fn(|cx| dialled.poll_write(cx, Lane::FIRST, &[IoSlice::new(left)]));
                    left = &left[write.await.unwrap()..];
                }
            }
            dialled
        });
        let wanted = batches as usize * BATCH_BYTES;
        let mut read = 0;
        let mut buf = BytesMut::new();
        while read < wanted {
            buf.clear();
            read += poll_fn(|cx| accepted.poll_read(cx, Lane::FIRST, &mut buf))
                .await
                .unwrap();
        }
        let took = start.elapsed();
        drop(writer.await.unwrap());
        took
    })
}

fn over_the_bus(runtime: &Runtime, server: &Redis, batches: u64) -> Duration {
    runtime.block_on(async {
        let bus = RedisBus::connect(&server.at("bench")).await.unwrap();
        // Nothing is to be missed here, however far the publisher gets ahead.
        let bounds = MailboxBounds::default()
            .with_messages(usize::MAX)
            .with_bytes(usize::MAX);
        let bus = bus.with_mailboxes(bounds);
        let mut subscription = bus.subscribe(&["bench".into()]).await.unwrap();
        let start = Instant::now();
        let publisher = tokio::spawn(async move {
            let message = BusMessage {
                topic: "bench".into(),
                payload: Bytes::from_static(&MESSAGE),
            };
            let batch = vec![message; BATCH_MESSAGES];
            for _ in 0..batches {
                bus.publish(&batch).await.unwrap();
            }
        });
        let mut left = batches as usize * BATCH_MESSAGES;
        let mut heard = Vec::new();
        while left > 0 {
            heard.clear();
            left -= poll_fn(|cx| subscription.poll_batch(cx, BATCH_MESSAGES, &mut heard))
                .await
                .unwrap();
        }
        let took = start.elapsed();
        assert_eq!(subscription.missed(), 0);
        publisher.await.unwrap();
        took
    })
}

fn over_the_library(runtime: &Runtime, server: &Redis, batches: u64) -> Duration {
    runtime.block_on(async {
        let place = format!("redis://127.0.0.1:{}/?protocol=resp3", server.port);
        let client = redis::Client::open(place).unwrap();
        let wanted = batches * BATCH_MESSAGES as u64;
        let (heard, all) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let (counts, done) = (Arc::clone(&heard), Arc::clone(&all));
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Message && counts.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
                done.notify_one();
            }
            Ok::<(), SendError>(())
        });
        let mut subscriber = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        subscriber.subscribe("bench").await.unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut publisher = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        let start = Instant::now();
        let publisher = tokio::spawn(async move {
            let mut pipeline = redis::pipe();
            for _ in 0..BATCH_MESSAGES {
                pipeline.cmd("PUBLISH").arg("bench").arg(&MESSAGE[..]).ignore();
            }
            for _ in 0..batches {
                pipeline.exec_async(&mut publisher).await.unwrap();
            }
        });
        all.notified().await;
        let took = start.elapsed();
        publisher.await.unwrap();
        took
    })
}

criterion_group!(benches, one_way);
criterion_main!(benches);
