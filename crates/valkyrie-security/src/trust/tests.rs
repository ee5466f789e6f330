//! Who is believed and who is not.

mod files;
mod first_use;
mod proofs;
mod revocations;

use bytes::Bytes;

use super::*;
use crate::credentials::Credentials;
use crate::identity::tests::{NOW, around, classical, full, hybrid, public, static_key};
use crate::identity::{DocumentBuilder, DocumentError, Identity, SignatureError, SignedIdentity, SigningKey};
use crate::provider::PublicKey;
use crate::role::Role;
use crate::time::UnixTime;
use crate::verified::{Assurance, TrustedBy, Verified};
use valkyrie_frame::ErrorCode;

const H: [u8; 32] = [7; 32];

/// What a peer with this document shows.
fn shows(document: &SignedIdentity) -> Credentials {
    shows_bytes(document.as_bytes())
}

fn shows_bytes(document: &[u8]) -> Credentials {
    let len = u16::try_from(document.len()).unwrap().to_be_bytes();
    Credentials::parse(&[&[1], &len[..], document].concat()).unwrap()
}

fn abroad() -> Place {
    Place::dialled("tcp://ada.example:7000", false)
}

fn at_home() -> Place {
    Place::dialled("uds:///run/ada", true)
}

/// The peer holds static key 1, dialled us and sent this.
fn judge(trust: &Trust, credentials: &Credentials) -> Result<Verified, TrustError> {
    trust.verify(NOW, &public(1), Role::Dialler, &H, credentials, &abroad())
}

/// Ada, with static keys 1 and 0x81, signed by herself.
fn ada() -> SignedIdentity {
    full("ada", 1).sign(&classical(1)).unwrap()
}

/// Ada, signed by the authority with key 9.
fn ada_of_ca() -> SignedIdentity {
    full("ada", 1)
        .signing_keys(classical(1).public())
        .sign(&classical(9))
        .unwrap()
}

fn ca() -> DocumentBuilder {
    DocumentBuilder::authority("ca").valid(around(NOW).0, around(NOW).1)
}

fn pinning(key: &SigningKey) -> Trust {
    let mut trust = Trust::default();
    trust.pins_mut().add(Pin::new(key.fingerprint())).unwrap();
    trust
}

fn trusting_ca() -> Trust {
    let mut trust = Trust::default();
    trust
        .trust_authority(ca().sign(&classical(9)).unwrap().document().unwrap())
        .unwrap();
    trust
}

#[test]
fn nobody_is_believed_by_default() {
    let error = judge(&Trust::default(), &shows(&ada())).unwrap_err();
    assert!(
        matches!(&error, TrustError::Untrusted { name, .. } if name == "ada"),
        "{error}"
    );
    assert_eq!(error.code(), ErrorCode::IDENTITY_UNTRUSTED);
    let error = judge(&Trust::default(), &Credentials::default()).unwrap_err();
    assert_eq!(
        (error.code(), error),
        (ErrorCode::UNAUTHENTICATED, TrustError::Anonymous)
    );
}

#[test]
fn a_pinned_peer_has_the_name_and_roles_that_the_pin_gives_it() {
    let mut trust = Trust::default();
    let pin = Pin {
        name: Some("ada of the lab".to_owned()),
        roles: vec!["operator".to_owned()],
        ..Pin::new(classical(1).fingerprint())
    };
    trust.pins_mut().add(pin).unwrap();
    let verified = judge(&trust, &shows(&ada())).unwrap();
    assert_eq!(verified.how(), &TrustedBy::Pin);
    assert_eq!(verified.name(), Some("ada of the lab"));
    assert_eq!(verified.claimed_name(), Some("ada"));
    assert_eq!(verified.roles(), ["operator"]);
    assert_eq!(verified.labels(), []);
    assert_eq!(verified.fingerprint(), Some(classical(1).fingerprint()));
    assert_eq!(verified.static_key(), Some(&public(1)));
    assert_eq!(verified.not_after(), around(NOW).1);
    assert_eq!(verified.assurance(), Assurance::StaticKey);
    let shown = verified.to_string();
    assert_eq!(
        shown,
        format!("ada of the lab ({}), pinned", classical(1).fingerprint())
    );
}

