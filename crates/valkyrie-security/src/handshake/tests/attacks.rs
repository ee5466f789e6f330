//! Somebody between the two, or at one end, who does not play by the rules. Whatever he does, nobody ends up with
//! an identity or a key that is not right, and the honest side says what was wrong.

use super::*;
use crate::handshake::envelope::{self, Challenge};
use crate::suite::SuiteId;
use valkyrie_frame::{ErrorCode, Header, Kind};

/// The bytes of each flight of an honest first contact, and their number.
fn flights(ada: &Party, bob: &Party, setup: &Setup) -> Vec<Vec<u8>> {
    let mut flights = Vec::new();
    setup
        .pair(ada, bob)
        .run_with(|_, bytes| flights.push(bytes.to_vec()))
        .both();
    flights.retain(|flight| !flight.is_empty());
    flights
}

/// The acceptor's last flight of a first contact: its word that it accepts.
const LAST: usize = 5;

/// Where the suites of an offer begin in the first flight.
const OFFERED: usize = Header::LEN + 5;

#[test]
fn a_bit_flipped_anywhere_in_any_flight_is_noticed() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let lengths: Vec<_> = flights(&ada, &bob, &setup).iter().map(Vec::len).collect();
    for (flight, len) in lengths.iter().enumerate() {
        // Every byte of what is short and of every head, and a prime's steps through the keys and documents.
        let places = (0..*len).filter(|place| *place < 120 || place % 97 == 0 || len - place < 40);
        for place in places {
            let mut pair = setup.pair(&ada, &bob);
            let outcome = pair.run_with(|at, bytes| {
                if at == flight && place < bytes.len() {
                    bytes[place] ^= 1 << (place % 8);
                }
            });
            let believed = matches!((&outcome.dialler, &outcome.acceptor), (Ok(Some(_)), Ok(Some(_))));
            // Header bytes that a receiver need not look at (priority, trace, correlation, flags) may be anything.
            let harmless = flight < 3 && place < Header::LEN;
            if flight == LAST && believed {
                // The acceptor's last word: the dialler reads it with its channel.
                let mut established = outcome.dialler.unwrap().unwrap();
                let Wire::Sealed(_, opener) = &mut established.wire else {
                    panic!()
                };
                let opened = opener.open(pair.now, &mut pair.to_dialler, &mut BytesMut::new());
                assert!(
                    !matches!(opened, Ok(Some(_))),
                    "the last flight, byte {place} of {len}"
                );
            } else {
                assert!(!believed || harmless, "flight {flight}, byte {place} of {len}");
            }
        }
    }
}

#[test]
fn a_flight_cut_off_at_any_byte_leads_to_nothing() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let lengths: Vec<_> = flights(&ada, &bob, &setup).iter().map(Vec::len).collect();
    for (flight, len) in lengths.iter().enumerate().take(LAST) {
        for keep in (0..*len).filter(|keep| *keep < 80 || keep % 61 == 0 || len - keep < 24) {
            let mut pair = setup.pair(&ada, &bob);
            let outcome = pair.run_with(|at, bytes| {
                if at == flight {
                    bytes.truncate(keep);
                }
            });
            assert!(
                !matches!((&outcome.dialler, &outcome.acceptor), (Ok(Some(_)), Ok(Some(_)))),
                "flight {flight} cut at {keep} of {len}"
            );
            // Who waits for the rest learns that it will not come.
            if !matches!(outcome.acceptor, Ok(Some(_))) && outcome.acceptor.is_ok() {
                assert!(matches!(
                    pair.acceptor.handle_eof(),
                    Err(HandshakeError::LinkLost)
                ));
            }
        }
    }
}

#[test]
fn suites_struck_from_the_offer_break_the_handshake() {
    let (ada, bob) = friends();
    let ada = ada.with(|security| security.with_suites(Suites::default().and_classical()));
    let bob = bob.with(|security| security.with_suites(Suites::default().and_classical()));
    let classical = SuiteId::XX_CLASSICAL_AES.0;
    // He wants them to agree on a classical suite, and makes it the only one offered.
    let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            let count = usize::from(bytes[OFFERED - 1]);
            for place in 0..count {
                bytes[OFFERED + place] = if place == 0 { classical } else { 200 + place as u8 };
            }
            bytes[OFFERED - 2] = classical;
        }
    });
    assert!(outcome.is_nothing());
    // He asks in the acceptor's name, and keeps the acceptor from noticing.
    let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 1 {
            let challenge = Challenge {
                suite: SuiteId(classical),
                cookie: None,
            };
            let frame = envelope::frame(Kind::AUTH_CHALLENGE, |payload| challenge.encode(payload));
            *bytes = BytesMut::from(&frame[..]);
        }
    });
    assert!(outcome.is_nothing());
}

