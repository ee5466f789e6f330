//! Two sessions back to back: the shortest path from a call to its answer, and its neighbours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use valkyrie_proto::{
    ApiMisuse, Batch, CallError, Class, CloseReason, Config, Culprit, ErrorCode, Event, Extensions, Failure,
    Inbox, Message, OpenError, Refusal, RequestId, Session, Side,
};

struct Pair {
    now: Instant,
    dialer: Session,
    acceptor: Session,
    dialer_events: Vec<Event>,
    acceptor_events: Vec<Event>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let config = Arc::new(config);
        let mut pair = Self {
            now,
            dialer: Session::new(Side::Dialer, config.clone(), now),
            acceptor: Session::new(Side::Acceptor, config, now),
            dialer_events: Vec::new(),
            acceptor_events: Vec::new(),
        };
        pair.run();
        assert!(pair.dialer.is_open() && pair.acceptor.is_open());
        pair.dialer_events.clear();
        pair.acceptor_events.clear();
        pair
    }

    /// Moves bytes both ways until nothing moves.
    fn run(&mut self) {
        while carry(self.now, &mut self.dialer, &mut self.acceptor)
            | carry(self.now, &mut self.acceptor, &mut self.dialer)
        {
            while let Some(event) = self.dialer.poll_event() {
                self.dialer_events.push(event);
            }
            while let Some(event) = self.acceptor.poll_event() {
                self.acceptor_events.push(event);
            }
        }
    }

    fn request(&mut self) -> (RequestId, Bytes) {
        let place = self
            .acceptor_events
            .iter()
            .position(|event| matches!(event, Event::Incoming(_)));
        match self.acceptor_events.remove(place.expect("a request has arrived")) {
            Event::Incoming(incoming) => (incoming.id.expect("it wants an answer"), incoming.payload),
            _ => unreachable!(),
        }
    }
}

fn carry(now: Instant, from: &mut Session, to: &mut Session) -> bool {
    let mut batch = Batch::default();
    if !from.poll_transmit(now, &mut batch, 1 << 20) {
        return false;
    }
    let mut bytes = BytesMut::new();
    while batch.has_remaining() {
        let chunk = batch.chunk();
        bytes.extend_from_slice(chunk);
        let len = chunk.len();
        batch.advance(len);
    }
    to.handle_input(now, &mut bytes).expect("our own frames are good");
    assert!(bytes.is_empty());
    true
}

#[test]
fn a_call_is_answered_in_one_frame_each_way() {
    let mut pair = Pair::new(Config::default());
    let before = pair.dialer.stats().class(Class::Data).frames_sent;
    let key = pair
        .dialer
        .call(
            pair.now,
            Class::Data,
            None,
            Bytes::from_static(b"hi").into(),
            None,
        )
        .unwrap();
    pair.run();
    let (id, payload) = pair.request();
    assert_eq!(&payload[..], b"hi");
    pair.acceptor
        .respond(pair.now, id, Ok(Bytes::from_static(b"ho").into()))
        .unwrap();
    assert!(
        pair.acceptor
            .respond(pair.now, id, Ok(Bytes::new().into()))
            .is_err(),
        "no exchange is answered twice"
    );
    pair.run();
    let answer = pair.dialer.take_response(key).unwrap().unwrap();
    assert_eq!(&answer.payload[..], b"ho");
    assert_eq!(pair.dialer.outstanding(), 0);
    assert_eq!(pair.dialer.stats().class(Class::Data).frames_sent - before, 1);
}

#[test]
fn a_message_larger_than_the_window_arrives() {
    let mut pair = Pair::new(Config::default());
    let big = Bytes::from(vec![7u8; 20 << 20]);
    let key = pair
        .dialer
        .call(pair.now, Class::System, None, big.clone().into(), None)
        .unwrap();
    pair.run();
    let (id, payload) = pair.request();
    assert_eq!(payload.len(), big.len());
    pair.acceptor.respond(pair.now, id, Ok(payload.into())).unwrap();
    pair.run();
    assert_eq!(pair.dialer.take_response(key).unwrap().unwrap().payload, big);
}

