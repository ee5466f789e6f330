//! What happens between honest peers.

use super::*;
use crate::suite::{Pattern, SuiteId};
use crate::trust::Place;

#[test]
fn first_contact_runs_xx_and_both_know_the_other() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let mut pair = setup.pair(&ada, &bob);
    let (mut dialler, mut acceptor) = pair.run().both();
    assert_eq!(dialler.verified.claimed_name(), Some("bob"));
    assert_eq!(acceptor.verified.claimed_name(), Some("ada"));
    let suite = dialler.verified.suite().and_then(SuiteId::suite).unwrap();
    assert_eq!((suite.pattern, suite.post_quantum()), (Pattern::Xx, true));
    assert_eq!(dialler.verified.suite(), acceptor.verified.suite());
    assert!(matches!(
        pair.after(&mut dialler).unwrap(),
        Some(After::Accepted(_))
    ));
    talks(pair.now, &mut dialler, &mut acceptor);
}

#[test]
fn a_known_key_saves_a_message_and_a_ticket_resumes() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let by_key = Setup::new().known(Known::key(known.static_key));
    let mut pair = by_key.pair(&ada, &bob);
    let (dialler, acceptor) = pair.run().both();
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::Ik
    );
    assert!(!dialler.verified.resumed() && !acceptor.verified.resumed());

    let by_ticket = Setup {
        known: Some(known),
        ..setup
    };
    let mut pair = by_ticket.pair(&ada, &bob);
    let (mut dialler, mut acceptor) = pair.run().both();
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::IkPsk0
    );
    assert!(dialler.verified.resumed() && acceptor.verified.resumed());
    let next = pair.ticket(&mut dialler);
    assert!(next.ticket.is_some(), "every session gives a ticket for the next");
    talks(pair.now, &mut dialler, &mut acceptor);
}

#[test]
fn a_ticket_is_good_once() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let setup = setup.known(known);
    assert!(setup.pair(&ada, &bob).run().both().0.verified.resumed());
    // The acceptor has forgotten it and takes the next best.
    let (dialler, _) = setup.pair(&ada, &bob).run().both();
    assert!(!dialler.verified.resumed());
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::Ik
    );
}

#[test]
fn a_ticket_is_good_for_its_holder_alone() {
    let (ada, bob) = friends();
    let eve = Party::new("eve").trusts(&bob);
    let bob = bob.trusts(&eve);
    let setup = Setup::new();
    let known = acquainted(&ada, &bob, &setup);
    let setup = setup.known(known);
    let (dialler, acceptor) = setup.pair(&eve, &bob).run().both();
    assert!(!dialler.verified.resumed() && !acceptor.verified.resumed());
    assert_eq!(acceptor.verified.claimed_name(), Some("eve"));
    // Nor has she used it up.
    assert!(setup.pair(&ada, &bob).run().both().0.verified.resumed());
}

#[test]
fn a_key_that_was_replaced_leads_back_to_first_contact() {
    let (ada, bob) = friends();
    let stranger = crate::provider::StaticKey::generate().unwrap().public();
    let (dialler, _) = Setup::new()
        .known(Known::key(stranger))
        .pair(&ada, &bob)
        .run()
        .both();
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::Xx
    );
    assert_eq!(dialler.verified.claimed_name(), Some("bob"));
}

#[test]
fn clocks_that_are_far_apart_lead_back_to_first_contact() {
    let (ada, bob) = friends();
    let known = acquainted(&ada, &bob, &Setup::new());
    let mut setup = Setup::new().known(Known::key(known.static_key));
    setup.acceptor_unix = unix().saturating_add(Duration::from_secs(91));
    let (dialler, _) = setup.pair(&ada, &bob).run().both();
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::Xx
    );
    setup.acceptor_unix = unix().saturating_add(Duration::from_secs(89));
    let (dialler, _) = setup.pair(&ada, &bob).run().both();
    assert_eq!(
        dialler.verified.suite().unwrap().suite().unwrap().pattern,
        Pattern::Ik
    );
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let (ada, bob) = friends();
    let mut pair = Setup::new().pair(&ada, &bob);
    let (now, at) = (pair.now, pair.unix);
    for _ in 0..4 {
        let mut bytes = BytesMut::new();
        pair.dialler.poll_transmit(&mut bytes);
        for byte in bytes {
            pair.to_acceptor.extend([byte]);
            pair.acceptor
                .handle_input(now, at, &mut pair.to_acceptor)
                .unwrap();
        }
        let mut bytes = BytesMut::new();
        pair.acceptor.poll_transmit(&mut bytes);
        for byte in bytes {
            pair.to_dialler.extend([byte]);
            pair.dialler.handle_input(now, at, &mut pair.to_dialler).unwrap();
        }
    }
    assert!(pair.dialler.established().is_some());
    assert!(pair.acceptor.established().is_some());
}