#[test]
fn an_announced_successor_is_believed_as_its_predecessor_is() {
    let mut trust = Trust::default();
    let pin = Pin {
        next: Some(hybrid(1).fingerprint()),
        name: Some("ada".to_owned()),
        ..Pin::new(classical(1).fingerprint())
    };
    trust.pins_mut().add(pin).unwrap();
    let successor = full("ada", 1).sign(&hybrid(1)).unwrap();
    for document in [ada(), successor] {
        assert_eq!(judge(&trust, &shows(&document)).unwrap().name(), Some("ada"));
    }
}

#[test]
fn a_peer_whom_an_authority_vouches_for_has_what_its_document_says() {
    let verified = judge(&trusting_ca(), &shows(&ada_of_ca())).unwrap();
    assert_eq!(verified.name(), Some("ada"));
    assert_eq!(verified.roles(), ["ci", "runner"]);
    assert_eq!(verified.labels().len(), 2);
    let fingerprint = classical(9).fingerprint();
    let name = "ca".to_owned();
    assert_eq!(verified.how(), &TrustedBy::Authority { fingerprint, name });
}

#[test]
fn every_static_key_of_a_document_is_the_peer_and_no_other() {
    let trust = pinning(&classical(1));
    let with = |key: &PublicKey| trust.verify(NOW, key, Role::Dialler, &H, &shows(&ada()), &abroad());
    assert!(with(&public(1)).is_ok());
    assert!(with(&public(0x81)).is_ok());
    let error = with(&public(2)).unwrap_err();
    assert_eq!(error, TrustError::WrongStaticKey(classical(1).fingerprint()));
    assert_eq!(error.code(), ErrorCode::UNAUTHENTICATED);
}

#[test]
fn whoever_an_unknown_authority_vouches_for_is_not_believed() {
    let unknown = TrustError::UnknownIssuer {
        fingerprint: classical(1).fingerprint(),
        issuer: classical(9).fingerprint(),
    };
    assert_eq!(
        judge(&Trust::default(), &shows(&ada_of_ca())),
        Err(unknown.clone())
    );
    // Its signatures cannot be checked, so a pin does not help, nor does meeting it for the first time.
    assert_eq!(
        judge(&pinning(&classical(1)), &shows(&ada_of_ca())),
        Err(unknown.clone())
    );
    let open = Trust::default().with_first_use(FirstUse::Anywhere);
    assert_eq!(judge(&open, &shows(&ada_of_ca())), Err(unknown));
}

#[test]
fn a_document_that_only_names_an_authority_is_refused() {
    // Signed by key 8, and the issuer's fingerprint is changed to that of the authority.
    let forged = full("ada", 1)
        .signing_keys(classical(1).public())
        .sign(&classical(8))
        .unwrap();
    let (from, to) = (classical(8).fingerprint(), classical(9).fingerprint());
    let mut bytes = forged.as_bytes().to_vec();
    let at = bytes
        .windows(32)
        .position(|window| window == from.as_bytes())
        .unwrap();
    bytes[at..at + 32].copy_from_slice(to.as_bytes());
    let error = judge(&trusting_ca(), &shows_bytes(&bytes)).unwrap_err();
    assert!(
        matches!(error, TrustError::Signature(SignatureError::Wrong(_))),
        "{error}"
    );
}

#[test]
fn an_authority_is_never_at_the_end_of_a_connection() {
    let document = ca().sign(&classical(9)).unwrap();
    let error = judge(&trusting_ca(), &shows(&document)).unwrap_err();
    assert_eq!(error, TrustError::AuthorityAsNode(classical(9).fingerprint()));
    assert!(matches!(
        Identity::new(vec![static_key(1)], None, document.document().unwrap()),
        Err(crate::identity::IdentityError::NotANode)
    ));
}

#[test]
fn a_node_is_no_authority() {
    let mut trust = Trust::default();
    let node = ada().document().unwrap();
    assert_eq!(trust.trust_authority(node), Err(AuthorityError::NotAnAuthority));
    let below = ca()
        .signing_keys(classical(8).public())
        .sign(&classical(9))
        .unwrap();
    assert_eq!(
        trust.trust_authority(below.document().unwrap()),
        Err(AuthorityError::NotSelfSigned)
    );
    assert_eq!(trust.authorities().count(), 0);

    let mut forged = ca().sign(&classical(9)).unwrap().as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = IdentityDocument::parse(&forged).unwrap();
    assert!(matches!(
        trust.trust_authority(forged),
        Err(AuthorityError::Signature(_))
    ));

    let serial = |serial| {
        ca().serial(serial)
            .sign(&classical(9))
            .unwrap()
            .document()
            .unwrap()
    };
    trust.trust_authority(serial(2)).unwrap();
    assert_eq!(trust.trust_authority(serial(1)), Err(AuthorityError::Older));
    trust.trust_authority(serial(3)).unwrap();
    assert_eq!(trust.authorities().count(), 1);
}

