//! What tokens grant.

use std::time::Instant;

use super::*;
use crate::policy::{Classes, DeniedReason, Policy, Standing, Subject};

const ALL: &str = "critical, system, job, data, bulk";

#[test]
fn a_token_grants_what_it_states_and_nothing_else() {
    let token = mint(&[
        Right::service("rustci").in_class(Class::Job),
        Right::method("echo", "echo"),
        Right::method("echo", "stream").in_class(Class::Bulk),
    ]);
    assert_eq!(classes(&token, "rustci", "submit"), "job");
    assert_eq!(classes(&token, "echo", "echo"), ALL);
    assert_eq!(classes(&token, "echo", "stream"), "bulk");
    assert_eq!(classes(&token, "echo", "fail"), "none");
    assert_eq!(classes(&token, "rust", "ci"), "none");
    assert_eq!(classes(&token, "", ""), "none");
}

#[test]
fn each_narrowing_takes_away_and_gives_nothing() {
    let token = mint(&[Right::service("rustci"), Right::service("echo")]);
    let of_service = token
        .attenuate(&Narrowing::new().services(["rustci", "other"]))
        .unwrap();
    assert_eq!(classes(&of_service, "rustci", "submit"), ALL);
    assert_eq!(classes(&of_service, "echo", "echo"), "none");
    assert_eq!(
        classes(&of_service, "other", "x"),
        "none",
        "a narrowing grants nothing"
    );
    let narrowing = Narrowing::new()
        .methods(["submit", "watch"])
        .classes([Class::Job, Class::Data].into_iter().collect());
    let of_method = of_service.attenuate(&narrowing).unwrap();
    assert_eq!(classes(&of_method, "rustci", "submit"), "job, data");
    assert_eq!(classes(&of_method, "rustci", "register"), "none");
    assert_eq!(
        classes(&token, "echo", "echo"),
        ALL,
        "the token itself is unchanged"
    );
    let nothing = of_method.attenuate(&Narrowing::new().services(["echo"])).unwrap();
    assert_eq!(classes(&nothing, "rustci", "submit"), "none");
}

#[test]
fn a_token_ends_when_its_earliest_block_says() {
    let token = mint(&[Right::service("a")]);
    let rights = verify(token.as_bytes()).unwrap();
    assert_eq!(rights.not_after(), Some(NOW.saturating_add(HOUR)));
    let soon = NOW.saturating_add(HOUR / 4);
    let shorter = token.attenuate(&Narrowing::new().expires(soon)).unwrap();
    let longer = shorter
        .attenuate(&Narrowing::new().expires(NOW.saturating_add(HOUR * 24)))
        .unwrap();
    for token in [&shorter, &longer] {
        let rights = verify(token.as_bytes()).unwrap();
        assert_eq!(rights.not_after(), Some(soon));
        let answer = rights.ask("a", "b", NOW);
        assert_eq!((answer.classes, answer.until), (Classes::ALL, soon));
        assert_eq!(rights.ask("a", "b", soon).classes, Classes::NONE);
    }
    let at = |time| TokenRights::verify(shorter.as_bytes(), &peer(), &[root().root()], &[], time).map(|_| ());
    assert_eq!(at(UnixTime::from_millis(soon.millis() - 1)), Ok(()));
    assert_eq!(at(soon), Err(TokenError::Time(soon)));
}

#[test]
fn a_token_bound_to_a_peer_is_of_no_use_to_another() {
    let token = mint(&[Right::service("a")]);
    let bound = token.attenuate(&Narrowing::new().bound_to(peer())).unwrap();
    assert_eq!(classes(&bound, "a", "b"), ALL);
    let thief = PublicKey::from_bytes([10; 32]);
    let stolen = TokenRights::verify(bound.as_bytes(), &thief, &[root().root()], &[], NOW);
    assert_eq!(stolen.map(|_| ()), Err(TokenError::OtherPeer));
    let rebound = bound.attenuate(&Narrowing::new().bound_to(thief)).unwrap();
    let stolen = TokenRights::verify(rebound.as_bytes(), &thief, &[root().root()], &[], NOW);
    assert_eq!(
        stolen.map(|_| ()),
        Err(TokenError::OtherPeer),
        "the first binding stays"
    );
}

