//! Attacks before a session is open: what is no opening, comes slowly, or announces what cannot be.

mod hostile;

use std::time::Duration;

use hostile::{Victim, frame, hello, hello_of, ping, request, settings};
use valkyrie_frame::{DecodeError, Flags, HeaderError};
use valkyrie_proto::{
    CloseReason, Config, Culprit, ErrorCode, Event, Kind, Limits, PeerMisbehaved, SessionError,
    SettingsError, Side,
};

const NONE: Flags = Flags::NONE;

#[test]
fn the_first_frame_is_the_opening() {
    for (bad, kind) in [
        (ping(1), Kind::PING),
        (request(0, b""), Kind::REQUEST),
        (hello(Kind::HELLO_ACK), Kind::HELLO_ACK),
        (
            frame(Kind::from_byte(0x6A), 0, NONE, 0, b""),
            Kind::from_byte(0x6A),
        ),
        (frame(Kind::HELLO, 1, NONE, 0, b""), Kind::HELLO),
        (frame(Kind::HELLO, 0, NONE, 0, &[0; 4077]), Kind::HELLO),
    ] {
        let mut victim = Victim::silent(Config::default());
        // The header alone is enough to refuse it.
        assert!(victim.send(&bad[..20]).is_err());
        victim.assert_blames(PeerMisbehaved::NoHello(kind));
        assert!(
            victim
                .events
                .iter()
                .all(|event| !matches!(event, Event::Connected(_)))
        );
    }
    let mut victim = Victim::of(Side::Dialer, Config::default());
    assert!(victim.send(hello(Kind::HELLO)).is_err());
    victim.assert_blames(PeerMisbehaved::NoHello(Kind::HELLO));
    assert_eq!(victim.attacker(), Side::Acceptor);
}

#[test]
fn what_is_no_frame_is_refused_at_its_first_byte() {
    let mut victim = Victim::silent(Config::default());
    assert!(victim.send(b"GET / HTTP/1.1").is_err());
    let error = SessionError::Decode(DecodeError::Header(HeaderError::Magic { found: 0x4745 }));
    victim.assert_ended(&error, ErrorCode::PROTOCOL);

    let mut other = hello(Kind::HELLO);
    other[2] = 3;
    let mut victim = Victim::silent(Config::default());
    assert!(victim.send(&other[..3]).is_err());
    let error = SessionError::Decode(DecodeError::Header(HeaderError::Version { found: 3 }));
    victim.assert_ended(&error, ErrorCode::VERSION);
}

#[test]
fn a_slow_opening_is_ended_in_time_however_it_drips() {
    let mut victim = Victim::silent(Config::default());
    let hello = hello(Kind::HELLO);
    for byte in hello.iter().take(20) {
        victim.send([*byte]).ok();
        victim.pass(Duration::from_millis(300));
        if victim.session.is_closed() {
            break;
        }
    }
    let timeout = Limits::default().handshake_timeout;
    let reason = victim.session.close_reason().expect("it is over");
    assert_eq!(reason, &CloseReason::HandshakeTimeout(timeout));
    assert_eq!(reason.culprit(), Some(Culprit::Peer));
    victim.poll();
    assert_eq!(
        victim.out[0].payload[..4],
        ErrorCode::HANDSHAKE_TIMEOUT.value().to_be_bytes()
    );
}

#[test]
fn the_opening_comes_once() {
    for kind in [Kind::HELLO, Kind::HELLO_ACK] {
        let mut victim = Victim::open(Config::default());
        victim.send(ping(1)).expect("some traffic");
        assert!(victim.send(hello(kind)).is_err());
        victim.assert_blames(PeerMisbehaved::UnexpectedFrame(kind));
    }
}

#[test]
fn every_required_setting_is_required() {
    for missing in settings().iter().map(|(id, _)| *id) {
        let rest: Vec<_> = settings().into_iter().filter(|(id, _)| *id != missing).collect();
        let mut victim = Victim::silent(Config::default());
        assert!(victim.send(hello_of(Kind::HELLO, &rest)).is_err());
        victim.assert_ended(
            &SessionError::Settings(SettingsError::Missing(missing)),
            ErrorCode::PROTOCOL,
        );
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let u32_of = |value: u32| value.to_be_bytes().to_vec();
    for (id, value, error) in [
        (1, vec![1, 3], SettingsError::Version),
        (3, u32_of(4095), SettingsError::Value(3)),
        (3, u32_of((1 << 20) + 1), SettingsError::Value(3)),
        (3, vec![0, 64], SettingsError::Length { id: 3, found: 2 }),
        (4, u32_of(16_383), SettingsError::Value(4)),
        (4, u32_of((64 << 20) + 1), SettingsError::Value(4)),
        (5, vec![0, 0], SettingsError::Value(5)),
        (5, vec![0], SettingsError::Length { id: 5, found: 1 }),
        (7, u32_of(0), SettingsError::Value(7)),
        (8, u32_of(2 * (16_384 + 1040) - 1), SettingsError::Value(8)),
        (9, u32_of(1), SettingsError::Value(9)),
        (10, u32_of(1000), SettingsError::Value(10)),
        (12, vec![0; 65], SettingsError::Length { id: 12, found: 65 }),
    ] {
        let mut list: Vec<_> = settings().into_iter().filter(|(old, _)| *old != id).collect();
        list.push((id, value));
        let mut victim = Victim::silent(Config::default());
        assert!(victim.send(hello_of(Kind::HELLO, &list)).is_err(), "{error}");
        victim.assert_ended(&SessionError::Settings(error), ErrorCode::PROTOCOL);
    }
    let mut twice = settings();
    twice.push((3, u32_of(16_384)));
    let mut victim = Victim::silent(Config::default());
    assert!(victim.send(hello_of(Kind::HELLO, &twice)).is_err());
    victim.assert_ended(
        &SessionError::Settings(SettingsError::Repeated(3)),
        ErrorCode::PROTOCOL,
    );
    let cut = hello(Kind::HELLO);
    let mut short = frame(Kind::HELLO, 0, NONE, 0, &cut[20..cut.len() - 1]);
    let mut victim = Victim::silent(Config::default());
    assert!(victim.send(&mut short).is_err());
    victim.assert_ended(
        &SessionError::Settings(SettingsError::Truncated),
        ErrorCode::PROTOCOL,
    );
}

#[test]
fn unknown_settings_are_ignored() {
    let mut list = settings();
    list.push((0x0A0A, vec![1, 2, 3]));
    list.push((0x0A0A, vec![]));
    list.push((0xFFFF, vec![0; 500]));
    let mut victim = Victim::silent(Config::default());
    victim.send(hello_of(Kind::HELLO, &list)).expect("good");
    victim.assert_alive();
}
