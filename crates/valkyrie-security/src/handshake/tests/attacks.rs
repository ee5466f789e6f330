//! Somebody between the two, or at one end, who does not play by the rules. Whatever he does, nobody ends up with
//! an identity or a key that is not right, and the honest side says what was wrong.

use super::*;
use crate::channel::OpenError;
use crate::handshake::Culprit;
use crate::handshake::envelope::{self, Challenge, Offer};
use crate::noise::NoiseError;
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

/// Where the suite of the message is in the first flight.
const SUITE: usize = Header::LEN + 3;

/// Where the suites of an offer begin in it.
const OFFERED: usize = Header::LEN + 5;

/// Calls `attack` with every place of every flight of a first contact, and sees now and then that nothing was harmed: the
/// flight, the place, and where the Noise message of a flight in clear begins.
fn everywhere(flights_tried: usize, mut attack: impl FnMut(&Setup, [&Party; 2], usize, usize, usize)) {
    let (ada, bob) = short_friends();
    let mut setup = Setup::new();
    let mut tried = 0;
    let recorded = flights(&ada, &bob, &setup);
    assert_eq!(recorded.len(), LAST + 1);
    for (flight, bytes) in recorded.iter().enumerate().take(flights_tried) {
        let noise = match flight {
            0 => Header::LEN + Offer::decode(&bytes[Header::LEN..]).unwrap().1.len(),
            _ => Header::LEN + 1,
        };
        for place in 0..bytes.len() {
            attack(&setup, [&ada, &bob], flight, place, noise);
            tried += 1;
            // More than this, and the gate would ask for cookies.
            if tried % 500 == 0 || place + 1 == bytes.len() {
                setup.unharmed(&ada, &bob);
                setup = Setup::new();
            }
        }
    }
    assert!(tried > 3000, "{tried}");
}

#[test]
fn a_bit_flipped_in_any_byte_of_any_flight_is_noticed() {
    everywhere(LAST + 1, |setup, [ada, bob], flight, place, noise| {
        let at = format!("flight {flight}, byte {place}");
        let mut pair = setup.pair(ada, bob);
        let outcome = pair.run_with(|now, bytes| {
            if now == flight {
                bytes[place] ^= 1 << (place % 8);
            }
        });
        let Outcome { dialler, acceptor } = outcome;
        let believed = matches!((&dialler, &acceptor), (Ok(Some(_)), Ok(Some(_))));
        let unauthentic = |result: &Result<Option<Established>, HandshakeError>, in_step| match result {
            Err(HandshakeError::Noise(NoiseError::Unauthentic { step })) => *step == in_step,
            _ => false,
        };
        // A record is refused, or one that says it is longer is waited for.
        let refused = |result: &Result<Option<Established>, HandshakeError>| match result {
            Err(HandshakeError::Open(_)) => true,
            Err(HandshakeError::TooLong) | Ok(None) => (2..5).contains(&place),
            _ => false,
        };
        match flight {
            0 if place >= noise => {
                let no_key = matches!(acceptor, Err(HandshakeError::Noise(NoiseError::PeerKem)));
                assert!(
                    no_key || unauthentic(&dialler, 2),
                    "{at}: {dialler:?} {acceptor:?}"
                );
            }
            1 if place >= noise => assert!(unauthentic(&dialler, 2), "{at}: {dialler:?}"),
            2 if place >= noise => assert!(unauthentic(&acceptor, 3), "{at}: {acceptor:?}"),
            0..=2 => {
                // Of a header in clear some bytes say nothing here, such as its priority, and an edited suite leads back
                // to the one that both prefer. Whatever else happens, it is the peer who is blamed.
                assert!(
                    !believed || place < Header::LEN || (flight, place) == (0, SUITE),
                    "{at}"
                );
                for error in [dialler.as_ref().err(), acceptor.as_ref().err()]
                    .into_iter()
                    .flatten()
                {
                    assert_eq!(error.culprit(), Culprit::Peer, "{at}: {error}");
                }
            }
            3 => assert!(
                refused(&dialler) && !matches!(acceptor, Ok(Some(_))),
                "{at}: {dialler:?}"
            ),
            4 => assert!(refused(&acceptor), "{at}: {acceptor:?}"),
            _ => {
                // The acceptor's last word: the dialler reads it with its channel.
                let mut established = dialler.unwrap().unwrap();
                let Wire::Sealed(_, opener) = &mut established.wire else {
                    panic!()
                };
                let mut plain = BytesMut::new();
                match opener.open(pair.now, &mut pair.to_dialler, &mut plain) {
                    Err(_) => {}
                    Ok(None) => assert!((2..5).contains(&place), "{at}: it is waited for"),
                    Ok(Some(control)) => panic!("{at}: {control:?}"),
                }
                assert!(plain.is_empty());
            }
        }
        assert!(flight < 3 || flight == LAST || !believed, "{at}");
    });
}