#[test]
fn revoking_a_token_revokes_what_was_made_from_it_and_not_its_siblings() {
    let token = mint(&[Right::service("a")]);
    let (one, two) = (
        token.attenuate(&Narrowing::new().methods(["x"])).unwrap(),
        token.attenuate(&Narrowing::new().methods(["x"])).unwrap(),
    );
    let below = one
        .attenuate(&Narrowing::new().classes(Classes::ORDINARY))
        .unwrap();
    let id: RevocationId = one.revocation_ids().last().unwrap().parse().unwrap();
    let with = |token: &Token| {
        TokenRights::verify(token.as_bytes(), &peer(), &[root().root()], &[id], NOW).map(|_| ())
    };
    assert_eq!(
        (with(&one), with(&below)),
        (Err(TokenError::Revoked), Err(TokenError::Revoked))
    );
    assert_eq!((with(&two), with(&token)), (Ok(()), Ok(())));
}

#[test]
fn a_sealed_token_works_and_cannot_be_narrowed() {
    let sealed = mint(&[Right::service("a")]).seal().unwrap();
    assert_eq!(classes(&sealed, "a", "b"), ALL);
    assert_eq!(
        sealed.attenuate(&Narrowing::new()).map(|_| ()),
        Err(TokenError::Sealed)
    );
    assert_eq!(sealed.seal().map(|_| ()), Err(TokenError::Sealed));
}

#[test]
fn what_cannot_be_said_is_not_minted() {
    let key = root();
    let mint = |rights: &[Right]| Token::mint(&key, rights, NOW).map(|_| ());
    assert_eq!(mint(&[]), Err(TokenError::NoRights));
    assert_eq!(mint(&[Right::service("")]), Err(TokenError::Name(String::new())));
    assert_eq!(
        mint(&[Right::service("*")]),
        Err(TokenError::Name("*".to_owned()))
    );
    assert!(mint(&vec![Right::service("a"); 65]).is_err());
    let long: Vec<Right> = (0..64)
        .map(|number| Right::service(&format!("{number:0>200}")))
        .collect();
    assert_eq!(mint(&long), Err(TokenError::TooLong));
    let mut token = Token::mint(&key, &[Right::service("a")], NOW).unwrap();
    for _ in 1..8 {
        token = token.attenuate(&Narrowing::new().services(["a"])).unwrap();
    }
    assert!(
        token.attenuate(&Narrowing::new()).is_err(),
        "eight blocks are the most"
    );
}

#[test]
fn secrets_are_not_shown() {
    let key = root();
    let token = mint(&[Right::service("a")]);
    let shown = format!("{key:?} {token:?} {:?}", verify(token.as_bytes()).unwrap());
    assert!(!shown.contains(&hex(&*key.seed())));
    assert!(!shown.contains("07, 07") && !shown.contains("7, 7"));
    assert!(shown.contains(&key.root().to_string()));
}

fn policy(more: &str) -> Policy {
    let text = format!("version = 1\n[tokens]\nroots = ['{}']\n{more}", root().root());
    Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn stranger(rights: &TokenRights) -> Subject<'_> {
    Subject {
        token: Some(rights),
        ..Subject::new(Standing::Anonymous)
    }
}

#[test]
fn a_stranger_with_a_token_may_do_what_the_token_says() {
    let policy = policy("");
    let token = mint(&[
        Right::service("rustci"),
        Right::method("echo", "echo").in_class(Class::System),
    ]);
    let rights = policy.verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let now = Instant::now();
    let grant = policy.grant(stranger(&rights), now, NOW);
    for _ in 0..2 {
        assert_eq!(grant.check("rustci", "submit", Class::Job, now), Ok(()));
        let denied = grant.check("echo", "fail", Class::Job, now).unwrap_err();
        assert_eq!(denied.reason, DeniedReason::NoRule);
        assert!(
            grant.check("rustci", "submit", Class::Critical, now).is_err(),
            "the policy's ceiling"
        );
        assert!(grant.check("echo", "echo", Class::System, now).is_err());
    }
    assert_eq!(grant.classes(), Classes::ORDINARY);
    assert_eq!(grant.not_after(), Some(NOW.saturating_add(HOUR)));
    let late = grant
        .check("rustci", "submit", Class::Job, now + HOUR)
        .unwrap_err();
    assert_eq!(late.reason, DeniedReason::Expired);
}

