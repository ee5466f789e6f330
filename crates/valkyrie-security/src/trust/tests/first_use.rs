//! Who is met for the first time, and who comes back as somebody else.

use super::*;

fn meet(trust: &Trust, place: &Place, document: &SignedIdentity) -> Result<Verified, TrustError> {
    trust.verify(NOW, &public(1), Role::Acceptor, &H, &shows(document), place)
}

/// Somebody who calls herself Ada too.
fn eve() -> SignedIdentity {
    full("ada", 1).sign(&classical(66)).unwrap()
}

#[test]
fn each_rule_takes_strangers_where_it_says() {
    let outcome = |rule, place: Place| {
        let trust = Trust::default().with_first_use(rule);
        match meet(&trust, &place, &ada()) {
            Ok(verified) => verified.newly_seen().map(|_| "taken").unwrap_or("known"),
            Err(TrustError::Unknown(_)) => "asked",
            Err(TrustError::Untrusted { .. }) => "refused",
            Err(other) => panic!("{other}"),
        }
    };
    for (rule, here, elsewhere) in [
        (FirstUse::Never, "refused", "refused"),
        (FirstUse::Local, "taken", "refused"),
        (FirstUse::Ask, "taken", "asked"),
        (FirstUse::Anywhere, "taken", "taken"),
    ] {
        assert_eq!(outcome(rule, at_home()), here, "{rule:?}");
        assert_eq!(outcome(rule, Place::arrived(true)), here, "{rule:?}");
        assert_eq!(outcome(rule, abroad()), elsewhere, "{rule:?}");
        assert_eq!(outcome(rule, Place::arrived(false)), elsewhere, "{rule:?}");
    }
}

#[test]
fn a_remembered_peer_is_known_again_and_another_at_its_place_is_not() {
    let mut trust = Trust::default().with_first_use(FirstUse::Local);
    let first = meet(&trust, &at_home(), &ada()).unwrap();
    let known = first.newly_seen().unwrap().clone();
    assert_eq!((known.place(), known.name()), ("uds:///run/ada", "ada"));
    assert_eq!(
        (known.fingerprint(), known.first_seen()),
        (classical(1).fingerprint(), NOW)
    );
    trust.remember(known.clone()).unwrap();

    let again = meet(&trust, &at_home(), &ada()).unwrap();
    assert_eq!((again.how(), again.newly_seen()), (&TrustedBy::FirstUse, None));

    let changed = meet(&trust, &at_home(), &eve()).unwrap_err();
    assert_eq!(
        changed,
        TrustError::Changed {
            place: "uds:///run/ada".to_owned(),
            remembered: classical(1).fingerprint(),
            since: NOW,
            now: classical(66).fingerprint(),
        }
    );
    assert_eq!(changed.code(), ErrorCode::IDENTITY_UNTRUSTED);
    assert!(changed.to_string().contains("HAS CHANGED"), "{changed}");
    // Whom this side knows is none of the peer's business.
    assert!(!changed.told_to_peer().contains("SHA256"));

    // The rule for strangers does not matter where somebody is remembered.
    let anywhere = trust.clone().with_first_use(FirstUse::Anywhere);
    assert_eq!(meet(&anywhere, &at_home(), &eve()), Err(changed));
    // Nor does it become easy by remembering over it.
    let eve_known = KnownPeer::new(&at_home(), &eve().document().unwrap(), NOW);
    assert!(matches!(
        trust.remember(eve_known.clone()),
        Err(TrustFileFault::Taken { .. })
    ));
    assert_eq!(trust.known_peers_mut().forget("uds:///run/ada"), Some(known));
    trust.remember(eve_known).unwrap();
    assert!(meet(&trust, &at_home(), &eve()).is_ok());
}

