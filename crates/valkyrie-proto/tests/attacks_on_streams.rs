//! Attacks on streams: ids, ends, resets and their acknowledgements.

mod hostile;

use hostile::{Victim, data, frame, open, reset};
use valkyrie_frame::Flags;
use valkyrie_proto::{Config, Event, Kind, Limits, PeerMisbehaved, StreamId};

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
fn a_stream_does_not_end_inside_a_message() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    victim
        .send(frame(Kind::DATA, 1003, Flags::MORE, 0, &[1; 2000]))
        .expect("a part");
    assert!(
        victim
            .send(frame(Kind::STREAM_CLOSE, 1003, Flags::EOS, 0, b""))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::FragmentMixed(StreamId::new(1003)));
}

#[test]
fn more_streams_than_granted_are_refused() {
    let mut victim = Victim::open(small());
    assert_eq!(victim.flood(20, |round| open(1003 + 2 * round as u32)), 8);
    victim.assert_blames(PeerMisbehaved::StreamCount);
}

#[test]
fn streams_that_are_opened_and_abandoned_stay_within_their_number() {
    // Opened, ended, never released here: no further one is granted.
    let mut victim = Victim::open(small());
    for round in 0..8 {
        let id = 1003 + 2 * round;
        victim.send(open(id)).expect("granted");
        victim
            .send(frame(Kind::STREAM_CLOSE, id, Flags::EOS, 0, b""))
            .expect("ended");
    }
    victim.poll();
    assert!(victim.send(open(1019)).is_err());
    victim.assert_blames(PeerMisbehaved::StreamCount);
}

#[test]
fn an_id_of_the_wrong_parity_or_of_a_lane_cannot_be_opened() {
    for id in [
        0, 1, 2, 100, 101, 1000, 1001, 10_000, 10_001, 4, 102, 1002, 10_002,
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(open(id)).is_err());
        victim.assert_blames(PeerMisbehaved::StreamId(StreamId::new(id)));
    }
}

#[test]
fn a_live_id_cannot_be_opened_again() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    assert!(victim.send(open(1003)).is_err());
    victim.assert_blames(PeerMisbehaved::StreamId(StreamId::new(1003)));
}

#[test]
fn an_opening_of_a_stream_is_one_small_frame() {
    for bad in [
        frame(Kind::OPEN, 1003, Flags::MORE, 0, &[0; 2000]),
        frame(Kind::OPEN, 1003, NONE, 0, &[0; 4097]),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(bad).is_err());
        victim.assert_blames(PeerMisbehaved::Malformed(Kind::OPEN));
    }
}

#[test]
fn a_wrong_final_offset_is_refused() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    victim.send(data(1003, 80)).expect("100 bytes");
    let payload = [&99u64.to_be_bytes()[..], &[0; 8]].concat();
    assert!(victim.send(frame(Kind::RESET, 1003, NONE, 0, &payload)).is_err());
    victim.assert_blames(PeerMisbehaved::FinalOffset(StreamId::new(1003)));

    // In the acknowledgement of our own reset, too.
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    victim.send(data(1003, 80)).expect("100 bytes");
    let Some(Event::Opened(opened)) = victim.events.drain(..).next() else {
        panic!("it opens");
    };
    let now = victim.now;
    victim.session.release(now, opened.key);
    victim.poll();
    assert!(
        victim
            .send(frame(
                Kind::STREAM_ACK,
                1003,
                Flags::ACK,
                0,
                &101u64.to_be_bytes()
            ))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::FinalOffset(StreamId::new(1003)));
}

#[test]
fn what_belongs_to_no_stream_is_refused() {
    let unknown = PeerMisbehaved::UnknownStream(StreamId::new(1004));
    for bad in [
        data(1004, 1),
        frame(Kind::STREAM_CLOSE, 1004, Flags::EOS, 0, b""),
        frame(Kind::STREAM_ACK, 1004, Flags::ACK, 0, &[0; 8]),
        reset(1004, NONE, 0),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(bad).is_err());
        victim.assert_blames(unknown);
    }
}

#[test]
fn the_opener_may_reset_what_has_just_ended() {
    let mut victim = Victim::open(Config::default());
    victim
        .send(reset(1003, NONE, 0))
        .expect("it may not have heard of the end");
    victim.assert_alive();
}

#[test]
fn an_acknowledgement_that_nobody_waits_for_is_refused() {
    let mut victim = Victim::open(Config::default());
    victim.send(open(1003)).expect("a stream");
    assert!(
        victim
            .send(frame(Kind::STREAM_ACK, 1003, Flags::ACK, 0, &[0; 8]))
            .is_err()
    );
    victim.assert_blames(PeerMisbehaved::UnexpectedFrame(Kind::STREAM_ACK));
}

#[test]
fn a_lane_cannot_be_reset_or_ended() {
    for (bad, kind) in [
        (reset(1001, NONE, 0), Kind::RESET),
        (frame(Kind::NOTIFY, 1001, Flags::EOS, 0, b""), Kind::NOTIFY),
        (
            frame(Kind::REQUEST, 1001, Flags::EOS, 1 << 16, b""),
            Kind::REQUEST,
        ),
    ] {
        let mut victim = Victim::open(Config::default());
        assert!(victim.send(bad).is_err());
        victim.assert_blames(PeerMisbehaved::UnexpectedFrame(kind));
    }
}

#[test]
fn nothing_follows_the_end_of_a_stream() {
    for late in [data(1003, 1), frame(Kind::STREAM_CLOSE, 1003, Flags::EOS, 0, b"")] {
        let mut victim = Victim::open(Config::default());
        victim.send(open(1003)).expect("a stream");
        victim
            .send(frame(Kind::DATA, 1003, Flags::EOS, 0, b"last"))
            .expect("the end");
        assert!(victim.send(late).is_err());
        victim.assert_blames(PeerMisbehaved::AfterEnd(StreamId::new(1003)));
    }
}