#[test]
fn a_document_is_good_from_its_beginning_until_before_its_end() {
    let trust = pinning(&classical(1));
    let (begin, end) = around(NOW);
    let at = |now| {
        trust
            .verify(now, &public(1), Role::Dialler, &H, &shows(&ada()), &abroad())
            .map(|_| ())
            .map_err(|error| (error.code(), error))
    };
    let secs = std::time::Duration::from_secs;
    let ms = std::time::Duration::from_millis(1);
    assert_eq!(at(begin), Ok(()));
    // Clocks differ by 90 seconds, and no more.
    assert_eq!(at(begin.saturating_sub(secs(90))), Ok(()));
    let early = Err((ErrorCode::CREDENTIALS_EXPIRED, TrustError::NotYetValid(begin)));
    assert_eq!(at(begin.saturating_sub(secs(90) + ms)), early);
    assert_eq!(at(UnixTime::EPOCH), early);
    assert_eq!(at(end.saturating_sub(ms)), Ok(()));
    let late = Err((ErrorCode::CREDENTIALS_EXPIRED, TrustError::Expired(end)));
    assert_eq!(at(end), late);
    assert_eq!(at(UnixTime::MAX), late);
}

#[test]
fn an_authority_vouches_for_nobody_outside_its_own_times() {
    let mut trust = Trust::default();
    let (begin, end) = (NOW, NOW.saturating_add(std::time::Duration::from_secs(600)));
    let document = ca()
        .valid(begin, end)
        .sign(&classical(9))
        .unwrap()
        .document()
        .unwrap();
    trust.trust_authority(document).unwrap();
    let at = |now| {
        trust.verify(
            now,
            &public(1),
            Role::Dialler,
            &H,
            &shows(&ada_of_ca()),
            &abroad(),
        )
    };
    // The connection ends with the authority's document, which is the first to end.
    let verified = at(begin).unwrap();
    assert_eq!(verified.not_after(), end);
    let expired = TrustError::AuthorityExpired(classical(9).fingerprint());
    assert_eq!(at(end), Err(expired.clone()));
    assert_eq!(
        at(begin.saturating_sub(std::time::Duration::from_secs(91))),
        Err(expired)
    );
    assert_eq!(trust.recheck(begin, &verified), Ok(()));
    assert_eq!(trust.recheck(end, &verified), Err(TrustError::Expired(end)));
}

#[test]
fn a_flipped_bit_anywhere_in_the_document_is_refused() {
    let trust = pinning(&classical(1));
    let good = ada();
    assert!(judge(&trust, &shows(&good)).is_ok());
    for at in 0..good.as_bytes().len() {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        assert!(judge(&trust, &shows_bytes(&bytes)).is_err(), "byte {at}");
    }
    let error = judge(&trust, &shows_bytes(b"")).unwrap_err();
    assert_eq!(error, TrustError::Document(DocumentError::Truncated));
}

#[test]
fn only_whom_one_wants_to_meet_will_do() {
    let trust = trusting_ca();
    let meet = |expect: Expect| {
        let place = abroad().expecting(expect);
        trust
            .verify(NOW, &public(1), Role::Acceptor, &H, &shows(&ada_of_ca()), &place)
            .map_err(|error| error.code())
    };
    assert!(meet(Expect::Name("ada".to_owned())).is_ok());
    assert!(meet(Expect::Role("ci".to_owned())).is_ok());
    assert!(meet(Expect::Fingerprint(classical(1).fingerprint())).is_ok());
    let refused = Err(ErrorCode::IDENTITY_UNTRUSTED);
    assert_eq!(meet(Expect::Name("eve".to_owned())), refused);
    assert_eq!(meet(Expect::Role("operator".to_owned())), refused);
    assert_eq!(meet(Expect::Fingerprint(classical(2).fingerprint())), refused);
    assert_eq!(meet(Expect::SpiffeId("spiffe://x/y".to_owned())), refused);
}