#[test]
fn a_flight_cut_off_at_any_byte_leads_to_nothing() {
    everywhere(LAST, |setup, [ada, bob], flight, keep, _| {
        let at = format!("flight {flight} cut at {keep}");
        let mut pair = setup.pair(ada, bob);
        let outcome = pair.run_with(|now, bytes| {
            if now == flight {
                bytes.truncate(keep);
            }
        });
        // Who waits for the rest believes nothing, and learns that it will not come.
        let (waits, ended) = match flight % 2 {
            0 => (&outcome.acceptor, pair.acceptor.handle_eof()),
            _ => (&outcome.dialler, pair.dialler.handle_eof()),
        };
        assert!(matches!(waits, Ok(None)), "{at}: {waits:?}");
        assert!(matches!(ended, Err(HandshakeError::LinkLost)), "{at}");
        // The dialler is done when its own credentials are on their way; the acceptor only when it has read them.
        assert_eq!(matches!(outcome.dialler, Ok(Some(_))), flight == 4, "{at}");
        assert!(!matches!(outcome.acceptor, Ok(Some(_))), "{at}");
    });
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
    // What there is of a message is not one of that suite.
    assert!(matches!(
        outcome.acceptor,
        Err(HandshakeError::Noise(NoiseError::Length { step: 1, .. }))
    ));
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
    assert!(
        matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))),
        "it waits for a third message"
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
    assert_eq!(setup.gate.stats().replayed, 3);
    setup.unharmed(&ada, &bob);
}

#[test]
fn flights_recorded_from_another_handshake_lead_to_nothing() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let by_key = Setup::new().known(Known::key(known.static_key));
    for setup in [Setup::new(), by_key] {
        let recorded = flights(&ada, &bob, &setup);
        let is_ik = setup.known.is_some();
        // To an acceptor that answers afresh: it knows an IK again, and from an XX it takes the first message and no more.
        let mut acceptor = setup.acceptor(&bob);
        let mut played = recorded.iter().step_by(2).map(|flight| {
            let mut input = BytesMut::from(&flight[..]);
            acceptor.handle_input(setup.now, unix(), &mut input)
        });
        let first = played.next().unwrap();
        if is_ik {
            assert!(matches!(first, Err(HandshakeError::Replay)));
        } else {
            assert!(first.is_ok());
            assert!(matches!(
                played.next().unwrap(),
                Err(HandshakeError::Noise(NoiseError::Unauthentic { step: 3 }))
            ));
        }
        assert!(played.all(|result| matches!(result, Err(HandshakeError::Over))));
        drop(played);
        assert!(acceptor.established().is_none());
        // To a dialler that asked afresh, each in turn.
        for (number, flight) in recorded.iter().enumerate().skip(1).step_by(2) {
            let mut pair = setup.pair(&ada, &bob);
            let mut input = BytesMut::from(&flight[..]);
            let error = pair
                .dialler
                .handle_input(setup.now, unix(), &mut input)
                .unwrap_err();
            match number {
                1 => assert!(matches!(
                    error,
                    HandshakeError::Noise(NoiseError::Unauthentic { step: 2 })
                )),
                // A record where a frame in clear is due.
                _ => assert!(matches!(error, HandshakeError::Frame(_)), "{error}"),
            }
            assert!(pair.dialler.established().is_none());
        }
        setup.unharmed(&ada, &bob);
    }
}

