//! Streams under delay: ids are used again, resets cross, credit never belongs to the wrong use.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{message, opened};
use valkyrie_proto::{
    Batch, Class, Config, ErrorCode, Event, Extensions, Failure, Inbox, Limits, OpenError, RecvError,
    Refusal, Side, StreamKey,
};
use valkyrie_sim::{Pair, Path};

fn open(pair: &mut Pair, side: Side, class: Class) -> StreamKey {
    let now = pair.now();
    pair.session(side)
        .open(now, class, None, Extensions::EMPTY, Bytes::new(), None)
        .expect("a stream is free")
}

fn reset(pair: &mut Pair, side: Side, key: StreamKey) {
    let now = pair.now();
    pair.session(side)
        .reset(now, key, Failure::new(ErrorCode::CANCELLED, "test"));
}

fn release(pair: &mut Pair, side: Side, key: StreamKey) {
    let now = pair.now();
    pair.session(side).release(now, key);
}

/// Small windows, so that a limit from an earlier use of an id would be noticed at once.
fn narrow() -> Config {
    let limits = Limits {
        max_frame: 4096,
        max_message: 1 << 20,
        window_system: 16 * 1024,
        window_job: 16 * 1024,
        window_job_max: 64 * 1024,
        window_data: 16 * 1024,
        window_connection: 256 * 1024,
        ..Limits::default()
    };
    Config {
        limits,
        ..Config::default()
    }
}

/// Every order in which the two sides finish and reset one stream, at every distance in time from
/// "long before the other hears of it" to "long after", with data both ways, and then the same id
/// once more with all of its credit used.
#[test]
fn an_id_is_good_again_after_every_way_to_end_a_stream() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Finish,
        Reset,
        FinishThenReset,
    }
    let ends = [End::Finish, End::Reset, End::FinishThenReset];
    for opener in [Side::Dialer, Side::Acceptor] {
        for opener_ends in ends {
            for other_ends in ends {
                for skew in -3..=3i32 {
                    let case = format!("{opener:?} {opener_ends:?} {other_ends:?} {skew}");
                    let other = opener.peer();
                    let mut pair = Pair::open(narrow(), Path::new(10_000_000, Duration::from_millis(10)), 3);
                    let key = open(&mut pair, opener, Class::System);
                    let id = pair.session(opener).stream_id(key);
                    pair.run_for(Duration::from_millis(30));
                    let far = opened(&mut pair, other).expect("it was opened");
                    // More than a window each way, so that credit flows while the stream ends.
                    for _ in 0..12 {
                        pair.session(opener).send(key, message(3000)).expect("room");
                        pair.session(other).send(far, message(3000)).expect("room");
                    }
                    let end = |pair: &mut Pair, side: Side, key: StreamKey, how: End| {
                        if how != End::Reset {
                            pair.session(side).finish(key).expect("the key is good");
                        }
                        if how == End::FinishThenReset {
                            pair.run_for(Duration::from_millis(3));
                        }
                        if how != End::Finish {
                            reset(pair, side, key);
                        }
                    };
                    let mut inbox = Inbox::new();
                    let first = if skew <= 0 { opener } else { other };
                    let of = |side: Side| {
                        if side == opener {
                            (key, opener_ends)
                        } else {
                            (far, other_ends)
                        }
                    };
                    let (first_key, how) = of(first);
                    end(&mut pair, first, first_key, how);
                    for _ in 0..skew.abs() {
                        pair.run_for(Duration::from_millis(7));
                        let _ = pair.session(opener).recv(key, &mut inbox);
                        let _ = pair.session(other).recv(far, &mut inbox);
                    }
                    let (second_key, how) = of(first.peer());
                    end(&mut pair, first.peer(), second_key, how);
                    // Read to the end, as a user would, and let go.
                    for _ in 0..40 {
                        pair.run_for(Duration::from_millis(5));
                        let _ = pair.session(opener).recv(key, &mut inbox);
                        let _ = pair.session(other).recv(far, &mut inbox);
                    }
                    release(&mut pair, opener, key);
                    release(&mut pair, other, far);
                    pair.run_for(Duration::from_millis(100));
                    // The class has ids for 49 more; use them all so that this id comes again.
                    let mut again = None;
                    for _ in 0..60 {
                        let key = open(&mut pair, opener, Class::System);
                        if pair.session(opener).stream_id(key) == id {
                            again = Some(key);
                            break;
                        }
                        reset(&mut pair, opener, key);
                        release(&mut pair, opener, key);
                    }
                    let again = again.unwrap_or_else(|| panic!("{case}: the id never came back"));
                    for _ in 0..30 {
                        pair.session(opener).send(again, message(3000)).expect("room");
                    }
                    pair.run_for(Duration::from_millis(100));
                    let far = opened(&mut pair, other).unwrap_or_else(|| {
                        panic!(
                            "{case}: {:?} {:?}",
                            pair.session(opener).close_reason().cloned(),
                            pair.session(other).close_reason().cloned()
                        )
                    });
                    let mut got = 0;
                    for _ in 0..40 {
                        let _ = pair.session(other).recv(far, &mut inbox);
                        while inbox.pop_front().is_some() {
                            got += 1;
                        }
                        pair.run_for(Duration::from_millis(25));
                    }
                    assert!(
                        pair.session(opener).is_open() && pair.session(other).is_open(),
                        "{case}"
                    );
                    assert!(got >= 30, "{case}: {got} of 30 came");
                }
            }
        }
    }
}