#[test]
fn the_policy_lifts_the_ceiling_and_its_denials_stand_above_tokens() {
    let policy = policy("classes = ['system', 'job']\n[[deny]]\ncalls = ['rustci/stop']\n");
    let token = mint(&[Right::service("rustci")]);
    let rights = policy.verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let now = Instant::now();
    let grant = policy.grant(stranger(&rights), now, NOW);
    assert_eq!(grant.check("rustci", "submit", Class::System, now), Ok(()));
    assert!(grant.check("rustci", "submit", Class::Bulk, now).is_err());
    let denied = grant.check("rustci", "stop", Class::Job, now).unwrap_err();
    assert!(matches!(denied.reason, DeniedReason::Forbidden { .. }));
}

#[test]
fn rules_give_a_token_holder_what_they_give_everybody_in_its_standing() {
    let policy = policy(
        "[[allow]]\npeers = ['anonymous']\nservices = ['health']\n[[allow]]\npeers = ['any']\nservices = ['echo']\n",
    );
    let token = mint(&[Right::service("rustci")]);
    let rights = policy.verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let now = Instant::now();
    let grant = policy.grant(stranger(&rights), now, NOW);
    assert!(grant.check("health", "check", Class::Job, now).is_ok());
    assert!(grant.check("rustci", "submit", Class::Job, now).is_ok());
    assert!(
        grant.check("echo", "echo", Class::Job, now).is_err(),
        "a token makes nobody authenticated"
    );
}

#[test]
fn a_token_adds_to_an_identity_and_ends_without_it() {
    let policy = policy("[[allow]]\npeers = ['any']\nservices = ['echo']\n");
    let token = mint(&[Right::service("rustci")]);
    let rights = policy.verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let subject = Subject {
        standing: Standing::Identity,
        ..stranger(&rights)
    };
    let now = Instant::now();
    let grant = policy.grant(subject, now, NOW);
    assert!(grant.check("rustci", "submit", Class::Job, now).is_ok());
    assert!(grant.check("echo", "echo", Class::Job, now).is_ok());
    let later = now + HOUR;
    assert!(grant.check("rustci", "submit", Class::Job, later).is_err());
    assert!(grant.check("echo", "echo", Class::Job, later).is_ok());
}

#[test]
fn a_new_policy_takes_away_what_a_token_granted() {
    let token = mint(&[Right::service("rustci")]);
    let rights = policy("").verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let now = Instant::now();
    let allowed = |policy: Policy| {
        let grant = policy.grant(stranger(&rights), now, NOW);
        grant.check("rustci", "submit", Class::Job, now).is_ok()
    };
    assert!(allowed(policy("")));
    assert!(!allowed(Policy::default()), "its root is trusted no more");
    let revoked = token.revocation_ids();
    assert!(!allowed(policy(&format!("revoked = ['{}']", revoked[0]))));
}

#[test]
fn without_roots_no_token_is_taken() {
    let token = mint(&[Right::service("a")]);
    let result = Policy::allow_all().verify_token(token.as_bytes(), &peer(), NOW);
    assert_eq!(result.map(|_| ()), Err(TokenError::Signature));
}

#[test]
fn a_token_is_asked_once_for_a_call_however_many_junk_calls_come() {
    let policy = policy("");
    let token = mint(&[Right::method("a", "b")]);
    let rights = policy.verify_token(token.as_bytes(), &peer(), NOW).unwrap();
    let now = Instant::now();
    let grant = policy.grant(stranger(&rights), now, NOW);
    for number in 0..1000 {
        assert!(grant.check("junk", &number.to_string(), Class::Job, now).is_err());
    }
    assert!(grant.check("a", "b", Class::Job, now).is_ok());
}
