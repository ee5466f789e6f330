//! Messages arrive: whole, in order, at everyone who asked for them.

use std::task::{Context, Poll, Waker};

use super::{BusHarness, message, numbered, numbers, publish, read, subscribe};
use crate::{BusError, MESSAGE_BYTES_MAX};

/// A message reaches everyone who subscribes to its topic, whole, also an empty one, and nobody else.
pub async fn a_message_reaches_its_subscribers(harness: BusHarness) {
    let (here, there) = (harness.connect().await, harness.connect().await);
    let mut subscribers = [
        subscribe(&*here, &["news.local"]).await,
        subscribe(&*there, &["news.local"]).await,
        subscribe(&*there, &["weather", "news.local"]).await,
    ];
    let mut other = subscribe(&*there, &["news"]).await;
    let messages = [
        message("news.local", "a bridge is open"),
        message("news.local", ""),
        message("news.local", vec![0, b'\r', b'\n', 0xff]),
    ];
    publish(&*here, &messages).await;
    publish(&*here, &[message("news", "the last")]).await;
    for subscriber in &mut subscribers {
        assert_eq!(read(&mut **subscriber, 3).await, messages);
        assert_eq!(subscriber.missed(), 0);
    }
    assert_eq!(read(&mut *other, 1).await, [message("news", "the last")]);
}

/// A bus says what it is; publishing where nobody listens, or nothing at all, is no error.
pub async fn a_bus_describes_itself(harness: BusHarness) {
    let bus = harness.connect().await;
    let capabilities = bus.capabilities();
    assert_eq!(capabilities.lanes, 1, "a bus has one lane");
    assert_eq!(capabilities.peer_credentials, None, "a bus has no single peer");
    assert!(!bus.locator().as_str().is_empty());
    publish(&*bus, &[]).await;
    publish(&*bus, &[message("nobody.cares", "hello?")]).await;
}

/// A subscriber that waits is woken by the next message.
pub async fn a_subscriber_that_waits_is_woken(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["bell"]).await;
    let mut cx = Context::from_waker(Waker::noop());
    let early = subscriber.poll_batch(&mut cx, 1, &mut Vec::new());
    assert!(matches!(early, Poll::Pending), "a message came from nowhere");
    let reader = tokio::spawn(async move { read(&mut *subscriber, 1).await });
    publish(&*bus, &[message("bell", "ding")]).await;
    let heard = reader.await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(heard, [message("bell", "ding")]);
}

/// A batch on many topics arrives in its order, and so do the batches after it.
pub async fn a_batch_keeps_its_order(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["lane.*"]).await;
    let batch: Vec<_> = (0..MESSAGES)
        .map(|number| numbered(["lane.a", "lane.a", "lane.b"][number % 3], 0, number))
        .collect();
    for part in batch.chunks(MESSAGES / 3) {
        publish(&*bus, part).await;
    }
    assert_eq!(read(&mut *subscriber, MESSAGES).await, batch);
    assert_eq!(subscriber.missed(), 0);
}

/// What two publishers publish at the same time arrives, each in its own order.
pub async fn order_holds_for_each_publisher(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["talk"]).await;
    let mut publishers = Vec::new();
    for publisher in 0..2 {
        let bus = harness.connect().await;
        publishers.push(tokio::spawn(async move {
            let messages: Vec<_> = (0..MESSAGES / 2)
                .map(|number| numbered("talk", publisher, number))
                .collect();
            for part in messages.chunks(7) {
                publish(&*bus, part).await;
            }
        }));
    }
    let mut next = [0; 2];
    for message in read(&mut *subscriber, MESSAGES / 2 * 2).await {
        let (publisher, number) = numbers(&message);
        assert_eq!(
            number, next[publisher],
            "publisher {publisher} is heard out of order"
        );
        next[publisher] += 1;
    }
    for publisher in publishers {
        publisher.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The largest message arrives, whole.
pub async fn a_large_message_arrives(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["freight"]).await;
    let content: Vec<u8> = (0..MESSAGE_BYTES_MAX).map(|at| (at % 251) as u8).collect();
    let large = message("freight", content);
    publish(
        &*bus,
        &[
            message("freight", "before"),
            large.clone(),
            message("freight", "after"),
        ],
    )
    .await;
    let arrived = read(&mut *subscriber, 3).await;
    // Not assert_eq: nobody wants to read that.
    assert!(arrived[1] == large, "the large message is not what was published");
    assert_eq!(arrived[2], message("freight", "after"));
}

/// A message that is too large is refused with what came before it in the batch.
pub async fn a_too_large_message_is_refused(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["freight"]).await;
    let too_large = message("freight", vec![0; MESSAGE_BYTES_MAX + 1]);
    match bus.publish(&[message("freight", "before"), too_large]).await {
        Err(BusError::TooLarge {
            length, length_max, ..
        }) => {
            assert_eq!((length, length_max), (MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX));
        }
        other => panic!("a message over the bound gave {other:?}"),
    }
    publish(&*bus, &[message("freight", "after")]).await;
    assert_eq!(read(&mut *subscriber, 1).await, [message("freight", "after")]);
}

/// Each of many subscribers gets every message.
pub async fn many_subscribers_get_everything(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscribers = Vec::new();
    for number in 0..SUBSCRIBERS {
        let own = format!("crowd.{number}");
        subscribers.push(subscribe(&*bus, &["crowd.all", &own]).await);
    }
    publish(
        &*bus,
        &[message("crowd.all", "everyone"), message("crowd.7", "one of you")],
    )
    .await;
    publish(&*bus, &[message("crowd.all", "once more")]).await;
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        let heard = read(&mut **subscriber, if number == 7 { 3 } else { 2 }).await;
        assert_eq!(heard.first(), Some(&message("crowd.all", "everyone")));
        assert_eq!(heard.last(), Some(&message("crowd.all", "once more")));
    }
}

/// Fewer than a mailbox under test holds, so that none is missed.
const MESSAGES: usize = 900;
const SUBSCRIBERS: usize = 100;