#[test]
fn credentials_recorded_from_another_handshake_are_refused() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let recorded = flights(&ada, &bob, &setup);
    for replayed in [3, 4, LAST] {
        let mut pair = setup.pair(&ada, &bob);
        let outcome = pair.run_with(|flight, bytes| {
            if flight == replayed {
                *bytes = BytesMut::from(&recorded[replayed][..]);
            }
        });
        match replayed {
            3 => assert!(matches!(
                outcome.dialler,
                Err(HandshakeError::Open(OpenError::Tag))
            )),
            4 => assert!(matches!(
                outcome.acceptor,
                Err(HandshakeError::Open(OpenError::Tag))
            )),
            _ => {
                let mut established = outcome.dialler.unwrap().unwrap();
                let Wire::Sealed(_, opener) = &mut established.wire else {
                    panic!()
                };
                let read = opener.open(pair.now, &mut pair.to_dialler, &mut BytesMut::new());
                assert_eq!(read, Err(OpenError::Tag));
            }
        }
    }
    setup.unharmed(&ada, &bob);
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
    assert!(matches!(
        outcome.acceptor,
        Err(HandshakeError::Open(OpenError::Tag))
    ));
    setup.unharmed(&ada, &bob);
}

#[test]
fn messages_out_of_order_have_no_place() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let recorded = flights(&ada, &bob, &setup);
    for (wrong, flight) in recorded.iter().enumerate().skip(1) {
        let mut acceptor = setup.acceptor(&bob);
        let mut input = BytesMut::from(&flight[..]);
        let error = acceptor.handle_input(setup.now, unix(), &mut input).unwrap_err();
        match wrong {
            1 | 2 => assert!(matches!(error, HandshakeError::Malformed(_)), "{wrong}: {error}"),
            _ => assert!(matches!(error, HandshakeError::Frame(_)), "{wrong}: {error}"),
        }
    }
    // To each end one flight in the place of another that goes the same way.
    for (due, comes) in [(2, 4), (4, 2), (3, 1), (1, 3), (2, 0), (4, 0)] {
        let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
            if flight == due {
                *bytes = BytesMut::from(&recorded[comes][..]);
            }
        });
        let reader = if due % 2 == 0 {
            outcome.acceptor
        } else {
            outcome.dialler
        };
        let error = reader.unwrap_err();
        match due {
            1 | 2 if comes > 2 => assert!(matches!(error, HandshakeError::Frame(_)), "{due}: {error}"),
            1 | 2 => assert!(matches!(error, HandshakeError::Malformed(_)), "{due}: {error}"),
            _ => assert!(
                matches!(error, HandshakeError::Open(OpenError::Kind { .. })),
                "{due}: {error}"
            ),
        }
    }
    // The same first message twice in a row.
    let mut acceptor = setup.acceptor(&bob);
    let mut input = BytesMut::from(&[&recorded[0][..], &recorded[0]].concat()[..]);
    let error = acceptor.handle_input(setup.now, unix(), &mut input).unwrap_err();
    assert!(matches!(error, HandshakeError::Malformed(_)));
    setup.unharmed(&ada, &bob);
}

#[test]
fn two_links_with_one_handshake_over_both_are_noticed() {
    // Somebody ends one TLS connection and begins another: the two secrets differ.
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.bindings = (Some([1; 32]), Some([2; 32]));
    let outcome = setup.pair(&ada, &bob).run();
    assert!(outcome.is_nothing());
    assert!(matches!(
        outcome.dialler,
        Err(HandshakeError::Noise(NoiseError::Unauthentic { step: 2 }))
    ));
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
