//! What was revoked, in each way, before and while a connection lives.

use super::*;

fn list(revocations: &[Revocation]) -> RevocationList {
    let mut list = RevocationList::new();
    revocations
        .iter()
        .for_each(|revocation| list.add(*revocation).unwrap());
    list
}

fn ways(of: &SignedIdentity) -> [Revocation; 3] {
    let document = of.document().unwrap();
    [
        Revocation::Identity(document.fingerprint()),
        Revocation::Document {
            issuer: document.issuer(),
            serial: document.serial(),
        },
        Revocation::StaticKey(public(1)),
    ]
}

#[test]
fn the_operator_revokes_an_identity_a_document_or_a_key() {
    for revocation in ways(&ada()) {
        let mut trust = pinning(&classical(1));
        let before = judge(&trust, &shows(&ada())).unwrap();
        assert_eq!(trust.recheck(NOW, &before), Ok(()));
        trust.revoke(list(&[revocation])).unwrap();
        let error = judge(&trust, &shows(&ada())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::IDENTITY_REVOKED, "{revocation}");
        // Connections that live end too.
        let error = trust.recheck(NOW, &before).unwrap_err();
        assert_eq!(error.code(), ErrorCode::IDENTITY_REVOKED, "{revocation}");
    }
}

#[test]
fn others_stay_as_they_are() {
    let other = full("ada", 1).serial(8).sign(&classical(1)).unwrap();
    let mut trust = pinning(&classical(1));
    trust.revoke(list(&ways(&ada())[1..2])).unwrap();
    assert!(
        judge(&trust, &shows(&other)).is_ok(),
        "the next document of the same identity"
    );
    trust.revoke(list(&[Revocation::StaticKey(public(1))])).unwrap();
    let with_its_other_key = trust.verify(NOW, &public(0x81), Role::Dialler, &H, &shows(&other), &abroad());
    assert!(with_its_other_key.is_ok());
}

#[test]
fn a_revoked_key_is_refused_without_an_identity_too() {
    let mut trust = Trust::default().with_anonymous(true);
    let verified = judge(&trust, &Credentials::default()).unwrap();
    trust.revoke(list(&[Revocation::StaticKey(public(1))])).unwrap();
    assert_eq!(
        judge(&trust, &Credentials::default()),
        Err(TrustError::KeyRevoked)
    );
    assert_eq!(trust.recheck(NOW, &verified), Err(TrustError::KeyRevoked));
}

#[test]
fn a_revoked_authority_takes_all_that_it_signed_with_it() {
    let mut trust = trusting_ca();
    let verified = judge(&trust, &shows(&ada_of_ca())).unwrap();
    trust
        .revoke(list(&[Revocation::Identity(classical(9).fingerprint())]))
        .unwrap();
    assert!(matches!(
        judge(&trust, &shows(&ada_of_ca())),
        Err(TrustError::Revoked(_))
    ));
    assert!(trust.recheck(NOW, &verified).is_err());
    let mut trust = trusting_ca();
    assert!(trust.forget_authority(&classical(9).fingerprint()));
    assert!(matches!(
        trust.recheck(NOW, &verified),
        Err(TrustError::UnknownIssuer { .. })
    ));
}

#[test]
fn an_authority_revokes_what_it_signed_and_nothing_else() {
    for revocation in ways(&ada_of_ca()) {
        let mut trust = trusting_ca();
        let signed = list(&[revocation]).sign(&classical(9), 1, NOW).unwrap();
        trust.revoke(signed).unwrap();
        assert!(
            matches!(judge(&trust, &shows(&ada_of_ca())), Err(TrustError::Revoked(_))),
            "{revocation}"
        );
    }
    for revocation in ways(&ada()) {
        let mut trust = trusting_ca();
        trust
            .pins_mut()
            .add(Pin::new(classical(1).fingerprint()))
            .unwrap();
        let signed = list(&[revocation]).sign(&classical(9), 1, NOW).unwrap();
        trust.revoke(signed).unwrap();
        assert!(
            judge(&trust, &shows(&ada())).is_ok(),
            "it did not sign her: {revocation}"
        );
    }
}

#[test]
fn lists_of_strangers_forged_ones_and_old_ones_are_not_taken() {
    let mut trust = trusting_ca();
    let entry = [Revocation::Identity(classical(1).fingerprint())];
    let stranger = list(&entry).sign(&classical(8), 1, NOW).unwrap();
    assert_eq!(
        trust.revoke(stranger),
        Err(RevocationError::UnknownIssuer(classical(8).fingerprint()))
    );
    let text = list(&entry).sign(&classical(9), 7, NOW).unwrap().to_string();
    // One letter of a number: still a list of the right form.
    let forged = RevocationList::parse(&text.replace("number 7", "number 8")).unwrap();
    assert!(matches!(trust.revoke(forged), Err(RevocationError::Signature(_))));
    assert!(judge(&trust, &shows(&ada_of_ca())).is_ok());

    trust.revoke(RevocationList::parse(&text).unwrap()).unwrap();
    assert!(judge(&trust, &shows(&ada_of_ca())).is_err());
    let old = list(&[]).sign(&classical(9), 6, NOW).unwrap();
    assert_eq!(trust.revoke(old), Err(RevocationError::Older));
    let newer = list(&[]).sign(&classical(9), 8, NOW).unwrap();
    trust.revoke(newer).unwrap();
    assert!(judge(&trust, &shows(&ada_of_ca())).is_ok());
}

#[test]
fn every_key_of_an_authority_signs_its_list() {
    let mut trust = Trust::default();
    trust
        .trust_authority(ca().sign(&hybrid(9)).unwrap().document().unwrap())
        .unwrap();
    let signed = list(&[Revocation::StaticKey(public(5))])
        .sign(&hybrid(9), 1, NOW)
        .unwrap();
    let text = signed.to_string();
    assert_eq!(RevocationList::parse(&text).unwrap(), signed);
    let without: String = text
        .lines()
        .filter(|line| !line.contains("ML-DSA"))
        .map(|line| format!("{line}\n"))
        .collect();
    let without = RevocationList::parse(&without).unwrap();
    assert!(matches!(
        trust.revoke(without),
        Err(RevocationError::Signature(SignatureError::Missing(_)))
    ));
    assert_eq!(trust.revoke(signed), Ok(()));
}
