//! Which topics a subscription is about, and which topics are none.

use bytes::Bytes;

use super::{BusHarness, expect_bad_topic, message, publish, read, subscribe};
use crate::TOPIC_BYTES_MAX;

/// `*` is one segment and `>` is all that follow; each pattern gets what it speaks of and nothing else.
pub async fn patterns_match_segments(harness: BusHarness) {
    let bus = harness.connect().await;
    let topics = [
        "a", "b", "a.b", "a.c", "a.b.c", "a.b.c.d", "b.b", "b.b.c", "ab", "a-b",
    ];
    let expected: [(&str, &[&str]); 8] = [
        ("a.b", &["a.b"]),
        ("*", &["a", "b", "ab", "a-b"]),
        ("a.*", &["a.b", "a.c"]),
        ("*.b", &["a.b", "b.b"]),
        ("*.b.*", &["a.b.c", "b.b.c"]),
        ("a.>", &["a.b", "a.c", "a.b.c", "a.b.c.d"]),
        ("*.*.>", &["a.b.c", "a.b.c.d", "b.b.c"]),
        (">", &topics),
    ];
    let mut subscribers = Vec::new();
    for (pattern, _) in expected {
        // What tells the end is subscribed to by all, so that nothing can come late.
        subscribers.push(subscribe(&*bus, &[pattern, "the.end.of.all"]).await);
    }
    let batch: Vec<_> = topics.iter().map(|topic| message(topic, *topic)).collect();
    publish(&*bus, &batch).await;
    publish(&*bus, &[message("the.end.of.all", "")]).await;
    for ((pattern, expected), subscriber) in expected.iter().zip(&mut subscribers) {
        let heard = super::read_until(&mut **subscriber, |read| {
            read.last().is_some_and(|last| last.payload.is_empty())
        })
        .await;
        let heard: Vec<_> = heard
            .iter()
            .map(|message| String::from_utf8_lossy(&message.topic))
            .collect();
        let (end, heard) = heard
            .split_last()
            .unwrap_or_else(|| panic!("{pattern} heard nothing"));
        assert_eq!(end, "the.end.of.all");
        assert_eq!(heard, *expected, "what {pattern} heard");
    }
}

/// A message that several patterns of one subscription match comes once.
pub async fn a_message_comes_once_however_many_patterns_match(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &["a.*", "a.b", "a.>", ">", "a.b", "*.b", "end"]).await;
    let batch = [
        message("a.b", "1"),
        message("a.c", "2"),
        message("c.b", "3"),
        message("end", "4"),
    ];
    publish(&*bus, &batch).await;
    assert_eq!(read(&mut *subscriber, 4).await, batch);
    assert_eq!(subscriber.missed(), 0);
}

/// Other systems' wildcards, spaces and bytes that are no text are letters like any other.
pub async fn characters_that_mean_something_elsewhere_mean_nothing(harness: BusHarness) {
    let bus = harness.connect().await;
    let odd: [&[u8]; 8] = [
        b"a?c",
        b"a[bc]d",
        b"a\\*c",
        b"a*",
        b"[^a].b",
        b"a b",
        b"\xff\x00.\n",
        b"{a}",
    ];
    let decoys = ["abc", "abd", "a\\xc", "aa", "b.b", "axb", "a"];
    for odd in odd {
        let exactly = Bytes::from_static(odd);
        let below = Bytes::from([odd, b".*"].concat());
        let subscription = bus.subscribe(&[exactly, below, Bytes::from_static(b"end")]).await;
        let mut subscriber = subscription.unwrap_or_else(|error| panic!("{odd:?} is refused: {error}"));
        let mut batch: Vec<_> = decoys.iter().map(|topic| message(topic, "decoy")).collect();
        batch.extend(decoys.iter().map(|topic| message(&format!("{topic}.x"), "decoy")));
        let mut expected = Vec::new();
        for topic in [odd.to_vec(), [odd, b".x"].concat(), b"end".to_vec()] {
            let mut message = message("", "meant");
            message.topic = topic.into();
            expected.push(message);
        }
        batch.extend(expected.iter().cloned());
        publish(&*bus, &batch).await;
        assert_eq!(read(&mut *subscriber, 3).await, expected);
    }
}

/// A topic that is none is refused, and nothing of its batch is published.
pub async fn bad_topics_are_refused_whole(harness: BusHarness) {
    let bus = harness.connect().await;
    let mut subscriber = subscribe(&*bus, &[">"]).await;
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    for bad in [
        "", ".", "a.", ".a", "a..b", "*", "a.*", ">", "a.>", "a.>.b", &long,
    ] {
        let batch = [message("good", "not me"), message(bad, "nor me")];
        expect_bad_topic(bus.publish(&batch).await, bad);
    }
    let longest = "y".repeat(TOPIC_BYTES_MAX);
    publish(&*bus, &[message(&longest, "at last")]).await;
    assert_eq!(read(&mut *subscriber, 1).await, [message(&longest, "at last")]);
}

/// With one bad pattern among good ones nothing is subscribed, and the bus works on.
pub async fn subscribing_is_all_or_nothing(harness: BusHarness) {
    let bus = harness.connect().await;
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    for bad in ["", "a..b", "a.>.b", "a.", &long] {
        let patterns = ["good", bad, "good.too"].map(|text| Bytes::copy_from_slice(text.as_bytes()));
        expect_bad_topic(bus.subscribe(&patterns).await, bad);
    }
    expect_bad_topic(bus.subscribe(&[]).await, "a subscription to nothing");
    let mut subscriber = subscribe(&*bus, &["good"]).await;
    publish(&*bus, &[message("good", "still here")]).await;
    assert_eq!(read(&mut *subscriber, 1).await, [message("good", "still here")]);
}