#[test]
fn what_a_peer_calls_itself_is_not_its_name() {
    let trust = pinning(&classical(1)).with_first_use(FirstUse::Anywhere);
    let place = abroad().expecting(Expect::Name("ada".to_owned()));
    let pinned = trust.verify(NOW, &public(1), Role::Acceptor, &H, &shows(&ada()), &place);
    assert!(
        matches!(pinned, Err(TrustError::NotExpected { .. })),
        "the pin gives no name"
    );
    let stranger = full("ada", 1).sign(&classical(5)).unwrap();
    let met = trust
        .verify(NOW, &public(1), Role::Acceptor, &H, &shows(&stranger), &abroad())
        .unwrap();
    assert_eq!((met.name(), met.roles().len(), met.labels().len()), (None, 0, 0));
    assert!(met.to_string().starts_with("somebody who goes by ada"), "{met}");
    let place = abroad().expecting(Expect::Role("ci".to_owned()));
    assert!(
        trust
            .verify(NOW, &public(1), Role::Acceptor, &H, &shows(&stranger), &place)
            .is_err()
    );
}

#[test]
fn a_peer_without_an_identity_is_let_in_only_where_that_is_allowed() {
    let trust = Trust::default().with_anonymous(true);
    let verified = judge(&trust, &Credentials::default()).unwrap();
    assert_eq!(verified.how(), &TrustedBy::Anonymous);
    assert_eq!(verified.static_key(), Some(&public(1)));
    assert_eq!((verified.name(), verified.fingerprint()), (None, None));
    assert_eq!(trust.recheck(NOW, &verified), Ok(()));
    assert_eq!(
        trust.with_anonymous(false).recheck(NOW, &verified),
        Err(TrustError::Anonymous)
    );
    // An identity that is not believed does not become an anonymous one.
    let trust = Trust::default().with_anonymous(true);
    assert!(matches!(
        judge(&trust, &shows(&ada())),
        Err(TrustError::Untrusted { .. })
    ));
}

#[test]
fn two_identities_at_once_are_refused() {
    let mut credentials = shows(&ada());
    credentials.set_svid(&[Bytes::from_static(b"leaf")]).unwrap();
    assert_eq!(
        judge(&pinning(&classical(1)), &credentials),
        Err(TrustError::TwoIdentities)
    );
}

#[test]
fn a_document_is_checked_once_and_judged_every_time() {
    let mut trust = pinning(&classical(1));
    judge(&trust, &shows(&ada())).unwrap();
    judge(&trust, &shows(&ada())).unwrap();
    assert_eq!(trust.verified.len(), 1);
    // A changed copy shares what was found out, and decides for itself.
    let changed = {
        let mut list = RevocationList::new();
        list.add(Revocation::Identity(classical(1).fingerprint()))
            .unwrap();
        let mut changed = trust.clone();
        changed.revoke(list).unwrap();
        changed
    };
    assert!(matches!(
        judge(&changed, &shows(&ada())),
        Err(TrustError::Revoked(_))
    ));
    let verified = judge(&trust, &shows(&ada())).unwrap();
    assert_eq!(trust.recheck(NOW, &verified), Ok(()));
    trust.pins_mut().remove(&classical(1).fingerprint()).unwrap();
    assert!(matches!(
        trust.recheck(NOW, &verified),
        Err(TrustError::Untrusted { .. })
    ));
    assert!(matches!(
        judge(&trust, &shows(&ada())),
        Err(TrustError::Untrusted { .. })
    ));
    assert_eq!(trust.verified.len(), 1);

    // Trust that was read anew shares it too where it is told, and is of its own mind all the same.
    let anew = pinning(&classical(1)).in_place_of(&trust);
    assert_eq!(anew.verified.len(), 1);
    judge(&anew, &shows(&ada())).unwrap();
    assert!(matches!(
        judge(&Trust::default().in_place_of(&anew), &shows(&ada())),
        Err(TrustError::Unknown(_) | TrustError::Untrusted { .. })
    ));

    // What was refused is not remembered.
    let mut forged = ada().as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(judge(&trust, &shows_bytes(&forged)).is_err());
    assert_eq!(trust.verified.len(), 1);
}

#[test]
fn the_memory_of_checked_documents_is_bounded() {
    let cache = cache::VerificationCache::default();
    let key = |index: usize| cache::key(&index.to_be_bytes());
    for index in 0..cache::CACHED_MAX + 10 {
        cache.insert(key(index));
        cache.insert(key(index));
    }
    assert_eq!(cache.len(), cache::CACHED_MAX);
    assert!(!cache.contains(&key(9)));
    assert!(cache.contains(&key(10)));
}