#[test]
fn a_stream_carries_messages_in_order_and_its_id_is_used_again() {
    let mut pair = Pair::new(Config::default());
    let mut ids = Vec::new();
    // More than there are ids; Miri takes its time, and looks at what one stream does to memory.
    for _ in 0..if cfg!(miri) { 5 } else { 2000 } {
        let key = pair
            .dialer
            .open(pair.now, Class::Job, None, Extensions::EMPTY, Bytes::new(), None)
            .unwrap();
        ids.push(pair.dialer.stream_id(key).unwrap());
        for n in 0..10u8 {
            pair.dialer
                .send(key, Bytes::copy_from_slice(&[n]).into())
                .unwrap();
        }
        pair.dialer.finish(key).unwrap();
        pair.run();
        let peer = pair
            .acceptor_events
            .drain(..)
            .find_map(|event| {
                if let Event::Opened(opened) = event {
                    Some(opened.key)
                } else {
                    None
                }
            })
            .unwrap();
        let mut messages = Inbox::new();
        assert!(
            pair.acceptor.recv(peer, &mut messages).unwrap(),
            "the peer has finished"
        );
        let got: Vec<u8> = std::iter::from_fn(|| messages.pop_front())
            .map(|m| m.payload[0])
            .collect();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        pair.acceptor.finish(peer).unwrap();
        pair.acceptor.release(pair.now, peer);
        pair.run();
        assert!(pair.dialer.recv(key, &mut messages).unwrap());
        pair.dialer.release(pair.now, key);
        pair.run();
    }
    ids.sort();
    ids.dedup();
    assert!(ids.len() < 500, "the class has 449 ids besides the lane");
}

#[test]
fn a_deadline_passes_on_both_sides_and_the_slot_waits_for_the_handler() {
    let mut pair = Pair::new(Config::default());
    let deadline = Duration::from_millis(50);
    let key = pair
        .dialer
        .call(pair.now, Class::Data, None, Bytes::new().into(), Some(deadline))
        .unwrap();
    pair.run();
    let (id, _) = pair.request();
    pair.now += Duration::from_millis(51);
    pair.dialer.handle_timeout(pair.now);
    pair.acceptor.handle_timeout(pair.now);
    assert_eq!(
        pair.dialer.take_response(key).unwrap(),
        Err(CallError::DeadlineExceeded)
    );
    pair.run();
    assert!(
        pair.acceptor_events
            .iter()
            .any(|event| matches!(event, Event::Cancelled { .. }))
    );
    assert_eq!(pair.dialer.outstanding(), 1, "the handler still runs");
    pair.acceptor
        .respond(pair.now, id, Err(Failure::new(ErrorCode::CANCELLED, "")))
        .unwrap();
    pair.run();
    assert_eq!(pair.dialer.outstanding(), 0);
}

#[test]
fn a_drain_ends_when_the_last_answer_is_out() {
    let mut pair = Pair::new(Config::default());
    let key = pair
        .dialer
        .call(pair.now, Class::Data, None, Bytes::new().into(), None)
        .unwrap();
    pair.run();
    let (id, _) = pair.request();
    pair.acceptor.drain(pair.now, 100);
    pair.run();
    assert!(
        pair.dialer_events
            .iter()
            .any(|event| matches!(event, Event::Draining { retry_after_ms: 100 }))
    );
    assert!(
        pair.dialer
            .call(pair.now, Class::Data, None, Bytes::new().into(), None)
            .is_err()
    );
    assert!(!pair.acceptor.is_closed());
    pair.acceptor
        .respond(pair.now, id, Ok(Bytes::new().into()))
        .unwrap();
    pair.run();
    assert!(pair.acceptor.is_closed() && pair.dialer.is_closed());
    assert!(pair.dialer.take_response(key).unwrap().is_ok());
}