#[test]
fn the_first_data_may_follow_the_credentials_at_once() {
    let (ada, bob) = friends();
    let mut pair = Setup::new().pair(&ada, &bob);
    let mut early = None;
    let now = pair.now;
    // The dialler is done before its last flight has left.
    for _ in 0..3 {
        let mut bytes = BytesMut::new();
        pair.dialler.poll_transmit(&mut bytes);
        if let Some(mut established) = pair.dialler.established() {
            let Wire::Sealed(sealer, _) = &mut established.wire else {
                panic!()
            };
            sealer.seal(now, [b"HELLO".as_slice()], &mut bytes).unwrap();
            early = Some(established);
        }
        pair.to_acceptor.unsplit(bytes);
        pair.acceptor
            .handle_input(now, pair.unix, &mut pair.to_acceptor)
            .unwrap();
        if early.is_some() {
            break;
        }
        pair.acceptor.poll_transmit(&mut pair.to_dialler);
        pair.dialler
            .handle_input(now, pair.unix, &mut pair.to_dialler)
            .unwrap();
    }
    let Wire::Sealed(_, mut opener) = pair.acceptor.established().unwrap().wire else {
        panic!()
    };
    let mut plain = BytesMut::new();
    opener.open(now, &mut pair.to_acceptor, &mut plain).unwrap();
    assert_eq!(plain, "HELLO");
}

#[test]
fn a_bound_link_is_not_sealed_twice_unless_somebody_asks() {
    let (ada, bob) = friends();
    let mut setup = Setup::new();
    setup.bindings = (Some([7; 32]), Some([7; 32]));
    let (dialler, acceptor) = setup.pair(&ada, &bob).run().both();
    assert!(matches!(
        (&dialler.wire, &acceptor.wire),
        (Wire::Bound, Wire::Bound)
    ));
    assert!(dialler.known.unwrap().ticket.is_some());
    let ada = ada.with(|security| security.with_bound_links_sealed(true));
    let mut pair = setup.pair(&ada, &bob);
    let (mut dialler, mut acceptor) = pair.run().both();
    pair.ticket(&mut dialler);
    talks(setup.now, &mut dialler, &mut acceptor);
}

#[test]
fn a_proof_makes_the_peer_known_by_its_signature() {
    use crate::verified::Assurance;
    let (ada, bob) = friends();
    let bob = bob.with(|security| security.with_proof(true));
    let (dialler, acceptor) = Setup::new().pair(&ada, &bob).run().both();
    assert_eq!(dialler.verified.assurance(), Assurance::PostQuantum);
    assert_eq!(acceptor.verified.assurance(), Assurance::StaticKey);
}

#[test]
fn a_plain_connection_is_one_that_was_permitted() {
    use crate::verified::{PlainAllowed, TrustedBy, Verified};
    let (_, bob) = friends();
    let setup = Setup::new();
    let hello =
        || BytesMut::from(&crate::handshake::envelope::frame(valkyrie_frame::Kind::HELLO, |_| ())[..]);
    let mut refused = setup.acceptor(&bob);
    let error = refused.handle_input(setup.now, unix(), &mut hello()).unwrap_err();
    assert!(matches!(error, HandshakeError::PlainRefused));
    let mut answer = BytesMut::new();
    refused.poll_transmit(&mut answer);
    assert_eq!(answer[3], valkyrie_frame::Kind::ERROR.byte());

    let arrival = Arrival {
        place: Place::arrived(true),
        address: None,
        binding: None,
        plain: Some(Verified::plain(PlainAllowed::by_name())),
    };
    let mut permitted = AcceptorHandshake::new(bob.shared(), Arc::clone(&setup.gate), arrival, setup.now);
    let mut input = hello();
    permitted.handle_input(setup.now, unix(), &mut input).unwrap();
    let established = permitted.established().unwrap();
    assert!(matches!(established.wire, Wire::Plain));
    assert_eq!(*established.verified.how(), TrustedBy::Plain);
    assert_eq!(input, hello(), "the session reads its HELLO itself");
}
