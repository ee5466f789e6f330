//! Making, replacing and signing.

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn node() -> KeyRing {
    KeyRing::generate(&NewIdentity::node("ada"), NOW).unwrap()
}

fn authority() -> KeyRing {
    KeyRing::generate(&NewIdentity::authority("home"), NOW).unwrap()
}

fn terms(roles: &[&str]) -> Terms {
    Terms {
        name: None,
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        labels: vec![("site".to_owned(), "attic".to_owned())],
        lifetime: 30 * DAY,
    }
}

#[test]
fn a_new_identity_signs_with_both_algorithms() {
    let ring = node();
    assert!(ring.document().is_self_signed());
    assert_eq!(ring.document().signing_keys().iter().count(), 2);
    assert_eq!(ring.identity(NOW).unwrap().static_keys().len(), 1);
    assert!(matches!(
        authority().identity(NOW),
        Err(KeystoreError::IsAuthority)
    ));
}

#[test]
fn a_replaced_key_is_accepted_until_its_time_and_the_fingerprint_stays() {
    let mut ring = node();
    let (old, fingerprint) = (ring.static_keys().next().unwrap().0, ring.fingerprint());
    let Rotated::Now { key, old_until } = ring.rotate(NOW, DAY).unwrap() else {
        panic!()
    };
    assert_eq!(
        (ring.fingerprint(), old_until),
        (fingerprint, NOW.saturating_add(DAY))
    );
    assert_eq!(ring.document().static_keys(), [key, old]);
    let keys = |at| -> Vec<_> {
        ring.identity(at)
            .unwrap()
            .static_keys()
            .iter()
            .map(StaticKey::public)
            .collect()
    };
    assert_eq!(keys(NOW), [key, old]);
    assert_eq!(keys(old_until), [key]);
}

#[test]
fn keys_that_are_replaced_often_do_not_pile_up() {
    let mut ring = node();
    for _ in 0..10 {
        ring.rotate(NOW, DAY).unwrap();
    }
    assert_eq!(ring.document().static_keys().len(), HELD_KEYS_MAX - 1);
    assert_eq!(ring.document().serial(), 11);
    ring.rotate(NOW.saturating_add(2 * DAY), DAY).unwrap();
    assert_eq!(
        ring.document().static_keys().len(),
        2,
        "those that had their time are gone"
    );
}

#[test]
fn an_authority_decides_what_a_node_may_be() {
    let (authority, mut node) = (
        authority(),
        KeyRing::generate(
            &NewIdentity {
                roles: vec!["admin".into()],
                ..NewIdentity::node("eve")
            },
            NOW,
        )
        .unwrap(),
    );
    let request = node.request(NOW).unwrap().document().unwrap();
    let signed = authority
        .sign(&request, &terms(&["runner"]), NOW)
        .unwrap()
        .document()
        .unwrap();
    signed
        .verify_signatures(authority.document().signing_keys())
        .unwrap();
    assert_eq!(
        (signed.name(), signed.roles()),
        ("eve", &["runner".to_owned()][..])
    );
    assert_eq!(signed.issuer(), authority.fingerprint());
    node.adopt(signed.clone(), NOW, DAY).unwrap();
    assert_eq!(
        node.identity(NOW).unwrap().document().unwrap().roles(),
        ["runner"]
    );
    assert!(matches!(
        node.adopt(signed, NOW, DAY),
        Err(KeystoreError::Older { .. })
    ));
}

#[test]
fn a_key_of_a_signed_node_waits_for_its_document() {
    let (authority, mut node) = (authority(), node());
    let request = node.request(NOW).unwrap().document().unwrap();
    let signed = authority
        .sign(&request, &terms(&[]), NOW)
        .unwrap()
        .document()
        .unwrap();
    node.adopt(signed, NOW, DAY).unwrap();
    let old = node.static_keys().next().unwrap().0;
    let Rotated::Waits { key } = node.rotate(NOW, DAY).unwrap() else {
        panic!()
    };
    assert_eq!(node.waiting(), Some(key));
    assert_eq!(
        node.identity(NOW).unwrap().static_key().public(),
        old,
        "the old one is used meanwhile"
    );
    let later = NOW.saturating_add(DAY);
    let request = node.request(later).unwrap().document().unwrap();
    node.adopt(
        authority
            .sign(&request, &terms(&[]), later)
            .unwrap()
            .document()
            .unwrap(),
        later,
        DAY,
    )
    .unwrap();
    assert_eq!(node.waiting(), None);
    let keys: Vec<_> = node.static_keys().collect();
    assert_eq!(keys, [(key, None), (old, Some(later.saturating_add(DAY)))]);
}

#[test]
fn nobody_signs_for_what_is_not_asked_for_by_its_own_keys() {
    let (authority, node) = (authority(), node());
    let request = node.request(NOW).unwrap();
    let signed = authority
        .sign(&request.document().unwrap(), &terms(&[]), NOW)
        .unwrap()
        .document()
        .unwrap();
    assert!(matches!(
        authority.sign(&signed, &terms(&[]), NOW),
        Err(KeystoreError::NotARequest)
    ));
    assert!(matches!(
        authority.sign(authority.document(), &terms(&[]), NOW),
        Err(KeystoreError::NotARequest)
    ));
    let mut changed = request.as_bytes().to_vec();
    let at = changed.windows(3).position(|three| three == b"ada").unwrap();
    changed[at] = b'e';
    let forged = IdentityDocument::parse(&changed).unwrap();
    assert!(matches!(
        authority.sign(&forged, &terms(&[]), NOW),
        Err(KeystoreError::NotARequest)
    ));
    assert!(matches!(
        node.sign(&request.document().unwrap(), &terms(&[]), NOW),
        Err(KeystoreError::NotAuthority)
    ));
}

#[test]
fn a_document_of_another_identity_is_not_adopted() {
    let (authority, mut ada, eve) = (authority(), node(), node());
    let request = eve.request(NOW).unwrap().document().unwrap();
    let signed = authority
        .sign(&request, &terms(&[]), NOW)
        .unwrap()
        .document()
        .unwrap();
    assert!(matches!(
        ada.adopt(signed, NOW, DAY),
        Err(KeystoreError::Mismatch)
    ));
    assert!(ada.document().is_self_signed());
}

#[test]
fn no_document_outlives_its_authority() {
    let (authority, node) = (authority(), node());
    let request = node.request(NOW).unwrap().document().unwrap();
    let greedy = Terms {
        lifetime: 100 * AUTHORITY_LIFETIME,
        ..terms(&[])
    };
    let signed = authority
        .sign(&request, &greedy, NOW)
        .unwrap()
        .document()
        .unwrap();
    assert_eq!(signed.not_after(), authority.document().not_after());
}

#[test]
fn a_document_that_nears_its_end_is_renewed_by_itself() {
    let mut ring = node();
    let later = |part: u32| NOW.saturating_add(Identity::LIFETIME / 100 * part);
    assert!(!ring.renew_if_due(later(70)).unwrap());
    assert!(ring.renew_if_due(later(80)).unwrap());
    assert!(ring.document().not_after() > later(170));
    assert!(!ring.renew_if_due(later(81)).unwrap());
}

#[test]
fn names_come_out_plain_whatever_the_machine_is_called() {
    assert_eq!(plain_name("ada", "attic"), "ada@attic");
    assert_eq!(plain_name("ad a\u{202e}", "at\ntic"), "ada@attic");
    assert_eq!(plain_name("ada", ""), "ada@localhost");
    assert_eq!(plain_name("", "attic"), "attic");
    assert!(plain_name(&"x".repeat(500), &"y".repeat(500)).len() < 200);
}
