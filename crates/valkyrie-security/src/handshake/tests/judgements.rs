//! Peers that prove their key and are refused all the same.

use super::*;
use valkyrie_frame::ErrorCode;

#[test]
fn a_dialler_refuses_an_acceptor_it_does_not_know_and_stays_unknown_itself() {
    let (ada, bob) = (Party::new("ada"), Party::new("bob"));
    let bob = bob.trusts(&ada);
    let mut after_third = 0;
    let outcome = Setup::new().pair(&ada, &bob).run_with(|flight, bytes| {
        if flight == 4 {
            after_third = bytes.len();
        }
    });
    let error = outcome.dialler.unwrap_err();
    assert!(matches!(error, HandshakeError::Trust(_)));
    assert_eq!(error.code(), ErrorCode::IDENTITY_UNTRUSTED);
    // What it sends instead of its credentials is a refusal and too short to hold an identity.
    assert!(after_third < 1200, "{after_third}");
    assert!(
        matches!(outcome.acceptor, Err(HandshakeError::Refused(refusal)) if refusal.code == ErrorCode::IDENTITY_UNTRUSTED)
    );
}

#[test]
fn an_acceptor_refuses_a_dialler_under_the_keys_so_that_it_can_be_believed() {
    let (ada, bob) = (Party::new("ada"), Party::new("bob"));
    let ada = ada.trusts(&bob);
    let mut pair = Setup::new().pair(&ada, &bob);
    let outcome = pair.run();
    let error = outcome.acceptor.unwrap_err();
    assert_eq!(error.code(), ErrorCode::IDENTITY_UNTRUSTED);
    assert!(error.is_violation());
    let mut dialler = outcome.dialler.unwrap().unwrap();
    match pair.after(&mut dialler).unwrap() {
        Some(After::Refused(refusal)) => assert_eq!(refusal.code, ErrorCode::IDENTITY_UNTRUSTED),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dialler_that_is_done_reads_under_the_keys_that_the_acceptor_waited_too_long() {
    let (ada, bob) = friends();
    let again = Setup::new();
    let known = acquainted(&ada, &bob, &again);
    // The credentials of a first contact travel a flight later than those of an acquaintance.
    for (setup, flight_of_credentials) in [(Setup::new(), 4), (again.known(known), 2)] {
        let mut pair = setup.pair(&ada, &bob);
        let outcome = pair.run_with(|flight, bytes| {
            if flight == flight_of_credentials {
                bytes.clear();
            }
        });
        let mut dialler = outcome
            .dialler
            .unwrap()
            .expect("the dialler has said all it has to say");
        assert!(matches!(outcome.acceptor, Ok(None)));
        let late = pair.now + LATER;
        let timed_out = pair.acceptor.handle_timeout(late).unwrap_err();
        assert!(matches!(timed_out, HandshakeError::TimedOut));
        pair.acceptor.poll_transmit(&mut pair.to_dialler);
        match pair.after(&mut dialler).unwrap() {
            Some(After::Refused(refusal)) => assert_eq!(refusal.code, timed_out.code()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_identity_is_refused_before_its_time_and_after_it() {
    let (ada, bob) = friends();
    let year = Identity::LIFETIME;
    let mut setup = Setup::new();
    for (at, code) in [
        (
            UnixTime::from_secs(unix().secs() + year.as_secs() + 1),
            ErrorCode::CREDENTIALS_EXPIRED,
        ),
        (
            UnixTime::from_secs(unix().secs() - 3600),
            ErrorCode::CREDENTIALS_EXPIRED,
        ),
    ] {
        setup.acceptor_unix = at;
        let outcome = setup.pair(&ada, &bob).run();
        assert_eq!(outcome.acceptor.unwrap_err().code(), code);
    }
}

#[test]
fn somebody_elses_document_does_not_fit_the_key_that_was_proved() {
    // Eve holds Bob's document, which is public, and a static key of her own.
    let (ada, bob) = friends();
    let eve = Party::new("eve");
    let document = bob.security.identity().load().document().unwrap().clone();
    assert!(
        Identity::new(
            eve.security.identity().load().static_keys().to_vec(),
            None,
            document
        )
        .is_err()
    );
    // So she passes Bob's bytes on instead, and everything Ada says: then the keys are not hers.
    let setup = Setup::new();
    let mut from_bob = setup.pair(&ada, &bob);
    let mut eves = Vec::new();
    from_bob.run_with(|_, bytes| eves.push(bytes.to_vec())).both();
    assert!(!eves.concat().windows(7).any(|window| window == b"tcp://1"));
}

#[test]
fn an_identity_replaced_in_the_running_is_used_for_the_next_handshake() {
    let (ada, bob) = friends();
    let setup = Setup::new();
    setup.pair(&ada, &bob).run().both();
    bob.security
        .identity()
        .store(Identity::generate("bob", unix()).unwrap());
    let outcome = setup.pair(&ada, &bob).run();
    assert_eq!(outcome.dialler.unwrap_err().code(), ErrorCode::IDENTITY_UNTRUSTED);
    let ada = ada.trusts(&bob);
    setup.pair(&ada, &bob).run().both();
}

#[test]
fn a_token_speaks_for_a_caller_that_has_no_identity() {
    use crate::policy::{Policy, PolicyHandle};
    use crate::token::{Narrowing, Right, Token, TokenKey};
    use crate::verified::TrustedBy;
    use valkyrie_frame::Class;

    let key = TokenKey::generate().unwrap();
    let policy = format!("version = 1\n[tokens]\nroots = [\"{}\"]\n", key.root());
    let policy = PolicyHandle::new(Policy::parse(&policy).unwrap());
    let until = UnixTime::from_secs(unix().secs() + 60);
    let token = Token::mint(&key, &[Right::service("echo")], until).unwrap();
    let narrow = token.attenuate(&Narrowing::new().methods(["echo"])).unwrap();

    let bob = Party::new("bob").with(|security| security.with_policy(policy.clone()));
    let bearer = |token: &Token| {
        let security = Security::new(
            Live::new(Identity::anonymous().unwrap()),
            Live::new(Trust::default()),
        );
        let nobody = Party {
            security: security.with_token(token.as_bytes().to_vec()),
        };
        nobody.trusts(&bob)
    };
    let now = Instant::now();
    let (_, acceptor) = Setup::new().pair(&bearer(&token), &bob).run().both();
    assert_eq!(*acceptor.verified.how(), TrustedBy::Token);
    assert_eq!(acceptor.verified.not_after(), until);
    let grant = policy.grant(&acceptor.verified, now, unix());
    assert!(grant.check("echo", "anything", Class::Data, now).is_ok());
    assert!(grant.check("health", "check", Class::Data, now).is_err());
    let (_, acceptor) = Setup::new().pair(&bearer(&narrow), &bob).run().both();
    let grant = policy.grant(&acceptor.verified, now, unix());
    assert!(grant.check("echo", "echo", Class::Data, now).is_ok());
    assert!(grant.check("echo", "anything", Class::Data, now).is_err());

    // Of another key, too late, where no policy takes any, and for one who has no token at all.
    let foreign = Token::mint(&TokenKey::generate().unwrap(), &[Right::service("echo")], until).unwrap();
    let refused = |setup: Setup, token: &Token| setup.pair(&bearer(token), &bob).run().acceptor.unwrap_err();
    assert!(matches!(
        refused(Setup::new(), &foreign),
        HandshakeError::Token(_)
    ));
    let mut late = Setup::new();
    late.acceptor_unix = UnixTime::from_secs(until.secs() + 1);
    assert!(matches!(refused(late, &token), HandshakeError::Token(_)));
    let strict = Party::new("dan");
    let caller = bearer(&token).trusts(&strict);
    let outcome = Setup::new().pair(&caller, &strict).run();
    assert!(matches!(outcome.acceptor, Err(HandshakeError::Token(_))));
    // The root is withdrawn while the connection lives.
    policy.store(Policy::parse("version = 1\n").unwrap());
    assert!(policy.is_stale(&grant));
    let grant = policy.grant(&acceptor.verified, now, unix());
    assert!(grant.check("echo", "echo", Class::Data, now).is_err());
}
