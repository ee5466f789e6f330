//! Attacks, each played by a peer that writes raw frames. Every one ends with the exact fault, the
//! peer named as the culprit and an ERROR frame with its code, or does no harm at all.

mod hostile;

use std::time::Duration;

use hostile::{Victim, bytes, credit, data, frame, hello_of, open, ping, request, reset, settings};
use valkyrie_frame::{DecodeError, Flags, HeaderError};
use valkyrie_proto::{
    Budgets, CallError, Class, CloseReason, Config, ErrorCode, Event, Extensions, Kind, Limits, Message,
    PeerMisbehaved, SessionError, StreamId,
};

fn small() -> Config {
    let limits = Limits {
        max_frame: 4096,
        max_message: 64 * 1024,
        max_exchanges: 16,
        max_streams: 8,
        window_system: 16 * 1024,
        window_job: 16 * 1024,
        window_job_max: 32 * 1024,
        window_data: 16 * 1024,
        window_connection: 32 * 1024,
        reassembly_max: 20 * 1024,
        pending_request_bytes_max: 8 * 1024,
        ..Limits::default()
    };
    Config {
        limits,
        ..Config::default()
    }
}

const NONE: Flags = Flags::NONE;

#[test]
fn a_flood_of_cancels_ends_the_session() {
    let mut victim = Victim::open(Config::default());
    let budget = Budgets::default().cancels as usize;
    let borne = victim.flood(budget + 10, |_| reset(1001, NONE, 1 << 16));
    assert_eq!(borne, budget);
    victim.assert_blames(PeerMisbehaved::TooManyCancels);
}

#[test]
fn opening_and_resetting_streams_is_a_flood_of_cancels() {
    let config = Config {
        budgets: Budgets {
            cancels: 50,
            ..Budgets::default()
        },
        ..Config::default()
    };
    let mut victim = Victim::open(config);
    let borne = victim.flood(200, |round| {
        let id = 1003 + 2 * round as u32;
        [open(id), reset(id, NONE, 0)].concat()
    });
    assert_eq!(borne, 50);
    victim.assert_blames(PeerMisbehaved::TooManyCancels);
}

#[test]
fn a_flood_of_pings_ends_the_session() {
    let mut victim = Victim::open(Config::default());
    let budget = Budgets::default().pings as usize;
    let borne = victim.flood(budget + 10, |round| ping(round as u64));
    assert_eq!(borne, budget);
    victim.assert_blames(PeerMisbehaved::TooManyPings);
}

#[test]
fn a_budget_is_for_a_second() {
    let mut victim = Victim::open(Config::default());
    for _ in 0..5 {
        for token in 0..100 {
            victim.send(ping(token)).expect("within the budget");
        }
        victim.poll();
        victim.pass(Duration::from_secs(1));
    }
    victim.assert_alive();
    assert_eq!(victim.out.len(), 500, "each PING has its PONG");
}

#[test]
fn a_flood_of_control_frames_ends_the_session() {
    let mut victim = Victim::open(Config::default());
    let drain = [[0, 0, 0, 1], [0; 4]].concat();
    let budget = Budgets::default().controls as usize;
    // The opening was one of them.
    let borne = victim.flood(budget + 10, |_| frame(Kind::DRAIN, 0, NONE, 0, &drain));
    assert_eq!(borne, budget - 1);
    victim.assert_blames(PeerMisbehaved::TooManyControls);
}

#[test]
fn a_flood_of_credit_frames_ends_the_session() {
    let config = Config {
        budgets: Budgets {
            credits: 100,
            ..Budgets::default()
        },
        ..Config::default()
    };
    let mut victim = Victim::open(config);
    assert_eq!(victim.flood(200, |_| credit(0, 5)), 100);
    victim.assert_blames(PeerMisbehaved::TooManyControls);
}

