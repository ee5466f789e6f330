//! What patterns match, what topics are refused, and what a full mailbox does.

use std::io::ErrorKind;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::{BusMessage, Mailbox, MailboxBounds, PATTERNS_MAX, TopicError, TopicPattern, check_topic};

fn message(number: usize) -> BusMessage {
    BusMessage {
        topic: Bytes::from_static(b"t"),
        payload: number.to_string().into(),
    }
}

fn take(mailbox: &Mailbox, max: usize) -> Vec<BusMessage> {
    let mut into = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let _ = mailbox.poll_batch(&mut cx, max, &mut into);
    into
}

#[test]
fn a_segment_is_matched_whole() {
    let pattern = TopicPattern::parse("a*.b".into()).unwrap();
    assert!(pattern.is_literal());
    assert!(pattern.matches(b"a*.b") && !pattern.matches(b"aa.b"));
}

#[test]
fn what_follows_the_rest_is_refused() {
    assert_eq!(TopicPattern::parse("a.>.b".into()), Err(TopicError::RestNotLast));
}

#[test]
fn a_subscription_has_some_patterns_and_not_too_many() {
    assert_eq!(TopicPattern::parse_all(&[]), Err(TopicError::Count { count: 0 }));
    let many = vec![Bytes::from_static(b"a"); PATTERNS_MAX + 1];
    let count = PATTERNS_MAX + 1;
    assert_eq!(TopicPattern::parse_all(&many), Err(TopicError::Count { count }));
}

#[test]
fn the_oldest_makes_room_and_is_counted() {
    let mailbox = Mailbox::new(MailboxBounds::default().with_messages(3));
    mailbox.put((0..5).map(message));
    assert_eq!(mailbox.missed(), 2);
    assert_eq!(take(&mailbox, 9), [message(2), message(3), message(4)]);
    mailbox.put([message(5)]);
    assert_eq!(
        (take(&mailbox, 9), mailbox.missed()),
        (vec![message(5)], 2),
        "there was room again"
    );
}

#[test]
fn bytes_are_bounded_as_well() {
    let bounds = MailboxBounds::default().with_bytes(1000);
    let mailbox = Mailbox::new(bounds);
    let of = |bytes: usize| BusMessage {
        topic: Bytes::from_static(b"t"),
        payload: vec![0; bytes].into(),
    };
    mailbox.put([of(10), of(700)]);
    mailbox.put([of(1001)]);
    assert_eq!(
        mailbox.missed(),
        1,
        "what is too large for the mailbox is missed by itself"
    );
    mailbox.put([of(300)]);
    assert_eq!((take(&mailbox, 9), mailbox.missed()), (vec![of(300)], 3));
}

#[test]
fn what_waits_is_read_before_the_end() {
    let mailbox = Mailbox::new(MailboxBounds::default());
    mailbox.put([message(1)]);
    mailbox.end(ErrorKind::ConnectionReset, "gone");
    mailbox.put([message(2)]);
    mailbox.end(ErrorKind::Other, "gone again");
    assert_eq!(take(&mailbox, 9), [message(1)]);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        match mailbox.poll_batch(&mut cx, 9, &mut Vec::new()) {
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            other => panic!("after the end came {other:?}"),
        }
    }
}

/// The patterns' meaning once more, by recursion.
fn means(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => means(pattern, topic),
        ([one, pattern @ ..], [other, topic @ ..]) => one == other && means(pattern, topic),
        (pattern, topic) => pattern.is_empty() && topic.is_empty(),
    }
}

proptest! {
    #[test]
    fn patterns_mean_what_they_say(
        pattern in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*", "ab", "a*"]), 1..4),
        rest in any::<bool>(),
        topic in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "a*"]), 1..5),
    ) {
        let mut pattern = pattern;
        if rest {
            pattern.push(">");
        }
        let parsed = TopicPattern::parse(pattern.join(".").into()).unwrap();
        prop_assert_eq!(parsed.matches(topic.join(".").as_bytes()), means(&pattern, &topic));
    }

    #[test]
    fn what_covers_a_pattern_matches_all_that_it_matches(
        ours in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*", ">"]), 1..4),
        theirs in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*", ">"]), 1..4),
        topic in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 1..5),
    ) {
        let parse = |segments: &[&str]| TopicPattern::parse(segments.join(".").into());
        let (Ok(ours), Ok(theirs)) = (parse(&ours), parse(&theirs)) else { return Ok(()) };
        prop_assert!(ours.covers(&ours));
        let topic = topic.join(".");
        if theirs.matches(topic.as_bytes()) && ours.covers(&theirs) {
            prop_assert!(ours.matches(topic.as_bytes()));
        }
        // A topic is covered by what matches it.
        let topic = TopicPattern::parse(topic.into()).unwrap();
        prop_assert_eq!(ours.covers(&topic), ours.matches(topic.as_bytes()));
    }

    #[test]
    fn what_can_be_published_on_matches_itself(topic in proptest::collection::vec(any::<u8>(), 0..300)) {
        if check_topic(&topic).is_ok() {
            let pattern = TopicPattern::parse(topic.clone().into()).unwrap();
            prop_assert!(pattern.is_literal() && pattern.matches(&topic));
        }
    }
}