#[test]
fn a_blocked_send_gives_the_message_back_and_says_when_to_go_on() {
    let mut pair = Pair::new(Config::default());
    let key = pair
        .dialer
        .open(pair.now, Class::Data, None, Extensions::EMPTY, Bytes::new(), None)
        .unwrap();
    let message = Message::data(Bytes::from(vec![1u8; 1000]));
    let mut sent = 0;
    let refused = loop {
        match pair.dialer.send(key, message.clone()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        if sent % 100 == 0 {
            pair.run();
        }
        assert!(sent < 100_000, "credit ends the flood");
    };
    assert_eq!(refused.message, message);
    let peer = pair
        .acceptor_events
        .drain(..)
        .find_map(|event| {
            if let Event::Opened(opened) = event {
                Some(opened.key)
            } else {
                None
            }
        })
        .unwrap();
    let mut got = Inbox::new();
    let mut total = 0;
    while total < sent {
        pair.acceptor.recv(peer, &mut got).unwrap();
        total += std::iter::from_fn(|| got.pop_front()).count();
        pair.run();
    }
    assert_eq!(total, sent);
    assert!(
        pair.dialer_events
            .iter()
            .any(|event| matches!(event, Event::Writable(k) if *k == key))
    );
    pair.dialer.send(key, message).unwrap();
}

#[test]
fn an_idle_session_is_small() {
    // What a connection costs that has opened and does nothing; the book publishes the whole.
    assert!(size_of::<Session>() <= 640, "{} bytes", size_of::<Session>());
}

#[test]
fn a_session_that_slept_goes_on_where_it_was() {
    let mut pair = Pair::new(Config::default());
    let mut last = None;
    for round in 0..100u8 {
        let payload = Bytes::from(vec![round; 40_000]);
        let key = pair
            .dialer
            .call(pair.now, Class::Data, None, payload.clone().into(), None)
            .unwrap();
        assert_ne!(Some(key), last, "an old key stays stale");
        last = Some(key);
        pair.run();
        let (id, got) = pair.request();
        assert_eq!(got, payload);
        pair.acceptor.respond(pair.now, id, Ok(got.into())).unwrap();
        pair.run();
        assert_eq!(pair.dialer.take_response(key).unwrap().unwrap().payload, payload);
        let before = (pair.dialer.stats(), pair.acceptor.stats());
        pair.dialer.shrink();
        pair.acceptor.shrink();
        assert_eq!(before, (pair.dialer.stats(), pair.acceptor.stats()));
    }
    assert_eq!(pair.acceptor.requests_received()[Class::Data.index()], 100);
    pair.acceptor.shrink();
    pair.acceptor.drain(pair.now, 0);
    pair.run();
    assert!(pair.acceptor.is_closed() && pair.dialer.is_closed());
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_refused_before_answers_fill_the_memory() {
    let mut config = Config::default();
    config.limits.queued_answer_bytes_max = 100_000;
    let mut pair = Pair::new(config);
    let mut keys = Vec::new();
    let mut handled = 0;
    for _ in 0..10 {
        let call = pair.dialer.call(
            pair.now,
            Class::Data,
            None,
            Bytes::from_static(b"big, please").into(),
            None,
        );
        keys.push(call.unwrap());
        // Only this way: the dialer takes nothing from the wire.
        carry(pair.now, &mut pair.dialer, &mut pair.acceptor);
        while let Some(event) = pair.acceptor.poll_event() {
            if let Event::Incoming(incoming) = event {
                handled += 1;
                let answer = Bytes::from(vec![0; 40_000]);
                pair.acceptor
                    .respond(pair.now, incoming.id.unwrap(), Ok(answer.into()))
                    .unwrap();
            }
        }
        pair.acceptor.invariants().unwrap();
    }
    assert_eq!(handled, 3, "the bound, and the one answer that went past it");
    pair.run();
    let outcomes: Vec<_> = keys
        .into_iter()
        .map(|key| pair.dialer.take_response(key).unwrap())
        .collect();
    assert!(outcomes[..3].iter().all(Result::is_ok));
    for refused in &outcomes[3..] {
        assert!(matches!(refused, Err(CallError::Failed(failure)) if failure.code == ErrorCode::OVERLOADED));
    }
    // Once the answers are read the peer is welcome again.
    let key = pair
        .dialer
        .call(pair.now, Class::Data, None, Bytes::new().into(), None)
        .unwrap();
    pair.run();
    let (id, _) = pair.request();
    pair.acceptor
        .respond(pair.now, id, Ok(Bytes::new().into()))
        .unwrap();
    pair.run();
    assert!(pair.dialer.take_response(key).unwrap().is_ok());
}

#[test]
fn large_messages_side_by_side_stay_within_what_the_peer_can_hold() {
    let mut config = Config::default();
    config.limits.max_message = 1 << 20;
    config.limits.reassembly_max = 2 << 20;
    let mut pair = Pair::new(config);
    let big = Bytes::from(vec![3u8; 1 << 20]);
    let keys: Vec<_> = (0..6)
        .map(|_| {
            let key = pair
                .dialer
                .open(pair.now, Class::Job, None, Extensions::EMPTY, Bytes::new(), None)
                .unwrap();
            pair.dialer.send(key, big.clone().into()).unwrap();
            pair.dialer.finish(key).unwrap();
            key
        })
        .collect();
    // One of those that wait, and one that has begun, are given up.
    let mut batch = Batch::default();
    for _ in 0..20 {
        let one_more = batch.len() + 1;
        pair.dialer.poll_transmit(pair.now, &mut batch, one_more);
    }
    let mut bytes = BytesMut::new();
    while batch.has_remaining() {
        let len = batch.chunk().len();
        bytes.extend_from_slice(batch.chunk());
        batch.advance(len);
    }
    pair.acceptor.handle_input(pair.now, &mut bytes).unwrap();
    for key in [keys[0], keys[5]] {
        pair.dialer.reset(
            pair.now,
            key,
            Failure::new(ErrorCode::CANCELLED, "no longer wanted"),
        );
    }
    pair.run();
    assert!(pair.acceptor.is_open(), "{:?}", pair.acceptor.close_reason());
    let mut arrived = 0;
    for event in std::mem::take(&mut pair.acceptor_events) {
        if let Event::Opened(opened) = event {
            let mut inbox = Inbox::new();
            if pair.acceptor.recv(opened.key, &mut inbox).is_ok() {
                assert_eq!(inbox.pop_front().unwrap().payload, big);
                arrived += 1;
            }
            pair.run();
        }
    }
    assert_eq!(arrived, 4);
}

#[test]
fn a_deadline_that_does_not_fit_is_refused_and_never_lost() {
    let mut pair = Pair::new(Config::default());
    // 252 of the 255 words: three values of 255 bytes and one of 234, with their heads and padding.
    let mut builder = Extensions::builder();
    for (kind, len) in [(0x1A, 255), (0x2A, 255), (0x3A, 255), (0x4A, 234)] {
        builder = builder.raw(kind, &vec![1; len]).unwrap();
    }
    let extensions = builder.finish().unwrap();
    let free = 4 * 255 - extensions.as_bytes().len();
    assert!(free < 8, "a deadline needs eight bytes, {free} are free");
    let message = Message {
        extensions: extensions.clone(),
        ..Message::data(Bytes::new())
    };
    let deadline = Some(Duration::from_secs(1));
    let refused = pair
        .dialer
        .call(pair.now, Class::Data, None, message.clone(), deadline)
        .unwrap_err();
    assert_eq!(refused.refusal, Refusal::Misuse(ApiMisuse::Extensions));
    assert_eq!(refused.message, message, "the message is returned as it was");
    let opened = pair
        .dialer
        .open(pair.now, Class::Data, None, extensions, Bytes::new(), deadline);
    assert_eq!(
        opened,
        Err(OpenError::Refused(Refusal::Misuse(ApiMisuse::Extensions)))
    );
    assert_eq!(pair.dialer.outstanding(), 0);
    pair.dialer
        .call(pair.now, Class::Data, None, message, None)
        .unwrap();
}

#[test]
fn a_broken_link_ends_both_sides_and_the_peer_is_told() {
    let mut pair = Pair::new(Config::default());
    let payload = Bytes::from_static(b"lost");
    let key = pair
        .dialer
        .call(pair.now, Class::Data, None, payload.into(), None)
        .unwrap();
    pair.run();
    let failure = Failure::new(ErrorCode::INTEGRITY, "a record does not verify");
    pair.dialer.handle_broken(pair.now, failure.clone());
    let reason = CloseReason::Broken(failure.clone());
    assert_eq!(pair.dialer.close_reason(), Some(&reason));
    assert_eq!(
        pair.dialer.take_response(key),
        Some(Err(CallError::Closed(reason.clone())))
    );
    assert!(reason.is_transient() && reason.culprit() == Some(Culprit::Network));
    pair.run();
    assert_eq!(
        pair.acceptor.close_reason(),
        Some(&CloseReason::Refused(failure.clone()))
    );
    // What ended stays ended, for its first reason.
    pair.dialer.handle_refused(pair.now, failure);
    assert_eq!(pair.dialer.close_reason(), Some(&reason));
}

#[test]
fn a_refusal_from_below_the_session_is_the_peers() {
    let mut pair = Pair::new(Config::default());
    let failure = Failure::new(ErrorCode::UNAUTHENTICATED, "nobody knows you");
    pair.dialer.handle_refused(pair.now, failure.clone());
    assert_eq!(pair.dialer.close_reason(), Some(&CloseReason::Refused(failure)));
    let mut batch = Batch::default();
    assert!(
        !pair.dialer.poll_transmit(pair.now, &mut batch, 1 << 20),
        "nobody reads any more"
    );
}