#[test]
fn whom_somebody_was_asked_about_is_known_afterwards() {
    let mut trust = Trust::default().with_first_use(FirstUse::Ask);
    let Err(TrustError::Unknown(peer)) = meet(&trust, &abroad(), &ada()) else {
        panic!("nobody was asked");
    };
    assert_eq!(peer.fingerprint(), classical(1).fingerprint());
    assert_eq!((peer.document().name(), peer.place()), ("ada", &abroad()));
    trust.remember(peer.known(NOW)).unwrap();
    assert!(meet(&trust, &abroad(), &ada()).is_ok());
    // There, and not elsewhere.
    let elsewhere = Place::dialled("tcp://other:1", false);
    assert!(matches!(
        meet(&trust, &elsewhere, &ada()),
        Err(TrustError::Unknown(_))
    ));
    assert!(matches!(
        meet(&trust, &abroad(), &eve()),
        Err(TrustError::Changed { .. })
    ));
}

#[test]
fn peers_that_come_by_themselves_are_known_by_fingerprint() {
    let mut trust = Trust::default().with_first_use(FirstUse::Local);
    let known = meet(&trust, &Place::arrived(true), &ada())
        .unwrap()
        .newly_seen()
        .unwrap()
        .clone();
    assert_eq!(known.place(), "*");
    trust.remember(known).unwrap();
    let again = meet(&trust, &Place::arrived(true), &ada()).unwrap();
    assert_eq!(again.newly_seen(), None);
    // Being met within the machine opens no door from outside.
    let from_afar = meet(&trust, &Place::arrived(false), &ada());
    assert!(matches!(from_afar, Err(TrustError::Untrusted { .. })));
    // Another who calls itself the same is another.
    assert!(matches!(
        meet(&trust, &Place::arrived(false), &eve()),
        Err(TrustError::Untrusted { .. })
    ));
    assert!(
        meet(&trust, &Place::arrived(true), &eve())
            .unwrap()
            .newly_seen()
            .is_some()
    );
    assert_eq!(
        trust
            .known_peers_mut()
            .forget_identity(&classical(1).fingerprint()),
        1
    );
    assert!(trust.known_peers().is_empty());
}

#[test]
fn peers_that_came_from_afar_are_known_from_everywhere() {
    let mut trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let known = meet(&trust, &Place::arrived(false), &ada())
        .unwrap()
        .newly_seen()
        .unwrap()
        .clone();
    assert_eq!(known.place(), "*afar");
    trust.remember(known).unwrap();
    let trust = trust.with_first_use(FirstUse::Never);
    assert!(meet(&trust, &Place::arrived(false), &ada()).is_ok());
    assert!(meet(&trust, &Place::arrived(true), &ada()).is_ok());
}

#[test]
fn whoever_names_the_fingerprint_has_decided() {
    let mut trust = Trust::default();
    let wanted = abroad().expecting(Expect::Fingerprint(classical(1).fingerprint()));
    let verified = meet(&trust, &wanted, &ada()).unwrap();
    assert_eq!(
        (verified.how(), trust.recheck(NOW, &verified)),
        (&TrustedBy::Pin, Ok(()))
    );
    assert!(meet(&trust, &wanted, &eve()).is_err());
    // Also where somebody else was before.
    trust
        .remember(KnownPeer::new(&abroad(), &eve().document().unwrap(), NOW))
        .unwrap();
    assert!(meet(&trust, &wanted, &ada()).is_ok());
    assert!(matches!(
        meet(&trust, &abroad(), &ada()),
        Err(TrustError::Changed { .. })
    ));
}

#[test]
fn a_pin_or_an_authority_decides_over_what_is_remembered() {
    let mut trust = pinning(&classical(1));
    trust
        .remember(KnownPeer::new(&abroad(), &eve().document().unwrap(), NOW))
        .unwrap();
    assert!(meet(&trust, &abroad(), &ada()).is_ok());
    let mut trust = trusting_ca();
    trust
        .remember(KnownPeer::new(&abroad(), &eve().document().unwrap(), NOW))
        .unwrap();
    assert!(meet(&trust, &abroad(), &ada_of_ca()).is_ok());
}
