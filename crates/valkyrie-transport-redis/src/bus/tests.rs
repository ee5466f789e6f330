//! What packets hold, what a publisher and a subscriber remember, and what Redis is asked for.

use bytes::Bytes;
use valkyrie_transport::{BusMessage, Mailbox, MailboxBounds, TopicPattern};

use super::packet::{PACKET_BYTES_MAX, PACKET_MESSAGES_MAX, Packet, fit};
use super::subscription::{Reader, SOURCES_MAX};
use super::{Counters, TOPICS_MAX};
use crate::broker::Delivery;

fn message(topic: &str, payload: impl Into<Bytes>) -> BusMessage {
    BusMessage {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: payload.into(),
    }
}

fn reader(patterns: &[&'static str]) -> Reader {
    let patterns = patterns
        .iter()
        .map(|&text| TopicPattern::parse(text.into()).unwrap());
    Reader::new("s", patterns.collect(), Mailbox::new(MailboxBounds::default()))
}

fn bring(reader: &Reader, topic: &str, publisher: u64, first: u64) {
    let packet = Packet::encode(publisher, first, &[message(topic, "x")]);
    reader.take(Delivery::Named {
        channel: format!("valkyrie.2.bus.s.{topic}").into(),
        payload: packet.into(),
    });
}

#[test]
fn what_is_packed_is_unpacked() {
    let messages = [
        message("a", "one"),
        message("a", ""),
        message("a", vec![0xff; 1000]),
    ];
    let packet = Packet::decode(Packet::encode(7, 9, &messages).into()).unwrap();
    assert_eq!((packet.publisher, packet.first), (7, 9));
    let payloads: Vec<_> = messages.into_iter().map(|message| message.payload).collect();
    assert_eq!(packet.payloads, payloads);
}

#[test]
fn a_packet_is_of_one_topic_and_bounded() {
    assert_eq!(fit(&[]), 0);
    assert_eq!(fit(&[message("a", "x"), message("a", "y"), message("b", "z")]), 2);
    assert_eq!(
        fit(&vec![message("a", ""); PACKET_MESSAGES_MAX + 1]),
        PACKET_MESSAGES_MAX
    );
    let halves = vec![message("a", vec![0; PACKET_BYTES_MAX / 2]); 3];
    assert_eq!(fit(&halves), 1, "with its length the second half is too much");
    let large = [message("a", vec![0; 2 * PACKET_BYTES_MAX]), message("a", "x")];
    assert_eq!(fit(&large), 1, "a large message has a packet to itself");
}

#[test]
fn a_publisher_of_too_many_topics_counts_anew_as_another() {
    let mut counters = Counters::new();
    let before = counters.publisher;
    for number in 0..TOPICS_MAX {
        let topic = Bytes::from(number.to_string());
        assert_eq!(counters.first(&[message(&number.to_string(), "")]), 0);
        counters.count(&topic, 3);
    }
    assert_eq!(counters.first(&[message("7", "")]), 3);
    assert_eq!(counters.publisher, before);
    assert_eq!(counters.first(&[message("one too many", "")]), 0);
    assert_ne!(counters.publisher, before);
    assert_eq!(
        counters.first(&[message("7", "")]),
        0,
        "for the new one everything begins"
    );
}

#[test]
fn a_subscriber_remembers_so_many_publishers_and_no_more() {
    let reader = reader(&["a"]);
    for publisher in 0..SOURCES_MAX as u64 {
        bring(&reader, "a", publisher, 0);
    }
    bring(&reader, "a", 0, 5);
    assert_eq!(reader.mailbox().missed(), 4, "it is remembered");
    bring(&reader, "a", u64::MAX, 0);
    bring(&reader, "a", 1, 5);
    assert_eq!(reader.mailbox().missed(), 4, "one too many has made it forget");
}

#[test]
fn redis_is_asked_for_at_least_what_a_pattern_means() {
    let reader = reader(&["a.*.b", "a.>", "a.b", "x[1].?.*", "back\\slash.*", "a.>"]);
    let text = |channels: Vec<Vec<u8>>| -> Vec<String> {
        let channels = channels
            .into_iter()
            .map(|channel| String::from_utf8(channel).unwrap());
        channels
            .map(|channel| channel.strip_prefix("valkyrie.2.bus.s.").unwrap().to_owned())
            .collect()
    };
    assert_eq!(text(reader.channels(true)), ["a.b"]);
    assert_eq!(
        text(reader.channels(false)),
        ["a.*.b", "a.*", "x\\[1\\].\\?.*", "back\\\\slash.*"]
    );
}

#[test]
fn a_channel_that_is_none_of_ours_is_nothing() {
    let reader = reader(&["a", ">"]);
    for channel in [
        "",
        "valkyrie.2.bus",
        "valkyrie.2.bus.s.",
        "valkyrie.2.bus.s.other",
    ] {
        reader.take(Delivery::Named {
            channel: channel.into(),
            payload: Bytes::from_static(b"x"),
        });
    }
    assert_eq!(reader.mailbox().missed(), 0);
}