#[test]
fn a_flood_of_frames_that_mean_nothing_ends_the_session() {
    let mut victim = Victim::open(Config::default());
    let budget = Budgets::default().idle as usize;
    let borne = victim.flood(budget + 10, |_| {
        frame(Kind::from_byte(0x6A), 7, NONE, 0, b"grease")
    });
    assert_eq!(borne, budget);
    victim.assert_blames(PeerMisbehaved::TooManyIdle);
}

#[test]
fn a_flood_of_tiny_fragments_ends_the_session() {
    let mut victim = Victim::open(Config::default());
    let budget = Budgets::default().tiny_fragments as usize;
    victim.send(open(1003)).expect("a stream");
    let borne = victim.flood(budget + 10, |_| frame(Kind::DATA, 1003, Flags::MORE, 0, b"x"));
    assert_eq!(borne, budget);
    victim.assert_blames(PeerMisbehaved::TinyFragments);
}

#[test]
fn an_empty_fragment_is_refused_at_once() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    assert!(victim.send(frame(Kind::DATA, 1003, Flags::MORE, 0, b"")).is_err());
    victim.assert_blames(PeerMisbehaved::TinyFragments);
}

#[test]
fn half_messages_are_held_up_to_a_bound() {
    let mut victim = Victim::open(small());
    let borne = victim.flood(100, |round| {
        let id = 1003 + 2 * round as u32;
        [open(id), frame(Kind::DATA, id, Flags::MORE, 0, &[1; 4096])].concat()
    });
    assert_eq!(borne, 5, "20 KiB are held");
    victim.assert_blames(PeerMisbehaved::Reassembly);
}

#[test]
fn a_message_larger_than_announced_is_refused_before_it_is_whole() {
    let config = Config {
        limits: Limits {
            max_message: 8192,
            ..small().limits
        },
        ..Config::default()
    };
    let mut victim = Victim::open(config);
    victim.send(open(1003)).expect("a stream");
    let part = frame(Kind::DATA, 1003, Flags::MORE, 0, &[1; 4096]);
    assert_eq!(victim.flood(10, |_| part.clone()), 2);
    victim.assert_blames(PeerMisbehaved::MessageSize {
        stream: StreamId::new(1003),
        max: 8192,
    });
}

#[test]
fn a_frame_larger_than_announced_is_refused_before_its_payload() {
    let mut victim = Victim::open(small());
    let header = &data(1003, 4097)[..20];
    assert!(victim.send(header).is_err());
    let error = SessionError::Decode(DecodeError::Header(HeaderError::Length {
        found: 4097,
        max: 4096,
    }));
    victim.assert_ended(&error, ErrorCode::FRAME_SIZE);
}

#[test]
fn messages_of_two_kinds_do_not_mix() {
    for (kind, correlation) in [(Kind::FILE_CHUNK, 0), (Kind::DATA, 9)] {
        let mut victim = Victim::open(Config::default());
        victim.send(open(1003)).expect("a stream");
        victim
            .send(frame(Kind::DATA, 1003, Flags::MORE, 0, &[1; 2000]))
            .expect("a part");
        assert!(
            victim
                .send(frame(kind, 1003, NONE, correlation, &[1; 10]))
                .is_err()
        );
        victim.assert_blames(PeerMisbehaved::FragmentMixed(StreamId::new(1003)));
    }
}

#[test]
fn a_stream_cannot_be_overrun() {
    let mut victim = Victim::open(small());
    victim.send(open(1003)).expect("a stream");
    let borne = victim.flood(100, |_| data(1003, 1004));
    assert_eq!(borne, 16, "16 KiB in frames of 1 KiB");
    victim.assert_blames(PeerMisbehaved::StreamCredit(StreamId::new(1003)));
}

#[test]
fn the_connection_cannot_be_overrun() {
    let mut victim = Victim::open(small());
    for id in [1003, 1005, 1007] {
        victim.send(open(id)).expect("a stream");
    }
    let borne = victim.flood(100, |round| data([1003, 1005, 1007][round % 3], 1004));
    assert_eq!(borne, 32, "32 KiB in frames of 1 KiB");
    victim.assert_blames(PeerMisbehaved::ConnectionCredit);
}

