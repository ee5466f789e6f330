//! Logs written, continued, flooded and tampered with.

mod floods;
mod tampering;

use std::time::{Duration, Instant};

use valkyrie_frame::{Class, ErrorCode};

use super::*;
use crate::UnixTime;
use crate::policy::{Policy, Standing, Subject};
use crate::verified::{PlainAllowed, Verified};

const TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

fn somebody(uid: u32) -> Verified {
    Verified::peer_credentials(uid, 10, Some(7), PlainAllowed::by_name())
}

fn refused(place: &str) -> AuditEvent<'_> {
    AuditEvent::Refused {
        place,
        code: ErrorCode::IDENTITY_UNTRUSTED,
        reason: "nobody vouches for it",
    }
}

/// A log of `count` refusals behind its first line.
fn log(count: usize) -> Vec<String> {
    let (mut chain, first) = AuditChain::begin(TIME);
    let mut lines = vec![first];
    for number in 0..count {
        let place = format!("tcp://192.0.2.{number}:4000");
        lines.push(chain.append(
            &refused(&place),
            TIME.saturating_add(Duration::from_secs(number as u64)),
        ));
    }
    lines
}

#[test]
fn a_log_is_whole_as_it_was_written_and_says_what_is_in_it() {
    let (mut chain, first) = AuditChain::begin(TIME);
    let peer = somebody(1000);
    let now = Instant::now();
    let denied = Policy::default()
        .grant(Subject::new(Standing::Plain), now, TIME)
        .check("rustci", "submit", Class::Job, now)
        .unwrap_err();
    let code = ErrorCode::IDENTITY_REVOKED;
    let events = [
        AuditEvent::Started {
            program: "valkyrie 0.1.0",
            identity: None,
        },
        AuditEvent::Accepted {
            peer: &peer,
            place: "uds:///run/valkyrie.sock",
        },
        AuditEvent::Plain {
            place: "tcp://[::1]:9",
        },
        refused("tcp://192.0.2.1:4000"),
        AuditEvent::Denied {
            peer: &peer,
            service: "rustci",
            method: "submit",
            denied: &denied,
        },
        AuditEvent::Broken {
            peer: &peer,
            code: ErrorCode::INTEGRITY,
            reason: "a record does not verify",
        },
        AuditEvent::Dismissed {
            peer: &peer,
            code,
            reason: "revoked",
        },
        AuditEvent::PolicyChanged { version: 2, rules: 3 },
        AuditEvent::PolicyRefused {
            reason: "policy.toml:3:1",
        },
        AuditEvent::TrustChanged { what: "one pin more" },
        AuditEvent::KeyRotated {
            identity: crate::Fingerprint::from_bytes([1; 32]),
            what: "a new static key",
        },
        AuditEvent::Revoked { what: "serial 7" },
        AuditEvent::Stopped,
    ];
    let mut lines = vec![first];
    lines.extend(events.iter().map(|event| chain.append(event, TIME)));
    let summary = verify(&lines, None).unwrap();
    assert_eq!(summary.head, chain.head());
    assert_eq!(summary.events.len(), events.len() + 1);
    assert_eq!(
        (summary.first.as_str(), summary.last.as_str()),
        ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z")
    );
    let line: serde_json::Value = serde_json::from_str(&lines[5]).unwrap();
    for (key, value) in [
        ("event", "denied"),
        ("peer", "uid:1000"),
        ("service", "rustci"),
        ("method", "submit"),
        ("class", "job"),
        ("reason", "nothing permits it to this caller"),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert_eq!((line["n"].as_u64(), line["code"].as_u64()), (Some(5), Some(201)));
}

#[test]
fn a_log_goes_on_after_a_restart() {
    let mut lines = log(2);
    let mut chain = AuditChain::resume(lines.last().unwrap()).unwrap();
    lines.push(chain.append(&AuditEvent::Stopped, TIME));
    let head = verify(&lines, None).unwrap().head;
    let mut chain = AuditChain::resume_at(head);
    lines.push(chain.append(&AuditEvent::Stopped, TIME));
    assert_eq!(verify(&lines, Some(head)).unwrap().head.number, 4);
}

#[test]
fn nothing_is_written_behind_half_a_line() {
    let lines = log(1);
    let last = lines.last().unwrap();
    for end in 0..last.len() {
        if last.is_char_boundary(end) {
            assert!(AuditChain::resume(&last[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn no_two_logs_begin_alike() {
    assert_ne!(AuditChain::begin(TIME).1, AuditChain::begin(TIME).1);
}

#[test]
fn texts_are_bounded_and_cannot_drive_a_terminal_or_break_a_line() {
    let (mut chain, _) = AuditChain::begin(TIME);
    for nasty in [
        "\u{1b}[31m\n\r\t\0",
        "\",\"event\":\"accepted\",\"x\":\"",
        "\\\"\\",
        "\u{202e}txt.exe\u{2028}\u{feff}",
        &"ü".repeat(10_000),
        &"\u{1}".repeat(10_000),
    ] {
        let line = chain.append(&refused(nasty), TIME);
        assert!(line.len() < 4096, "{}", line.len());
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert!(!line.contains(['\u{202e}', '\u{2028}', '\u{feff}']));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["event"], "refused");
        let place = json["place"].as_str().unwrap();
        assert!(nasty.starts_with(place) && place.len() <= TEXT_BYTES_MAX);
    }
}

#[test]
fn a_stranger_is_not_written_down_as_somebody() {
    let (mut chain, _) = AuditChain::begin(TIME);
    let stranger = Verified::plain(PlainAllowed::by_name());
    let line = chain.append(
        &AuditEvent::Broken {
            peer: &stranger,
            code: ErrorCode::PROTOCOL,
            reason: "junk",
        },
        TIME,
    );
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["peer"], "nobody");
    assert_eq!(json.get("name"), None);
    assert_eq!(json["trusted"], "not authenticated: the connection is plain");
}

#[test]
fn a_head_survives_being_written() {
    let head = verify(log(3), None).unwrap().head;
    assert_eq!(head.to_string().parse(), Ok(head));
    for wrong in [
        "",
        "3",
        "3:",
        "x:00",
        &format!("{head}0"),
        &head.to_string().to_uppercase(),
    ] {
        assert_eq!(wrong.parse::<AuditHead>(), Err(AuditHeadError), "{wrong}");
    }
}

/// Written by a few lines of Python from the documentation of this module.
const ELSEWHERE: [&str; 2] = [
    r#"{"v":1,"n":0,"time":"2027-01-15T08:00:00Z","event":"begun","log":"00000000000000000000000000000000","prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"ea276d80e32451a51a5927aa7c00cb1fcfa8545c530571dc6d21c9c0ffdef41e"}"#,
    r#"{"v":1,"n":1,"time":"2027-01-15T08:00:01Z","event":"started","program":"valkyrie 0.1.0","prev":"ea276d80e32451a51a5927aa7c00cb1fcfa8545c530571dc6d21c9c0ffdef41e","hash":"aea0cd0908fe0d13cb155d97a4d5938c0c58e0222beb9570e437ef8f77423eae"}"#,
];

#[test]
fn a_log_that_another_program_wrote_is_whole() {
    let summary = verify(ELSEWHERE, None).unwrap();
    assert_eq!(summary.head.number, 1);
    let mut chain = AuditChain::resume(ELSEWHERE[1]).unwrap();
    let next = chain.append(&AuditEvent::Stopped, TIME);
    assert!(verify([ELSEWHERE[0], ELSEWHERE[1], &next], Some(summary.head)).is_ok());
}
