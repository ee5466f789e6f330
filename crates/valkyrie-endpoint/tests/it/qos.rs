//! A quality of service that is replaced while connections live, and what happens under overload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use valkyrie_endpoint::{
    AccessPolicy, AdmissionLimits, CallError, Class, Config, ConfigError, Connection, CriticalRate, Endpoint,
    ErrorCode, LimitChanges, Message, Qos, QosRefused, Services, Shares,
};
use valkyrie_transport::mem::MemTransport;

use crate::support::{Pair, echo, text, within};

/// Everybody may use every class.
async fn pair(services: Services, config: Config) -> Pair {
    Pair::permitting(AccessPolicy::allow_all(), services, Services::default(), config).await
}

fn number(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

#[tokio::test]
async fn a_live_session_and_one_that_begins_later_have_the_new_policy() {
    let (heard, mut hears) = unbounded_channel();
    let services = Services::builder()
        .notify("log", "line", move |_, payload: Bytes| {
            let _ = heard.send(payload);
            async {}
        })
        .build()
        .unwrap();
    let mut config = Config::default();
    // The burst, and then one message in minutes.
    config.policy.critical = CriticalRate {
        bytes_per_second: 1,
        burst: 1024,
    };
    let pair = pair(services, config).await;
    let tell = async |connection: &Connection| {
        for n in 0..50 {
            let payload = [&number(n)[..], &[0; 100]].concat();
            let sent = connection.notify(("log", "line"), payload).class(Class::Critical);
            within(sent).await.unwrap();
        }
    };
    tell(&pair.connection).await;
    for n in 0..5 {
        assert_eq!(within(hears.recv()).await.unwrap().get_u64(), n);
    }
    let faster = Qos {
        critical: Some(CriticalRate {
            bytes_per_second: 10 << 20,
            burst: 1 << 20,
        }),
        ..Qos::default()
    };
    assert_eq!(pair.client.set_qos(faster.clone()), Ok(2));
    assert_eq!(*pair.client.qos(), faster);
    for n in 5..50 {
        assert_eq!(
            within(hears.recv()).await.unwrap().get_u64(),
            n,
            "none is lost, and all in order"
        );
    }
    let later = pair.client.connect("mem://server").await.unwrap();
    tell(&later).await;
    for n in 0..50 {
        assert_eq!(within(hears.recv()).await.unwrap().get_u64(), n);
    }
}

#[tokio::test]
async fn limits_hold_for_connections_that_begin_later() {
    let pair = Pair::new(echo()).await;
    let before = pair.connection.peer_settings().unwrap().max_exchanges;
    let limits = LimitChanges {
        max_exchanges: Some(7),
        max_streams: Some(3),
        ..LimitChanges::default()
    };
    let qos = Qos {
        limits,
        ..Qos::default()
    };
    pair.server.set_qos(qos).unwrap();
    let later = pair.client.connect("mem://server").await.unwrap();
    let settings = later.peer_settings().unwrap();
    assert_eq!((settings.max_exchanges, settings.max_streams), (7, 3));
    assert_eq!(pair.connection.peer_settings().unwrap().max_exchanges, before);
    pair.server.set_qos(Qos::default()).unwrap();
    let last = pair.client.connect("mem://server").await.unwrap();
    assert_eq!(
        last.peer_settings().unwrap().max_exchanges,
        before,
        "as it was built"
    );
}

#[tokio::test]
async fn what_cannot_work_is_refused_and_what_was_in_force_stays() {
    let pair = Pair::new(echo()).await;
    let good = Qos {
        admission: Some(AdmissionLimits::new(10)),
        ..Qos::default()
    };
    pair.server.set_qos(good.clone()).unwrap();
    let shares = Shares {
        job: 1000,
        ..Shares::default()
    };
    let starving = Qos {
        shares: Some(shares),
        ..Qos::default()
    };
    assert_eq!(
        pair.server.set_qos(starving),
        Err(QosRefused::Config(ConfigError::Share(1000)))
    );
    let nobody = Qos {
        admission: Some(AdmissionLimits::new(0)),
        ..Qos::default()
    };
    assert!(matches!(
        pair.server.set_qos(nobody.clone()),
        Err(QosRefused::Admission(_))
    ));
    assert_eq!((*pair.server.qos()).clone(), good);
    assert_eq!(pair.server.qos_stats().version, 2);
    let built = Endpoint::builder()
        .transport(MemTransport::new())
        .qos(nobody)
        .build();
    assert!(built.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_while_the_policy_changes_again_and_again() {
    const MESSAGES: u64 = 20_000;
    let services = Services::builder()
        .stream("numbers", "sum", |_, mut send, mut recv| async move {
            let mut next = 0;
            while let Some(mut message) = recv.recv().await? {
                assert_eq!(message.payload.get_u64(), next);
                next += 1;
            }
            send.send(Message::data(number(next))).await?;
            Ok(())
        })
        .build()
        .unwrap();
    let pair = pair(services, Config::default()).await;
    let mut streams = tokio::task::JoinSet::new();
    for class in [Class::System, Class::Job, Class::Data] {
        let connection = pair.connection.clone();
        streams.spawn(async move {
            let opened = connection.open(("numbers", "sum")).class(class).await;
            let (mut send, mut recv) = opened.unwrap();
            for n in 0..MESSAGES {
                send.send(Message::data(number(n))).await.unwrap();
            }
            send.finish();
            recv.recv().await.unwrap().unwrap().payload.get_u64()
        });
    }
    let mut share = 1;
    let all = async {
        while let Some(count) = streams.join_next().await {
            assert_eq!(count.unwrap(), MESSAGES);
        }
    };
    tokio::pin!(all);
    loop {
        tokio::select! {
            biased;
            () = within(&mut all) => break,
            () = tokio::task::yield_now() => {
                share = share * 7 % 997 + 1;
                let shares = Shares { system: share, job: 1000 - share, data: share };
                for endpoint in [&pair.client, &pair.server] {
                    endpoint.set_qos(Qos { shares: Some(shares), ..Qos::default() }).unwrap();
                }
            }
        }
    }
    assert!(pair.client.qos_stats().version > 10, "it did change meanwhile");
}

/// How long a call takes at the overloaded server.
const WORK: Duration = Duration::from_millis(20);

/// Calls that it takes on at once.
const CALLS: u32 = 10;

/// What it can do in a second.
const CAPACITY: u32 = CALLS * 50;

/// How long the overload lasts.
const OVERLOAD: Duration = Duration::from_secs(5);

/// A caller's view of what became of its calls.
#[derive(Default)]
struct Tally {
    done: AtomicU32,
    refused: AtomicU32,
    /// Milliseconds until the last of those that were refused was served.
    last_ms: AtomicU32,
}

/// Calls until it is served, coming back when it was told to.
async fn insist(connection: Connection, class: Class, tally: Arc<Tally>, begun: Instant) {
    loop {
        match connection.call(("work", "do"), text("please")).class(class).await {
            Ok(_) => break,
            Err(CallError::Failed(failure)) => {
                assert_eq!(failure.code, ErrorCode::OVERLOADED);
                assert!(
                    (50..=5000).contains(&failure.retry_after_ms),
                    "{}",
                    failure.retry_after_ms
                );
                tally.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(failure.retry_after_ms.into())).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    tally.done.fetch_add(1, Ordering::Relaxed);
    tally
        .last_ms
        .fetch_max(begun.elapsed().as_millis() as u32, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn under_three_times_the_load_the_upper_classes_are_served_and_the_rest_within_a_bound_after() {
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let (counted, peak) = (Arc::clone(&running), Arc::clone(&most));
    let services = Services::builder()
        .unary("work", "do", move |_, _| {
            let (counted, peak) = (Arc::clone(&counted), Arc::clone(&peak));
            async move {
                let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
                peak.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(WORK).await;
                counted.fetch_sub(1, Ordering::Relaxed);
                Ok(Bytes::new())
            }
        })
        .build()
        .unwrap();
    let pair = pair(services, Config::default()).await;
    let admission = AdmissionLimits {
        calls: CALLS,
        system: 1000,
        job: 800,
        data: 700,
        bulk: 600,
    };
    pair.server
        .set_qos(Qos {
            admission: Some(admission),
            ..Qos::default()
        })
        .unwrap();
    // Of three times what can be done a tenth is urgent; the rest is more than there is room for.
    let per_second = [
        (Class::Critical, CAPACITY / 20),
        (Class::System, CAPACITY / 20),
        (Class::Job, CAPACITY),
        (Class::Data, CAPACITY),
        (Class::Bulk, CAPACITY * 9 / 10),
    ];
    let begun = Instant::now();
    let tallies: [Arc<Tally>; Class::COUNT] = Default::default();
    let mut callers = tokio::task::JoinSet::new();
    let mut due = [0.0; Class::COUNT];
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < OVERLOAD {
        ticks.tick().await;
        for (class, rate) in per_second {
            let due = &mut due[class.index()];
            *due += f64::from(rate) / 1000.0;
            while *due >= 1.0 {
                *due -= 1.0;
                let tally = Arc::clone(&tallies[class.index()]);
                callers.spawn(insist(pair.connection.clone(), class, tally, begun));
            }
        }
    }
    let stats = pair.server.qos_stats();
    let done = |class: Class| tallies[class.index()].done.load(Ordering::Relaxed);
    for class in [Class::Critical, Class::System] {
        assert_eq!(stats.class(class).refused, 0, "{class} is served throughout");
    }
    for class in [Class::Job, Class::Data, Class::Bulk] {
        assert!(stats.class(class).refused > 0, "{class}");
    }
    assert!(
        done(Class::Job) > 4 * done(Class::Data),
        "the lower is refused first"
    );
    assert!(done(Class::Data) >= done(Class::Bulk));
    let served: u32 = Class::ALL.into_iter().map(done).sum();
    let could = CAPACITY * OVERLOAD.as_secs() as u32;
    assert!(
        served > could * 7 / 10,
        "refusing does not idle the server: {served} of {could}"
    );
    // Some thousand calls wait by then, each for five seconds at most before it asks again.
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let waiting: u32 = per_second
        .iter()
        .map(|(_, rate)| rate * OVERLOAD.as_secs() as u32)
        .sum::<u32>()
        - served;
    let bound = 5.0 + 1.5 * f64::from(waiting) / f64::from(CAPACITY * 6 / 10) + 5.0;
    let took = (begun.elapsed() - OVERLOAD).as_secs_f64();
    assert!(
        took < bound,
        "{waiting} were served within {took} s, the bound is {bound} s"
    );
    assert_eq!(running.load(Ordering::Relaxed), 0);
    // Critical is let in beyond the limit.
    let most = most.load(Ordering::Relaxed);
    assert!(
        (CALLS * 6 / 10..=CALLS + CAPACITY / 20).contains(&most),
        "{most} at once"
    );
    let counted: u64 = Class::ALL
        .into_iter()
        .map(|class| pair.server.qos_stats().class(class).refused)
        .sum();
    let told: u32 = tallies
        .iter()
        .map(|tally| tally.refused.load(Ordering::Relaxed))
        .sum();
    assert_eq!(counted, u64::from(told));
    assert!(
        Class::ALL
            .into_iter()
            .all(|class| pair.server.qos_stats().class(class).in_progress == 0)
    );
}

#[tokio::test]
async fn a_stream_is_in_progress_until_its_handler_ends_and_another_is_refused_meanwhile() {
    let services = Services::builder()
        .stream("numbers", "take", |_, _send, mut recv| async move {
            while recv.recv().await?.is_some() {}
            Ok(())
        })
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .unwrap();
    let pair = pair(services, Config::default()).await;
    let admission = AdmissionLimits::new(1);
    let qos = Qos {
        admission: Some(admission),
        ..Qos::default()
    };
    pair.server.set_qos(qos).unwrap();
    let (mut send, mut recv) = pair.connection.open(("numbers", "take")).await.unwrap();
    send.send(Message::data(BytesMut::zeroed(4).freeze()))
        .await
        .unwrap();
    let refused = |class| {
        let call = pair.connection.call(("echo", "echo"), "hello").class(class);
        async move {
            match within(call).await {
                Ok(_) => false,
                Err(CallError::Failed(failure)) => failure.code == ErrorCode::OVERLOADED,
                Err(error) => panic!("{error}"),
            }
        }
    };
    while pair.server.qos_stats().class(Class::Data).in_progress == 0 {
        tokio::task::yield_now().await;
    }
    assert!(refused(Class::System).await);
    assert!(!refused(Class::Critical).await);
    let (_other, mut answers) = pair.connection.open(("numbers", "take")).await.unwrap();
    assert!(within(answers.recv()).await.is_err(), "it was reset");
    send.finish();
    assert!(within(recv.recv()).await.unwrap().is_none());
    while refused(Class::System).await {
        tokio::task::yield_now().await;
    }
    // What is answered at once is never in progress, and those without limits are not refused.
    pair.server.set_qos(Qos::default()).unwrap();
    assert!(!refused(Class::Bulk).await);
    assert_eq!(pair.server.qos_stats().class(Class::Data).refused, 1);
}