#[test]
fn a_flood_of_empty_messages_is_stopped_by_credit() {
    let mut victim = Victim::open(small());
    victim.send(open(1003)).expect("a stream");
    let borne = victim.flood(10_000, |_| data(1003, 0));
    assert_eq!(borne, 16 * 1024 / 20, "a header costs 20 bytes");
    victim.assert_blames(PeerMisbehaved::StreamCredit(StreamId::new(1003)));
}

#[test]
fn a_flood_of_empty_notifications_is_stopped_by_credit() {
    let mut victim = Victim::open(small());
    let borne = victim.flood(10_000, |_| frame(Kind::NOTIFY, 1001, NONE, 0, b""));
    assert_eq!(borne, 16 * 1024 / 20);
    victim.assert_blames(PeerMisbehaved::StreamCredit(StreamId::new(1001)));
}

#[test]
fn the_critical_stream_has_a_rate() {
    for len in [0, 4096] {
        let mut victim = Victim::open(Config::default());
        let max = Budgets::default().critical_bytes as usize;
        let borne = victim.flood(1 << 20, |_| frame(Kind::NOTIFY, 0, NONE, 0, &vec![0; len]));
        assert_eq!(borne, max / (20 + len), "{len} bytes each");
        victim.assert_blames(PeerMisbehaved::TooMuchCritical);
    }
}

#[test]
fn critical_notifications_that_nobody_handles_are_bounded_for_all_time() {
    let mut victim = Victim::open(Config::default());
    let max = Budgets::default().critical_bytes as usize;
    let mut borne = 0;
    for _ in 0..100 {
        borne += victim.flood(500, |_| frame(Kind::NOTIFY, 0, NONE, 0, &[0; 4076]));
        victim.pass(Duration::from_secs(1));
    }
    assert_eq!(borne, max / 4096);
    victim.assert_blames(PeerMisbehaved::TooMuchCritical);
}

#[test]
fn a_critical_message_is_small_and_whole() {
    for bad in [
        frame(Kind::NOTIFY, 0, NONE, 0, &[0; 4097]),
        frame(Kind::NOTIFY, 0, Flags::MORE, 0, &[0; 2000]),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(bad).is_err());
        victim.assert_blames(PeerMisbehaved::TooMuchCritical);
    }
}

#[test]
fn an_exchange_in_use_or_out_of_range_is_refused() {
    for (frames, bad) in [
        (vec![request(3, b"a"), request(3, b"b")], 1 << 16 | 3),
        (vec![request(16, b"a")], 1 << 16 | 16),
        (vec![request(0xFFFF, b"a")], 0x1_FFFF),
        // Generation 0, and no correlation at all.
        (vec![frame(Kind::REQUEST, 1001, NONE, 7, b"")], 7),
        (vec![frame(Kind::REQUEST, 1001, NONE, 0, b"")], 0),
        // Another generation does not free the slot.
        (
            vec![
                request(3, b"a"),
                frame(Kind::REQUEST, 1001, NONE, 2 << 16 | 3, b""),
            ],
            2 << 16 | 3,
        ),
    ] {
        let mut victim = Victim::open(small());
        let last = frames.len() - 1;
        for (place, frame) in frames.into_iter().enumerate() {
            assert_eq!(victim.send(frame).is_err(), place == last);
        }
        victim.assert_blames(PeerMisbehaved::ExchangeId(bad));
    }
}

#[test]
fn a_slot_is_taken_until_its_answer_has_gone_out() {
    let mut victim = Victim::open(small());
    victim.send(request(3, b"a")).expect("a request");
    let Some(Event::Incoming(incoming)) = victim.events.pop() else {
        panic!("it arrives");
    };
    let now = victim.now;
    victim
        .session
        .respond(now, incoming.id.expect("a request"), Ok(Message::data(bytes(1))))
        .expect("once");
    assert!(victim.send(request(3, b"b")).is_err());
    victim.assert_blames(PeerMisbehaved::ExchangeId(1 << 16 | 3));
}

