//! What a dialler offers is part of what both sides prove. Somebody between them edits it field by field: each edit breaks
//! the handshake with the error that says which, or changes nothing, and never does the next handshake fare worse for it.

use super::*;
use crate::handshake::Protection;
use crate::handshake::envelope::{self, Challenge, Offer};
use crate::noise::{Dialling, NoiseError};
use crate::suite::{Pattern, SuiteId};
use valkyrie_frame::{ErrorCode, Header, Kind};

/// Where the fields of a first message are in its flight, from the step to the suites.
const STEP: usize = Header::LEN;
const VERSION: usize = STEP + 1;
const PROTECTION: usize = STEP + 2;
const SUITE: usize = STEP + 3;
const COUNT: usize = STEP + 4;
const SUITES: usize = STEP + 5;

/// What comes of a handshake whose first flight is edited.
fn edited(setup: &Setup, ada: &Party, bob: &Party, edit: impl Fn(&mut [u8])) -> Outcome {
    let outcome = setup.pair(ada, bob).run_with(|flight, bytes| {
        if flight == 0 {
            let before = bytes.clone();
            edit(bytes);
            assert_ne!(before, *bytes, "nothing was edited");
        }
    });
    setup.unharmed(ada, bob);
    outcome
}

/// The dialler found out, from a second message that does not open.
fn dialler_found_out(outcome: &Outcome) -> bool {
    let unauthentic = matches!(
        outcome.dialler,
        Err(HandshakeError::Noise(NoiseError::Unauthentic { step: 2 }))
    );
    unauthentic && outcome.is_nothing()
}

fn classical_too(party: Party) -> Party {
    party.with(|security| security.with_suites(Suites::default().and_classical()))
}

#[test]
fn the_step_and_the_version_of_an_offer_cannot_be_edited() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    for step in [0, 2, 3, 255] {
        let outcome = edited(&setup, &ada, &bob, |bytes| bytes[STEP] = step);
        assert!(matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))));
    }
    for version in [0, 2, 255] {
        let outcome = edited(&setup, &ada, &bob, |bytes| bytes[VERSION] = version);
        assert!(matches!(outcome.acceptor, Err(HandshakeError::ChannelVersion(of)) if of == version));
        assert!(outcome.is_nothing());
    }
}

#[test]
fn the_protection_of_an_offer_cannot_be_edited() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    let outcome = edited(&setup, &ada, &bob, |bytes| bytes[PROTECTION] = 1);
    assert!(matches!(outcome.acceptor, Err(HandshakeError::NotBound)));
    assert!(outcome.is_nothing());
    // On a link that both could be bound to, either way.
    setup.bindings = (Some([7; 32]), Some([7; 32]));
    let outcome = edited(&setup, &ada, &bob, |bytes| bytes[PROTECTION] = 0);
    assert!(dialler_found_out(&outcome));
    let ada = ada.with(|security| security.with_bound_links_sealed(true));
    let outcome = edited(&setup, &ada, &bob, |bytes| bytes[PROTECTION] = 1);
    assert!(dialler_found_out(&outcome));
    let outcome = edited(&setup, &ada, &bob, |bytes| bytes[PROTECTION] = 2);
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))));
}

#[test]
fn a_suite_that_is_put_in_or_taken_out_of_an_offer_breaks_the_handshake() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let outcome = edited(&setup, &ada, &bob, |bytes| {
        let count = usize::from(bytes[COUNT]);
        bytes[SUITES + count - 1] = 99;
    });
    assert!(dialler_found_out(&outcome));
    // Counted shorter: what is left over is taken for a cookie's length, which none has.
    let outcome = edited(&setup, &ada, &bob, |bytes| bytes[COUNT] -= 1);
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))));
    for count in [0, 17, 255] {
        let outcome = edited(&setup, &ada, &bob, |bytes| bytes[COUNT] = count);
        assert!(matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))));
    }
}

#[test]
fn the_order_of_an_offer_cannot_be_edited() {
    // Both would take a classical suite if there were nothing better. Somebody moves each suite in turn to the head of the
    // list: the acceptor asks for it, and finds the order as it was in the message that answers.
    let (ada, bob) = friends();
    let (ada, bob) = (classical_too(ada), classical_too(bob));
    let setup = Setup::new();
    let offered = ada.security.suites().offer(None);
    for (place, suite) in offered.iter().enumerate().skip(1) {
        let outcome = edited(&setup, &ada, &bob, |bytes| bytes.swap(SUITES, SUITES + place));
        assert!(outcome.is_nothing(), "{suite} was forced upon both");
        let error = outcome.acceptor.unwrap_err();
        assert!(
            matches!(error, HandshakeError::Downgrade(of) if of == *suite),
            "{error}"
        );
        assert_eq!(error.code(), ErrorCode::DOWNGRADE);
        assert!(error.is_violation());
        // With the suite of the message as well, which then is not what the message was made with.
        let outcome = edited(&setup, &ada, &bob, |bytes| {
            bytes.swap(SUITES, SUITES + place);
            bytes[SUITE] = suite.0;
        });
        assert!(outcome.is_nothing(), "{suite} was forced upon both");
    }
    // The suite of the message alone: they come back to what both prefer.
    for suite in &offered[1..] {
        let outcome = edited(&setup, &ada, &bob, |bytes| bytes[SUITE] = suite.0);
        let (dialler, _) = outcome.both();
        assert_eq!(dialler.verified.suite(), Some(offered[0]));
    }
}

