//! Drain, under delay: every call is answered or known not to have run.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{answer_all, message, request};
use valkyrie_proto::{
    CallError, Class, CloseReason, Config, ErrorCode, Event, Limits, Message, Refusal, Side,
};
use valkyrie_sim::{Pair, Path};

fn slow() -> Path {
    Path::new(1_000_000, Duration::from_millis(40))
}

#[test]
fn no_call_is_lost_when_the_peer_drains_under_delay() {
    for offset_ms in (0..260).step_by(7) {
        let mut pair = Pair::open(Config::default(), slow(), offset_ms);
        let mut keys = Vec::new();
        let start = pair.now();
        let mut refused = 0;
        let mut drained = false;
        // A call every millisecond, while the other side drains at some moment among them.
        for ms in 0..400 {
            pair.run_until(start + Duration::from_millis(ms));
            let now = pair.now();
            if ms >= offset_ms && !drained {
                drained = true;
                pair.session(Side::Acceptor).drain(now, 10);
            }
            match pair
                .session(Side::Dialer)
                .call(now, Class::Data, None, message(700), None)
            {
                Ok(key) => keys.push(key),
                Err(error) => {
                    assert!(matches!(error.refusal, Refusal::Draining | Refusal::Closed));
                    refused += 1;
                }
            }
            answer_all(&mut pair, Side::Acceptor);
        }
        pair.run_for(Duration::from_secs(2));
        answer_all(&mut pair, Side::Acceptor);
        pair.run_for(Duration::from_secs(2));
        assert!(refused > 0, "the dialler has heard of the drain");
        for key in keys {
            let outcome = pair.session(Side::Dialer).take_response(key);
            assert!(
                matches!(outcome, Some(Ok(_) | Err(CallError::NotProcessed))),
                "drain at {offset_ms} ms: {outcome:?}"
            );
        }
        for side in [Side::Dialer, Side::Acceptor] {
            let reason = pair.session(side).close_reason().cloned();
            assert_eq!(reason.as_ref().and_then(CloseReason::culprit), None, "{reason:?}");
            assert!(pair.session(side).is_closed(), "nothing keeps the session");
        }
    }
}

#[test]
fn what_was_still_queued_at_the_end_of_a_drain_was_not_processed() {
    // So slow that calls queue while both phases of the drain pass them.
    let path = Path::new(20_000, Duration::from_millis(5));
    let mut pair = Pair::open(Config::default(), path, 1);
    let now = pair.now();
    let keys: Vec<_> = (0..64)
        .map(|_| {
            pair.session(Side::Dialer)
                .call(now, Class::Data, None, message(2000), None)
                .expect("the queue takes it")
        })
        .collect();
    pair.run_for(Duration::from_millis(300));
    let now = pair.now();
    pair.session(Side::Acceptor).drain(now, 0);
    for _ in 0..200 {
        pair.run_for(Duration::from_millis(100));
        answer_all(&mut pair, Side::Acceptor);
    }
    let mut unprocessed = 0;
    for key in keys {
        match pair.session(Side::Dialer).take_response(key) {
            Some(Ok(_)) => {}
            Some(Err(CallError::NotProcessed)) => unprocessed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(unprocessed > 0, "some were late");
    for side in [Side::Dialer, Side::Acceptor] {
        let reason = pair.session(side).close_reason().expect("both are closed");
        assert_eq!(reason.culprit(), None, "{side:?}: {reason}");
    }
}

#[test]
fn a_drain_with_nothing_running_tells_both_phases_before_it_closes() {
    let mut pair = Pair::open(Config::default(), slow(), 1);
    let now = pair.now();
    pair.session(Side::Acceptor).drain(now, 7);
    // Sent when the drain is on its way and cannot have been heard of.
    let key = pair
        .session(Side::Dialer)
        .call(now, Class::Data, None, message(1), None)
        .expect("nothing is known of a drain yet");
    // The handler is slow; the drain waits for it.
    pair.run_for(Duration::from_millis(500));
    assert!(!pair.session(Side::Acceptor).is_closed(), "a call is running");
    let id = request(&mut pair, Side::Acceptor).expect("the call came before the last phase");
    let now = pair.now();
    pair.session(Side::Acceptor)
        .respond(now, id, Ok(Message::data(Bytes::new())))
        .expect("answered once");
    pair.run_for(Duration::from_millis(500));
    assert!(matches!(
        pair.session(Side::Dialer).take_response(key),
        Some(Ok(_))
    ));
    assert!(pair.session(Side::Acceptor).is_closed());
}

#[test]
fn a_drain_ends_though_nobody_takes_the_answers() {
    let mut pair = Pair::open(Config::default(), slow(), 1);
    let now = pair.now();
    let key = pair
        .session(Side::Dialer)
        .call(now, Class::Data, None, message(1), None)
        .expect("room");
    pair.run_for(Duration::from_millis(200));
    answer_all(&mut pair, Side::Acceptor);
    pair.run_for(Duration::from_millis(200));
    let now = pair.now();
    pair.session(Side::Dialer).drain(now, 0);
    pair.run_for(Duration::from_secs(1));
    assert!(
        pair.session(Side::Dialer).is_closed(),
        "an answer that has arrived is nothing to wait for"
    );
    assert!(matches!(
        pair.session(Side::Dialer).take_response(key),
        Some(Ok(_))
    ));
}

#[test]
fn both_sides_may_drain_at_once() {
    for skew_ms in [0, 1, 20, 40, 60, 80, 81, 100] {
        let mut pair = Pair::open(Config::default(), slow(), 1);
        let now = pair.now();
        let mut keys = Vec::new();
        for side in [Side::Dialer, Side::Acceptor] {
            for _ in 0..10 {
                let key = pair.session(side).call(now, Class::Job, None, message(10), None);
                keys.push((side, key.expect("room")));
            }
        }
        pair.session(Side::Dialer).drain(now, 0);
        pair.run_for(Duration::from_millis(skew_ms));
        let now = pair.now();
        pair.session(Side::Acceptor).drain(now, 0);
        for _ in 0..40 {
            pair.run_for(Duration::from_millis(50));
            answer_all(&mut pair, Side::Dialer);
            answer_all(&mut pair, Side::Acceptor);
        }
        for (side, key) in keys {
            let outcome = pair.session(side).take_response(key);
            assert!(
                matches!(outcome, Some(Ok(_) | Err(CallError::NotProcessed))),
                "skew {skew_ms} ms, {side:?}: {outcome:?}"
            );
        }
        assert!(pair.session(Side::Dialer).is_closed() && pair.session(Side::Acceptor).is_closed());
    }
}

#[test]
fn a_drain_that_takes_too_long_closes_and_says_so() {
    let limits = Limits {
        drain_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut pair = Pair::open(config, slow(), 1);
    let now = pair.now();
    let key = pair
        .session(Side::Dialer)
        .call(now, Class::Data, None, message(1), None)
        .expect("room");
    pair.run_for(Duration::from_millis(100));
    let now = pair.now();
    pair.session(Side::Acceptor).drain(now, 0);
    pair.run_for(Duration::from_millis(2900));
    assert!(!pair.session(Side::Acceptor).is_closed());
    pair.run_for(Duration::from_millis(300));
    assert!(pair.session(Side::Acceptor).is_closed());
    let outcome = pair.session(Side::Dialer).take_response(key);
    assert!(
        matches!(outcome, Some(Err(CallError::Closed(CloseReason::Peer(ref failure)))) if failure.code == ErrorCode::OK)
    );
    assert!(
        pair.node(Side::Acceptor)
            .events
            .iter()
            .any(|event| matches!(event, Event::Drained))
    );
}