#[test]
fn credit_for_a_stream_that_was_reset_never_reaches_the_next_with_its_id() {
    let mut pair = Pair::open(narrow(), Path::new(1_000_000, Duration::from_millis(20)), 1);
    // All ids of the class but one are in use, so that one is used again at once.
    let _held: Vec<_> = (0..48)
        .map(|_| open(&mut pair, Side::Dialer, Class::System))
        .collect();
    pair.run_for(Duration::from_millis(100));
    pair.node(Side::Acceptor).events.clear();
    let mut key = open(&mut pair, Side::Dialer, Class::System);
    for _ in 0..200 {
        for _ in 0..8 {
            pair.session(Side::Dialer).send(key, message(4000)).expect("room");
        }
        pair.run_until_true(Duration::from_secs(5), |pair| {
            pair.node(Side::Acceptor)
                .events
                .iter()
                .any(|event| matches!(event, Event::Opened(_)))
                || pair.session(Side::Acceptor).is_closed()
        });
        let far = opened(&mut pair, Side::Acceptor).expect("nobody overran a window");
        // Reset by the side that did not open it, while data is on its way.
        reset(&mut pair, Side::Acceptor, far);
        release(&mut pair, Side::Acceptor, far);
        pair.run_until_true(Duration::from_secs(5), |pair| {
            matches!(
                pair.session(Side::Dialer).recv(key, &mut Inbox::new()),
                Err(RecvError::Reset(_))
            )
        });
        release(&mut pair, Side::Dialer, key);
        key = open(&mut pair, Side::Dialer, Class::System);
    }
    pair.run_for(Duration::from_secs(1));
    assert!(pair.session(Side::Dialer).is_open() && pair.session(Side::Acceptor).is_open());
}

#[test]
fn streams_that_end_before_they_were_sent_leave_nothing_behind() {
    let mut pair = Pair::open(Config::default(), Path::INSTANT, 1);
    for _ in 0..5000 {
        let key = open(&mut pair, Side::Dialer, Class::Job);
        pair.session(Side::Dialer).send(key, message(10)).expect("room");
        reset(&mut pair, Side::Dialer, key);
        release(&mut pair, Side::Dialer, key);
        let broken = pair.session(Side::Dialer).invariants();
        assert_eq!(broken, Ok(()));
    }
    let key = open(&mut pair, Side::Dialer, Class::Data);
    pair.session(Side::Dialer).send(key, message(10)).expect("room");
    pair.run_until_quiet();
    assert!(opened(&mut pair, Side::Acceptor).is_some());
    assert!(
        opened(&mut pair, Side::Acceptor).is_none(),
        "the peer never heard of the others"
    );
    let sent = pair.session(Side::Dialer).stats();
    assert_eq!(
        sent.class(Class::Job).bytes_sent,
        0,
        "the data stream pays for itself"
    );
    assert!(sent.class(Class::Data).bytes_sent > 0);
}

#[test]
fn nothing_follows_a_close() {
    let mut pair = Pair::open(Config::default(), Path::INSTANT, 1);
    let key = open(&mut pair, Side::Dialer, Class::Job);
    pair.session(Side::Dialer).finish(key).expect("the key is good");
    pair.run_until_quiet();
    assert!(opened(&mut pair, Side::Acceptor).is_some());
    let now = pair.now();
    let acceptor = pair.session(Side::Acceptor);
    acceptor.close(now, Failure::new(ErrorCode::OK, "bye"));
    let mut batch = Batch::default();
    while acceptor.poll_transmit(now, &mut batch, 1 << 20) {}
    let bytes: Vec<u8> = batch.chunks().flatten().copied().collect();
    assert_eq!(bytes[3], 0x05, "it is CLOSE");
    assert_eq!(
        bytes.len(),
        20 + 8 + 3,
        "one frame: the code, retry_after, and \"bye\""
    );
}