#[test]
fn an_edited_order_of_suites_breaks_the_handshake() {
    let (ada, bob) = friends();
    let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            // The second suite stands twice afterwards or the two are exchanged; the one in use stays.
            let count = usize::from(bytes[OFFERED - 1]);
            assert!(count >= 2);
            bytes[OFFERED + count - 1] = 99;
        }
    });
    assert!(outcome.is_nothing());
    assert!(
        outcome.dialler.is_err(),
        "the second message does not open for the dialler"
    );
}

#[test]
fn a_challenge_for_a_suite_that_was_not_offered_is_refused() {
    let (ada, bob) = friends();
    for suite in [SuiteId::XX_CLASSICAL_AES, SuiteId(0), SuiteId(250)] {
        let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
            if flight == 1 {
                let challenge = Challenge { suite, cookie: None };
                let frame = envelope::frame(Kind::AUTH_CHALLENGE, |payload| challenge.encode(payload));
                *bytes = BytesMut::from(&frame[..]);
            }
        });
        let error = outcome.dialler.unwrap_err();
        assert!(matches!(error, HandshakeError::Downgrade(asked) if asked == suite));
        assert_eq!(error.code(), ErrorCode::DOWNGRADE);
        assert!(error.is_violation());
    }
}

#[test]
fn an_offer_of_unknown_suites_alone_is_refused() {
    let (ada, bob) = friends();
    let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            let count = usize::from(bytes[OFFERED - 1]);
            for place in 0..count {
                bytes[OFFERED + place] = 200 + place as u8;
            }
            bytes[OFFERED - 2] = 200;
        }
    });
    assert!(matches!(outcome.acceptor, Err(HandshakeError::NoCommonSuite(_))));
    // It is told in clear, which it reports as such and believes no further.
    assert!(matches!(outcome.dialler, Err(HandshakeError::RefusedInClear(_))));
}

#[test]
fn classical_suites_are_run_only_where_both_sides_ask_for_them() {
    let (ada, bob) = friends();
    let classical = |party: Party| {
        party.with(|security| security.with_suites(Suites::default().only(&[SuiteId::XX_CLASSICAL_AES])))
    };
    let ada = classical(ada);
    let outcome = Setup::new().pair(&ada, &bob).run();
    assert!(matches!(outcome.acceptor, Err(HandshakeError::NoCommonSuite(_))));
    let bob = bob.with(|security| security.with_suites(Suites::default().and_classical()));
    let (dialler, _) = Setup::new().pair(&ada, &bob).run().both();
    assert_eq!(dialler.verified.suite(), Some(SuiteId::XX_CLASSICAL_AES));
    // Two that permit both take the better one.
    let (eve, dan) = friends();
    let eve = eve.with(|security| security.with_suites(Suites::default().and_classical()));
    let dan = dan.with(|security| security.with_suites(Suites::default().and_classical()));
    let (dialler, _) = Setup::new().pair(&eve, &dan).run().both();
    assert!(dialler.verified.suite().unwrap().suite().unwrap().post_quantum());
}

#[test]
fn a_first_message_with_a_known_key_is_taken_once() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let setup = setup.known(Known::key(known.static_key));
    let recorded = flights(&ada, &bob, &setup);
    for _ in 0..3 {
        let mut acceptor = setup.acceptor(&bob);
        let mut input = BytesMut::from(&recorded[0][..]);
        let error = acceptor.handle_input(setup.now, unix(), &mut input).unwrap_err();
        assert!(matches!(error, HandshakeError::Replay));
        assert_eq!(error.code(), ErrorCode::REPLAY);
        assert!(acceptor.established().is_none());
    }
}

#[test]
fn flights_recorded_from_another_handshake_lead_to_nothing() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let recorded = flights(&ada, &bob, &setup);
    // To an acceptor that answers afresh.
    let mut acceptor = setup.acceptor(&bob);
    let mut failed = false;
    for flight in recorded.iter().step_by(2) {
        let mut input = BytesMut::from(&flight[..]);
        failed |= acceptor.handle_input(setup.now, unix(), &mut input).is_err();
    }
    assert!(failed && acceptor.established().is_none());
    // To a dialler that asked afresh.
    for flight in recorded.iter().skip(1).step_by(2) {
        let mut pair = setup.pair(&ada, &bob);
        let mut input = BytesMut::from(&flight[..]);
        assert!(pair.dialler.handle_input(setup.now, unix(), &mut input).is_err());
        assert!(pair.dialler.established().is_none());
    }
}