#[test]
fn more_exchanges_than_granted_are_refused() {
    let mut victim = Victim::open(small());
    assert_eq!(victim.flood(100, |round| request(round as u32, b"")), 16);
    victim.assert_blames(PeerMisbehaved::ExchangeId(1 << 16 | 16));
}

#[test]
fn requests_past_the_bound_of_pending_bytes_are_refused_one_by_one() {
    let mut victim = Victim::open(small());
    for slot in 0..8 {
        victim.send(request(slot, &[0; 2000])).expect("no fault");
    }
    victim.poll();
    let refused = victim
        .out
        .iter()
        .filter(|frame| frame.header.kind == Kind::RESET && frame.header.flags.contains(Flags::ACK))
        .count();
    assert_eq!(refused, 4, "8 KiB hold four requests of 2000 bytes");
    assert_eq!(victim.session.stats().requests_refused, 4);
    victim.assert_alive();
}

#[test]
fn an_answer_to_no_question_is_refused() {
    for answer in [
        frame(Kind::RESPONSE, 1000, NONE, 1 << 16, b""),
        reset(1000, Flags::ACK, 1 << 16),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(answer).is_err());
        victim.assert_blames(PeerMisbehaved::UnknownExchange(1 << 16));
    }
}

#[test]
fn an_answer_is_taken_once_and_only_after_the_question() {
    let now = |victim: &Victim| victim.now;
    let answer = frame(Kind::RESPONSE, 1000, NONE, 1 << 16, b"yes");
    // Before the request has gone out.
    let mut victim = Victim::open(Config::default());
    let at = now(&victim);
    victim
        .session
        .call(at, Class::Data, None, bytes(1).into(), None)
        .expect("room");
    assert!(victim.send(&answer).is_err());
    victim.assert_blames(PeerMisbehaved::UnknownExchange(1 << 16));
    // Twice, while the first is untaken, and after it was taken.
    for take in [false, true] {
        let mut victim = Victim::open(Config::default());
        let at = now(&victim);
        let key = victim
            .session
            .call(at, Class::Data, None, bytes(1).into(), None)
            .expect("room");
        victim.poll();
        victim.send(&answer).expect("the answer");
        if take {
            assert!(matches!(victim.session.take_response(key), Some(Ok(_))));
        }
        assert!(victim.send(&answer).is_err());
        victim.assert_blames(PeerMisbehaved::UnknownExchange(1 << 16));
    }
    // On the wrong lane.
    let mut victim = Victim::open(Config::default());
    let at = now(&victim);
    victim
        .session
        .call(at, Class::Data, None, bytes(1).into(), None)
        .expect("room");
    victim.poll();
    assert!(
        victim
            .send(frame(Kind::RESPONSE, 100, NONE, 1 << 16, b""))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::UnknownExchange(1 << 16));
}

#[test]
fn credit_only_rises() {
    let mut victim = Victim::open(Config::default());
    victim.send(credit(0, 1)).expect("a lower limit is an old one");
    victim
        .send(credit(9999, 1))
        .expect("a stream that is over may still be credited");
    let now = victim.now;
    let key = victim
        .session
        .open(now, Class::Data, None, Extensions::EMPTY, bytes(0), None)
        .expect("granted");
    victim
        .session
        .send(key, bytes(10_000).into())
        .expect("credit as before");
    victim.poll();
    assert!(victim.out.iter().any(|frame| frame.header.kind == Kind::DATA));
    victim.assert_alive();
}

#[test]
fn an_impossible_limit_is_refused() {
    for (target, id) in [(0, 0), (u32::MAX, 0), (1000, 1000)] {
        for limit in [(1 << 62) + 1, u64::MAX] {
            let mut victim = Victim::open(Config::default());
            let now = victim.now;
            // The lane must be in use to be credited.
            victim
                .session
                .notify(now, Class::Data, None, bytes(1).into())
                .expect("room");
            assert!(victim.send(credit(target, limit)).is_err(), "{target} {limit}");
            victim.assert_blames(PeerMisbehaved::CreditValue(StreamId::new(id)));
        }
        let mut victim = Victim::open(Config::default());
        victim.send(credit(target, 1 << 62)).expect("the greatest limit");
    }
}