#[test]
fn an_end_and_a_refusal_pass_when_all_credit_of_the_connection_is_spent() {
    let limits = Limits {
        window_system: 64 * 1024,
        window_job: 64 * 1024,
        window_job_max: 64 * 1024,
        window_data: 64 * 1024,
        window_connection: 64 * 1024,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut pair = Pair::open(config, Path::INSTANT, 1);
    let idle = open(&mut pair, Side::Dialer, Class::Job);
    let full = [(); 2].map(|()| open(&mut pair, Side::Dialer, Class::Job));
    pair.run_until_quiet();
    let idle_far = opened(&mut pair, Side::Acceptor).expect("opened");
    let now = pair.now();
    // A request of the peer, to be refused when the credit is spent.
    let asked = pair
        .session(Side::Acceptor)
        .call(now, Class::Job, None, message(1), None)
        .expect("room");
    for _ in 0..40 {
        pair.session(Side::Dialer)
            .send(full[0], message(1000))
            .expect("room");
    }
    pair.run_until_quiet();
    for _ in 0..40 {
        pair.session(Side::Dialer)
            .send(full[1], message(1000))
            .expect("room");
    }
    pair.run_until_quiet();
    // Nobody reads: all of the connection's credit is spent.
    pair.session(Side::Dialer).finish(idle).expect("good");
    let late = open(&mut pair, Side::Dialer, Class::Job);
    let id = common::request(&mut pair, Side::Dialer).expect("asked");
    let now = pair.now();
    pair.session(Side::Dialer)
        .respond(now, id, Err(Failure::new(ErrorCode::NOT_FOUND, "")))
        .expect("once");
    pair.run_until_quiet();
    assert_eq!(
        pair.session(Side::Acceptor).recv(idle_far, &mut Inbox::new()),
        Ok(true)
    );
    assert!(
        opened(&mut pair, Side::Acceptor).is_some(),
        "an OPEN costs no credit"
    );
    assert!(pair.session(Side::Acceptor).take_response(asked).is_some());
    let _ = late;
}

#[test]
fn a_reader_that_leaves_gives_its_credit_back() {
    let mut pair = Pair::open(narrow(), Path::INSTANT, 1);
    for round in 0..100 {
        let key = open(&mut pair, Side::Dialer, Class::Data);
        for _ in 0..4 {
            pair.session(Side::Dialer).send(key, message(3900)).expect("room");
        }
        if round % 2 == 0 {
            pair.session(Side::Dialer).finish(key).expect("good");
        }
        pair.run_until_quiet();
        let far = opened(&mut pair, Side::Acceptor).expect("opened");
        let now = pair.now();
        pair.session(Side::Acceptor).abandon_recv(now, far);
        if round % 3 == 0 {
            let _ = pair.session(Side::Dialer).send(key, message(10));
        }
        pair.run_until_quiet();
        release(&mut pair, Side::Acceptor, far);
        release(&mut pair, Side::Dialer, key);
        pair.run_until_quiet();
    }
    // 1.6 MB went through a connection window of 256 KiB, so none of it leaked.
    let key = open(&mut pair, Side::Dialer, Class::Data);
    pair.session(Side::Dialer).send(key, message(100)).expect("room");
    pair.run_until_quiet();
    let far = opened(&mut pair, Side::Acceptor).expect("opened");
    let mut inbox = Inbox::new();
    pair.session(Side::Acceptor)
        .recv(far, &mut inbox)
        .expect("it is open");
    assert_eq!(inbox.len(), 1);
}

#[test]
fn the_number_of_streams_is_bounded_and_comes_back() {
    let config = Config {
        limits: Limits {
            max_streams: 4,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::open(config, Path::INSTANT, 1);
    for _ in 0..50 {
        let keys: Vec<_> = (0..4)
            .map(|_| open(&mut pair, Side::Dialer, Class::Job))
            .collect();
        let now = pair.now();
        let refused =
            pair.session(Side::Dialer)
                .open(now, Class::Job, None, Extensions::EMPTY, Bytes::new(), None);
        assert_eq!(refused, Err(OpenError::NoStream));
        pair.run_until_quiet();
        for key in keys {
            pair.session(Side::Dialer).finish(key).expect("good");
            let far = opened(&mut pair, Side::Acceptor).expect("opened");
            pair.session(Side::Acceptor).finish(far).expect("good");
            pair.run_until_quiet();
            release(&mut pair, Side::Acceptor, far);
            release(&mut pair, Side::Dialer, key);
        }
        pair.run_until_quiet();
        assert!(
            common::take(&mut pair, Side::Dialer, |event| matches!(event, Event::Capacity)
                .then_some(()))
            .is_some()
        );
        pair.node(Side::Dialer).events.clear();
        pair.node(Side::Acceptor).events.clear();
    }
}

#[test]
fn a_deadline_of_a_stream_resets_it_on_both_sides() {
    let mut pair = Pair::open(
        Config::default(),
        Path::new(1_000_000, Duration::from_millis(5)),
        1,
    );
    let now = pair.now();
    let deadline = Some(Duration::from_millis(100));
    let key = pair
        .session(Side::Dialer)
        .open(now, Class::Job, None, Extensions::EMPTY, Bytes::new(), deadline)
        .expect("free");
    pair.run_for(Duration::from_millis(90));
    let far = opened(&mut pair, Side::Acceptor).expect("opened");
    assert!(pair.session(Side::Acceptor).send(far, message(1)).is_ok());
    pair.run_for(Duration::from_millis(50));
    for (side, key) in [(Side::Dialer, key), (Side::Acceptor, far)] {
        let refused = pair.session(side).send(key, message(1)).expect_err("over");
        assert!(
            matches!(refused.refusal, Refusal::Reset(failure) if failure.code == ErrorCode::DEADLINE_EXCEEDED)
        );
        release(&mut pair, side, key);
    }
    pair.run_for(Duration::from_millis(50));
    assert!(pair.session(Side::Dialer).is_open() && pair.session(Side::Acceptor).is_open());
}
