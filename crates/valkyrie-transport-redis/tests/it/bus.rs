//! The bus: what is lost is counted, a broker that dies is told, and several messages share a PUBLISH.

use std::future::poll_fn;

use valkyrie_transport::{Bus, BusError, BusMessage, Subscription};
use valkyrie_transport_redis::{DEFAULT_SPACE, RedisBus};

use crate::support::{Redis, eventually};

fn message(topic: &str, payload: &str) -> BusMessage {
    BusMessage {
        topic: topic.to_owned().into(),
        payload: payload.to_owned().into(),
    }
}

/// A packet of messages as any publisher may send it.
fn packet(publisher: u64, first: u64, payloads: &[&str]) -> Vec<u8> {
    let mut packet = vec![b'V', 2, 16, 0];
    packet.extend_from_slice(&publisher.to_be_bytes());
    packet.extend_from_slice(&first.to_be_bytes());
    packet.extend_from_slice(&(payloads.len() as u32).to_be_bytes());
    for payload in payloads {
        packet.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        packet.extend_from_slice(payload.as_bytes());
    }
    packet
}

async fn hear(subscription: &mut dyn Subscription, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        poll_fn(|cx| subscription.poll_batch(cx, 100, &mut heard))
            .await
            .unwrap();
    }
    heard
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_counted_for_each_publisher_and_topic() {
    let Some(redis) = Redis::start() else { return };
    let bus = RedisBus::connect(&redis.at("")).await.unwrap();
    let mut subscription = bus.subscribe(&["a.*".into()]).await.unwrap();
    let channel = |topic: &str| format!("valkyrie.2.bus.{DEFAULT_SPACE}.{topic}");
    let publish = |topic: &str, packet: &[u8]| assert_eq!(redis.publish(&channel(topic), packet), 1);

    publish("a.x", &packet(1, 100, &["the past is nobody's loss", "1"]));
    publish("a.y", &packet(1, 0, &["another topic"]));
    publish("a.x", &packet(2, 7, &["another publisher"]));
    assert_eq!(hear(&mut *subscription, 4).await.len(), 4);
    assert_eq!(subscription.missed(), 0);

    publish("a.x", &packet(1, 105, &["after three"]));
    assert_eq!(hear(&mut *subscription, 1).await, ["after three"]);
    assert_eq!(subscription.missed(), 3);

    publish("a.x", &packet(1, 104, &["late", "not again", "new"]));
    assert_eq!(
        hear(&mut *subscription, 1).await,
        ["new"],
        "what came before does not come again"
    );
    publish("a.y", &packet(1, 1, &["no gap here"]));
    publish("a.x", &packet(2, 8, &["nor here"]));
    assert_eq!(hear(&mut *subscription, 2).await.len(), 2);
    assert_eq!(subscription.missed(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_packet_is_one_missed_message() {
    let Some(redis) = Redis::start() else { return };
    let bus = RedisBus::connect(&redis.at("space")).await.unwrap();
    let mut subscription = bus.subscribe(&["a".into()]).await.unwrap();
    let good = packet(1, 0, &["one", "two"]);
    let mut count = 0;
    let mut publish = |payload: &[u8]| {
        assert_eq!(redis.publish("valkyrie.2.bus.space.a", payload), 1);
        count += 1;
    };
    for cut in 0..good.len() {
        publish(&good[..cut]);
    }
    publish(&[&good[..], b"more"].concat());
    publish(b"hello from another program");
    publish(&packet(1, 0, &[]));
    publish(&packet(1, u64::MAX, &["past the last number"]));
    let mut endless = good.clone();
    endless[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    publish(&endless);
    let mut long = good.clone();
    long[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    publish(&long);
    redis.publish("valkyrie.2.bus.space.a", &good);
    assert_eq!(hear(&mut *subscription, 2).await, ["one", "two"]);
    assert_eq!(subscription.missed(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_publish() {
    let Some(redis) = Redis::start() else { return };
    let bus = RedisBus::connect(&redis.at("")).await.unwrap();
    let mut subscription = bus.subscribe(&["a".into(), "b".into()]).await.unwrap();
    let mut batch = vec![message("a", "x"); 500];
    batch.extend(vec![message("b", "y"); 500]);
    bus.publish(&batch).await.unwrap();
    assert_eq!(hear(&mut *subscription, 1000).await.len(), 1000);
    let stats = redis.info("commandstats");
    let publish = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_publish:"))
        .unwrap();
    assert!(publish.contains(":calls=2,"), "{publish}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_ends_the_bus_and_a_new_one_begins_after_its_restart() {
    let Some(mut redis) = Redis::start() else { return };
    let bus = RedisBus::connect(&redis.at("")).await.unwrap();
    let mut subscription = bus.subscribe(&["a".into(), "b.*".into()]).await.unwrap();
    bus.publish(&[message("a", "before")]).await.unwrap();
    // What has arrived is read although the broker is gone.
    assert_eq!(hear(&mut *subscription, 1).await, ["before"]);
    redis.kill();
    for _ in 0..2 {
        let ended = poll_fn(|cx| subscription.poll_batch(cx, 1, &mut Vec::new())).await;
        assert!(matches!(ended, Err(BusError::Disconnected { .. })), "{ended:?}");
    }
    let published = bus.publish(&[message("a", "into the void")]).await;
    assert!(
        matches!(published, Err(BusError::Disconnected { .. })),
        "{published:?}"
    );

    redis.restart();
    let again = bus.publish(&[message("a", "still")]).await;
    assert!(
        matches!(again, Err(BusError::Disconnected { .. })),
        "a bus does not come back: {again:?}"
    );
    let ended = poll_fn(|cx| subscription.poll_batch(cx, 1, &mut Vec::new())).await;
    assert!(
        matches!(ended, Err(BusError::Disconnected { .. })),
        "nor does a subscription: {ended:?}"
    );

    let bus = RedisBus::connect(&redis.at("")).await.unwrap();
    let mut subscription = bus.subscribe(&["a".into()]).await.unwrap();
    bus.publish(&[message("a", "after")]).await.unwrap();
    assert_eq!(hear(&mut *subscription, 1).await, ["after"]);
    assert_eq!(subscription.missed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_the_broker_cuts_off_is_told_and_its_bus_lives_on() {
    let Some(redis) = Redis::start() else { return };
    let bus = RedisBus::connect(&redis.at("")).await.unwrap();
    let mut subscription = bus.subscribe(&["a".into()]).await.unwrap();
    // What Redis does to a subscriber whose buffer overflows.
    redis.say("CLIENT KILL TYPE pubsub");
    let ended = poll_fn(|cx| subscription.poll_batch(cx, 1, &mut Vec::new())).await;
    assert!(matches!(ended, Err(BusError::Disconnected { .. })), "{ended:?}");
    let mut subscription = bus.subscribe(&["a".into()]).await.unwrap();
    bus.publish(&[message("a", "after")]).await.unwrap();
    assert_eq!(hear(&mut *subscription, 1).await, ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spaces_do_not_hear_each_other_and_nothing_is_left_of_a_subscription() {
    let Some(redis) = Redis::start() else { return };
    let here = RedisBus::connect(&redis.at("here")).await.unwrap();
    let there = RedisBus::connect(&redis.at("there")).await.unwrap();
    let mut subscription = here.subscribe(&[">".into(), "a".into()]).await.unwrap();
    there.publish(&[message("a", "not for you")]).await.unwrap();
    here.publish(&[message("a", "for you")]).await.unwrap();
    assert_eq!(hear(&mut *subscription, 1).await, ["for you"]);
    drop(subscription);
    eventually(|| redis.say("PUBSUB CHANNELS") == "*0" && redis.say("PUBSUB NUMPAT") == ":0").await;
}