#[test]
fn a_stream_without_credit_cannot_be_credited() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(10_003)).expect("a bulk stream");
    assert!(victim.send(credit(10_003, 10)).is_err());
    victim.assert_blames(PeerMisbehaved::CreditValue(StreamId::new(10_003)));
}

#[test]
fn a_malformed_control_frame_is_refused() {
    for (kind, stream, correlation, payload) in [
        (Kind::CREDIT, 0, 0, &b""[..]),
        (Kind::CREDIT, 0, 0, b"0123456789012"),
        (Kind::PING, 0, 0, b"short"),
        (Kind::PONG, 0, 0, b""),
        (Kind::CLOSE, 0, 0, b"1234567"),
        (Kind::ERROR, 0, 0, b""),
        (Kind::DRAIN, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]),
        (Kind::DRAIN, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0, 0]),
        (Kind::DRAIN, 0, 0, &[0, 0, 0, 2, 0, 0, 0, 0, 0]),
        (Kind::RESET, 1003, 0, b"too short"),
        (Kind::RESET, 1001, 1 << 16, b"1234567"),
        (Kind::STREAM_ACK, 1003, 0, b"1234567"),
        (Kind::STREAM_CLOSE, 1003, 0, b"payload"),
        (Kind::STREAM_CLOSE, 1001, 0, b""),
    ] {
        let mut victim = Victim::open(Config::default());
        victim.send(open(1003)).expect("a stream");
        assert!(
            victim
                .send(frame(kind, stream, NONE, correlation, payload))
                .is_err(),
            "{kind}"
        );
        victim.assert_blames(PeerMisbehaved::Malformed(kind));
    }
}

#[test]
fn a_failure_with_too_much_text_is_malformed() {
    let mut victim = Victim::open(Config::default());
    assert!(
        victim
            .send(frame(Kind::CLOSE, 0, NONE, 0, &[0; 8 + 1025]))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::Malformed(Kind::CLOSE));
}

#[test]
fn a_message_in_the_wrong_place_is_refused() {
    for (kind, stream) in [
        (Kind::DATA, 1001),
        (Kind::DATA, 0),
        (Kind::REQUEST, 1000),
        (Kind::NOTIFY, 1000),
        (Kind::RESPONSE, 1001),
        (Kind::LOG, 1000),
        (Kind::JOB_START, 100),
        (Kind::PING, 1001),
        (Kind::CREDIT, 1001),
        (Kind::AUTH_SUCCESS, 0),
        (Kind::KEY_EXCHANGE, 0),
        (Kind::PUBLISH, 1001),
        (Kind::SUBSCRIBE, 0),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(
            victim.send(frame(kind, stream, NONE, 1 << 16, &[0; 12])).is_err(),
            "{kind} on {stream}"
        );
        victim.assert_blames(PeerMisbehaved::UnexpectedFrame(kind));
    }
}

#[test]
fn reserved_frames_are_refused() {
    for kind in [Kind::UPGRADE, Kind::NEGOTIATE, Kind::RESUME, Kind::RESUME_ACK] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(frame(kind, 0, NONE, 0, b"")).is_err());
        victim.assert_blames(PeerMisbehaved::UnexpectedFrame(kind));
    }
}

#[test]
fn a_compressed_frame_is_refused() {
    let mut victim = Victim::open(Config::default());
    assert!(
        victim
            .send(frame(Kind::NOTIFY, 1001, Flags::CMP, 0, b"zip"))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::Compressed);
}