#[test]
fn a_side_that_is_sent_its_own_messages_believes_nobody() {
    let (ada, bob) = friends();
    let mut pair = Setup::new().pair(&ada, &bob);
    let mut own = BytesMut::new();
    pair.dialler.poll_transmit(&mut own);
    let error = pair.dialler.handle_input(pair.now, unix(), &mut own).unwrap_err();
    assert!(matches!(error, HandshakeError::Malformed(_)));

    // Ada dials Ada, and somebody hands her own credentials back to her: the keys of the two directions differ.
    let setup = Setup::new();
    let mut pair = setup.pair(&ada, &bob);
    let mut credentials = BytesMut::new();
    let outcome = pair.run_with(|flight, bytes| match flight {
        3 => credentials = bytes.clone(),
        4 => *bytes = credentials.clone(),
        _ => {}
    });
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Open(_))));
}

#[test]
fn messages_out_of_order_have_no_place() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let recorded = flights(&ada, &bob, &setup);
    for wrong in [1, 2] {
        let mut acceptor = setup.acceptor(&bob);
        let mut input = BytesMut::from(&recorded[wrong][..]);
        assert!(acceptor.handle_input(setup.now, unix(), &mut input).is_err());
    }
    // The same first message twice in a row.
    let mut acceptor = setup.acceptor(&bob);
    let mut input = BytesMut::from(&[&recorded[0][..], &recorded[0]].concat()[..]);
    let error = acceptor.handle_input(setup.now, unix(), &mut input).unwrap_err();
    assert!(matches!(error, HandshakeError::Malformed(_)));
}

#[test]
fn two_links_with_one_handshake_over_both_are_noticed() {
    // Somebody ends one TLS connection and begins another: the two secrets differ.
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.bindings = (Some([1; 32]), Some([2; 32]));
    assert!(setup.pair(&ada, &bob).run().is_nothing());
    // A link without a secret cannot be bound to.
    setup.bindings = (Some([1; 32]), None);
    let outcome = setup.pair(&ada, &bob).run();
    assert!(matches!(outcome.acceptor, Err(HandshakeError::NotBound)));
}

#[test]
fn what_is_larger_than_a_handshake_is_refused_from_its_header() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    for length in [4096 - 19, 1 << 20, 64 << 20] {
        let mut acceptor = setup.acceptor(&bob);
        let mut frame = envelope::frame(Kind::KEY_EXCHANGE, |_| ());
        frame[12..16].copy_from_slice(&u32::to_be_bytes(length));
        let error = acceptor
            .handle_input(setup.now, unix(), &mut BytesMut::from(&frame[..]))
            .unwrap_err();
        assert!(matches!(error, HandshakeError::TooLong), "{length}");
        let mut pair = setup.pair(&ada, &bob);
        let error = pair
            .dialler
            .handle_input(setup.now, unix(), &mut BytesMut::from(&frame[..]));
        assert!(matches!(error, Err(HandshakeError::TooLong)), "{length}");
    }
}

#[test]
fn what_is_no_handshake_at_all_is_refused() {
    let (_, bob) = friends();
    let setup = Setup::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaa",
    ] {
        let mut acceptor = setup.acceptor(&bob);
        let error = acceptor
            .handle_input(setup.now, unix(), &mut BytesMut::from(bytes))
            .unwrap_err();
        assert!(matches!(error, HandshakeError::Frame(_)), "{error}");
    }
}

#[test]
fn a_session_that_begins_before_the_credentials_is_refused() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    // Ada's own code is at fault here: she seals data where her credentials belong. Bob's credentials come first, so
    // his side is played by hand.
    let mut pair = setup.pair(&ada, &bob);
    let outcome = pair.run_with(|flight, bytes| {
        if flight == 4 {
            // A data record in front, of which only the header can be made up.
            bytes[0] = 1;
        }
    });
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Open(_))));
    assert!(pair.acceptor.established().is_none());
}

#[test]
fn a_handshake_that_takes_too_long_is_over_on_both_sides() {
    let (ada, bob) = friends();
    let mut pair = Setup::new().pair(&ada, &bob);
    let late = pair.now + LATER;
    assert_eq!(pair.dialler.poll_timeout(), Some(late));
    assert_eq!(pair.acceptor.poll_timeout(), Some(late));
    assert!(
        pair.acceptor
            .handle_timeout(late - Duration::from_millis(1))
            .is_ok()
    );
    assert!(matches!(
        pair.acceptor.handle_timeout(late),
        Err(HandshakeError::TimedOut)
    ));
    assert!(matches!(
        pair.dialler.handle_timeout(late),
        Err(HandshakeError::TimedOut)
    ));
    let mut told = BytesMut::new();
    pair.acceptor.poll_transmit(&mut told);
    assert_eq!(told[3], Kind::AUTH_FAILURE.byte());
    assert!(matches!(
        pair.acceptor.handle_input(late, unix(), &mut BytesMut::new()),
        Err(HandshakeError::Over)
    ));
}
