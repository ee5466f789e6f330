//! Ten connections over one link whose capacity is known.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use valkyrie_endpoint::{AccessPolicy, Class, Config, Connection, Limits, Message, Qos, Services, Shares};

use crate::support::{Pair, within};

/// Bytes per second: 10 Mbit/s.
const RATE: u64 = 1_250_000;

const CONNECTIONS: usize = 10;

/// What has arrived, by class.
type Arrived = Arc<[AtomicU64; Class::COUNT]>;

fn services(arrived: &Arrived) -> Services {
    let (streams, notes) = (Arc::clone(arrived), Arc::clone(arrived));
    Services::builder()
        .stream("load", "take", move |context, _send, mut recv| {
            let streams = Arc::clone(&streams);
            async move {
                while let Some(message) = recv.recv().await? {
                    streams[context.class().index()]
                        .fetch_add(message.payload.len() as u64, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .notify("load", "note", move |context, payload: Bytes| {
            notes[context.class().index()].fetch_add(payload.len() as u64, Ordering::Relaxed);
            async {}
        })
        .build()
        .unwrap()
}

async fn pair(arrived: &Arrived) -> Pair {
    // Windows that are never what holds a class back.
    let limits = Limits {
        window_system: 4 << 20,
        window_job: 4 << 20,
        window_data: 4 << 20,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    Pair::permitting(
        AccessPolicy::allow_all(),
        services(arrived),
        Services::default(),
        config,
    )
    .await
}

/// Sends as fast as it may.
async fn load(connection: Connection, class: Class) {
    let (mut send, _recv) = connection.open(("load", "take")).class(class).await.unwrap();
    loop {
        send.send(Message::data(Bytes::from(vec![0; 4000])))
            .await
            .unwrap();
        if class == Class::Bulk {
            // It never has to wait, and drops what is too much.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn capacity(shares: Shares) -> Qos {
    Qos {
        capacity: NonZeroU64::new(RATE),
        shares: Some(shares),
        ..Qos::default()
    }
}

/// Bytes of each class that have arrived, in thousandths of what the link carries in this time.
async fn parts(arrived: &Arrived, time: Duration) -> [f64; Class::COUNT] {
    let count = || Class::ALL.map(|class| arrived[class.index()].load(Ordering::Relaxed));
    let (before, begun) = (count(), Instant::now());
    tokio::time::sleep(time).await;
    let whole = RATE as f64 * begun.elapsed().as_secs_f64();
    let after = count();
    Class::ALL.map(|class| (after[class.index()] - before[class.index()]) as f64 / whole * 1000.0)
}

#[tokio::test(start_paused = true)]
async fn classes_have_their_shares_over_all_connections_and_critical_goes_at_once() {
    let arrived = Arrived::default();
    let pair = pair(&arrived).await;
    let shares = Shares {
        system: 500,
        job: 600,
        data: 500,
    };
    pair.client.set_qos(capacity(shares)).unwrap();
    let mut senders = tokio::task::JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = pair.client.connect("mem://server").await.unwrap();
        for class in [Class::System, Class::Job, Class::Data, Class::Bulk] {
            senders.spawn(load(connection.clone(), class));
        }
        connections.push(connection);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let found = parts(&arrived, Duration::from_secs(8)).await;
    // The bytes of headers are not among what arrived: half a percent.
    for (class, wanted) in [
        (Class::System, 500.0),
        (Class::Job, 300.0),
        (Class::Data, 100.0),
        (Class::Bulk, 100.0),
    ] {
        let part = found[class.index()];
        assert!(
            (part - wanted).abs() < 30.0,
            "{class}: {part} of {wanted}, all: {found:?}"
        );
    }
    // Nobody else's frame is waited for above the link.
    for connection in &connections {
        let begun = Instant::now();
        let before = arrived[Class::Critical.index()].load(Ordering::Relaxed);
        let note = connection
            .notify(("load", "note"), Bytes::from(vec![0; 100]))
            .class(Class::Critical);
        within(note).await.unwrap();
        while arrived[Class::Critical.index()].load(Ordering::Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            begun.elapsed() < Duration::from_millis(5),
            "{:?}",
            begun.elapsed()
        );
    }
    // Without a capacity what waited goes on at once: it would take longer than a second and does not take any time.
    senders.abort_all();
    while senders.join_next().await.is_some() {}
    let burst = || async {
        let begun = Instant::now();
        let (mut send, mut recv) = connections[0]
            .open(("load", "take"))
            .class(Class::Job)
            .await
            .unwrap();
        for _ in 0..400 {
            send.send(Message::data(Bytes::from(vec![0; 4000])))
                .await
                .unwrap();
        }
        send.finish();
        within(recv.recv()).await.unwrap();
        begun.elapsed()
    };
    let shaped = burst();
    tokio::pin!(shaped);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut shaped).await;
    assert!(early.is_err(), "1.6 MB take longer");
    pair.client.set_qos(Qos::default()).unwrap();
    let took = shaped.await;
    assert!(took < Duration::from_millis(510), "{took:?}");
    assert!(burst().await < Duration::from_millis(10));
    // And holds to it again when there is one.
    pair.client.set_qos(capacity(Shares::default())).unwrap();
    let took = burst().await.as_secs_f64();
    let wanted = 400.0 * 4020.0 / RATE as f64;
    assert!(
        (0.97..1.05).contains(&(took / wanted)),
        "{took} s, wanted {wanted} s"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_connection_leaves_others_have_and_one_that_ends_holds_up_nobody() {
    let arrived = Arrived::default();
    let pair = pair(&arrived).await;
    pair.client.set_qos(capacity(Shares::default())).unwrap();
    let mut senders = tokio::task::JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..3 {
        let connection = pair.client.connect("mem://server").await.unwrap();
        senders.spawn(load(connection.clone(), Class::Job));
        connections.push(connection);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let found = parts(&arrived, Duration::from_secs(3)).await;
    assert!((950.0..1010.0).contains(&found[Class::Job.index()]), "{found:?}");
    senders.abort_all();
    while senders.join_next().await.is_some() {}
    connections.drain(1..).for_each(|connection| connection.close());
    senders.spawn(load(connections[0].clone(), Class::Job));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let found = parts(&arrived, Duration::from_secs(3)).await;
    assert!((950.0..1010.0).contains(&found[Class::Job.index()]), "{found:?}");
}