#[test]
fn an_unknown_kind_is_passed_over_unless_it_is_critical() {
    let mut victim = Victim::open(Config::default());
    let unknown = Kind::from_byte(0x4F);
    victim
        .send(frame(unknown, 12_345, NONE, 9, b"later version"))
        .expect("passed over");
    victim.assert_alive();
    assert!(victim.send(frame(unknown, 0, Flags::CRITICAL, 0, b"")).is_err());
    victim.assert_blames(PeerMisbehaved::UnknownCritical(unknown));
}

#[test]
fn a_pong_that_nobody_asked_for_is_refused() {
    let mut victim = Victim::open(Config::default());
    assert!(
        victim
            .send(frame(Kind::PONG, 0, Flags::ACK, 0, &7u64.to_be_bytes()))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::UnknownPong);
}

#[test]
fn a_peer_that_never_reads_cannot_make_the_queue_of_answers_grow() {
    let mut victim = Victim::open(Config::default());
    let mut borne = 0;
    // Within its budget each second, and never reading a PONG.
    while victim.session.is_open() && borne < 100_000 {
        borne += victim.flood(100, |round| ping(round as u64));
        victim.pass(Duration::from_secs(1));
    }
    assert!((1000..1200).contains(&borne), "{borne} answers were kept");
    victim.assert_blames(PeerMisbehaved::TooManyControls);
}

#[test]
fn a_side_that_cancels_much_blames_nobody_for_it() {
    let mut victim = Victim::open(Config::default());
    let mut list = settings();
    list.retain(|(id, _)| *id != 5);
    list.push((5, 4096u16.to_be_bytes().to_vec()));
    let mut other = Victim::silent(Config::default());
    other.send(hello_of(Kind::HELLO, &list)).expect("good");
    other.poll();
    let now = other.now;
    let keys: Vec<_> = (0..4000)
        .map(|_| other.session.call(now, Class::Data, None, bytes(1).into(), None))
        .collect();
    other.poll();
    for key in keys {
        other.session.cancel(now, key.expect("within the limit"));
    }
    // 4000 cancels wait for the wire when a PING comes.
    other.send(ping(1)).expect("no fault of the peer");
    other.assert_alive();
    victim.send(ping(1)).expect("fine");
}

#[test]
fn a_fault_ends_what_was_running_with_its_reason() {
    let mut victim = Victim::open(Config::default());
    let now = victim.now;
    let key = victim
        .session
        .call(now, Class::Job, None, bytes(1).into(), None)
        .expect("room");
    victim.poll();
    assert!(victim.send(data(1004, 1)).is_err());
    let fault = SessionError::PeerMisbehaved(PeerMisbehaved::UnknownStream(StreamId::new(1004)));
    assert_eq!(
        victim.session.take_response(key),
        Some(Err(CallError::Closed(CloseReason::Error(fault))))
    );
    assert_eq!(victim.session.outstanding(), 0);
    assert!(matches!(victim.events.last(), Some(Event::Closed(_))));
}

#[test]
fn frames_before_a_fault_in_the_same_bytes_are_taken() {
    let mut victim = Victim::open(Config::default());
    let bytes = [open(1003), data(1003, 5), data(1004, 5)].concat();
    assert!(victim.send(bytes).is_err());
    assert!(matches!(victim.events[0], Event::Opened(_)));
    assert!(matches!(victim.events[1], Event::Readable(_)));
    victim.assert_blames(PeerMisbehaved::UnknownStream(StreamId::new(1004)));
}

#[test]
fn an_error_of_the_peer_ends_the_session_without_an_answer() {
    for (kind, refused) in [(Kind::ERROR, true), (Kind::CLOSE, false)] {
        let mut victim = Victim::open(Config::default());
        victim.send(ping(1)).expect("a PONG waits");
        victim
            .send(frame(kind, 0, NONE, 0, &[0, 0, 0, 100, 0, 0, 0, 0]))
            .expect("it may say so");
        let reason = victim.session.close_reason().expect("over");
        assert_eq!(matches!(reason, CloseReason::Refused(_)), refused);
        victim.poll();
        assert!(victim.out.is_empty(), "nobody reads any more");
    }
}