#[test]
fn a_peer_that_knows_the_acceptor_cannot_be_led_to_a_weaker_first_contact() {
    let (ada, bob) = friends();
    let (ada, bob) = (classical_too(ada), classical_too(bob));
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let setup = setup.known(Known::key(known.static_key));
    // What was made with the known key is broken on its way, which leads to a first contact: the best there is.
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
    });
    let (dialler, _) = outcome.both();
    let suite = dialler.verified.suite().unwrap().suite().unwrap();
    assert_eq!((suite.pattern, suite.post_quantum()), (Pattern::Xx, true));
    // And the suite that is asked for then is edited to a classical one.
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| match flight {
        0 => {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        1 => bytes[Header::LEN + 1] = SuiteId::XX_CLASSICAL_AES.0,
        _ => {}
    });
    assert!(matches!(
        outcome.acceptor,
        Err(HandshakeError::Downgrade(SuiteId::XX_CLASSICAL_AES))
    ));
    assert!(outcome.is_nothing());
    setup.unharmed(&ada, &bob);
}

#[test]
fn a_cookie_and_a_ticket_are_part_of_what_is_proved() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    // A cookie that nobody asked for is put in.
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            let (mut offer, _, message) = Offer::decode(&bytes[Header::LEN..]).unwrap();
            assert!(offer.cookie.replace([0; 32]).is_none());
            *bytes = first_message(&offer, message);
        }
    });
    assert!(dialler_found_out(&outcome));
    // A ticket is taken out: what is left has the form of no suite that needs one.
    let setup = setup.known(known);
    let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 0 {
            let (mut offer, _, message) = Offer::decode(&bytes[Header::LEN..]).unwrap();
            assert!(offer.ticket.take().is_some());
            *bytes = first_message(&offer, message);
        }
    });
    // The acceptor knows of no ticket then and asks for the next best; nothing is resumed, and the ticket stays good.
    let (dialler, acceptor) = outcome.both();
    assert!(!dialler.verified.resumed() && !acceptor.verified.resumed());
    assert!(setup.pair(&ada, &bob).run().both().0.verified.resumed());
}

/// A first message with this offer.
fn first_message(offer: &Offer, noise: &[u8]) -> BytesMut {
    let frame = envelope::frame(Kind::KEY_EXCHANGE, |payload| {
        offer.encode(payload);
        payload.extend(noise);
    });
    BytesMut::from(&frame[..])
}

#[test]
fn a_first_message_carries_a_clock_and_nothing_else() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let peer = bob.security.static_key().public();
    let offer = Offer {
        protection: Protection::Sealed,
        suite: SuiteId::IK_AES,
        offered: vec![SuiteId::IK_AES],
        cookie: None,
        ticket: None,
    };
    let mut clear = Vec::new();
    offer.encode(&mut clear);
    let prologue = envelope::prologue(None, &clear);
    let said = |payload: &[u8]| {
        let mut noise = Vec::new();
        Dialling::start(
            SuiteId::IK_AES.suite().unwrap(),
            ada.security.suites().providers(),
            &ada.security.static_key(),
            Some(&peer),
            None,
            &prologue,
            payload,
            &mut noise,
        )
        .unwrap();
        let mut acceptor = setup.acceptor(&bob);
        let mut input = first_message(&offer, &noise);
        let result = acceptor.handle_input(setup.now, unix(), &mut input);
        assert!(acceptor.established().is_none());
        result
    };
    // A call that rides in it, or a part of one, is refused whatever it is marked as; even a frame that fits.
    let call = envelope::frame(Kind::REQUEST, |payload| payload.extend(b"echo"));
    for payload in [&b""[..], &[0; 7], &[0; 9], &[0; 64], &call, &call[..8]] {
        let result = said(payload);
        if payload.len() == 8 {
            // Eight bytes are a clock, and this one is an age away.
            assert!(matches!(result, Err(HandshakeError::NotForUs)));
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, HandshakeError::Malformed(_)), "{error}");
        assert_eq!(error.code(), ErrorCode::PROTOCOL);
    }
    assert!(said(&unix().millis().to_be_bytes()).is_ok());
    // Nor can a caller ask for it: the machine takes no payload at all, and the Noise message below it no long one.
    setup.unharmed(&ada, &bob);
}

#[test]
fn a_challenge_that_names_another_suite_than_the_acceptor_did_is_found_out() {
    let (ada, bob) = friends();
    let (ada, bob) = (classical_too(ada), classical_too(bob));
    let setup = Setup::new();
    for suite in [
        SuiteId::XX_CHACHA,
        SuiteId::XX_CLASSICAL_AES,
        SuiteId::XX_CLASSICAL_CHACHA,
    ] {
        // In the acceptor's stead, which has answered already.
        let outcome = setup.pair(&ada, &bob).run_with(|flight, bytes| {
            if flight == 1 {
                let challenge = Challenge { suite, cookie: None };
                let frame = envelope::frame(Kind::AUTH_CHALLENGE, |payload| challenge.encode(payload));
                *bytes = BytesMut::from(&frame[..]);
            }
        });
        assert!(outcome.is_nothing());
        assert!(
            matches!(outcome.acceptor, Err(HandshakeError::Malformed(_))),
            "it waits for a third message"
        );
        setup.unharmed(&ada, &bob);
    }
}
