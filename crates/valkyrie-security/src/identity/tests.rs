//! Documents: what is read again, and everything that is refused.

mod form;
mod signatures;
mod vectors;

use std::sync::LazyLock;

use super::*;
use crate::provider::{PublicKey, StaticKey};
use crate::time::UnixTime;

/// Some moment, in seconds.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_790_769_600);

/// A key that is the same in every run.
pub(crate) fn classical(seed: u8) -> SigningKey {
    SigningKey::from_seeds(&[seed; SEED_LEN], None).unwrap()
}

/// Likewise, with ML-DSA-65.
pub(crate) fn hybrid(seed: u8) -> SigningKey {
    SigningKey::from_seeds(&[seed; SEED_LEN], Some(&[seed ^ 0xff; SEED_LEN])).unwrap()
}

pub(crate) fn static_key(seed: u8) -> StaticKey {
    StaticKey::from_bytes(&[seed; 32]).unwrap()
}

pub(crate) fn public(seed: u8) -> PublicKey {
    static_key(seed).public()
}

/// A document with something in every field, good for an hour around now.
pub(crate) fn full(name: &str, static_seed: u8) -> DocumentBuilder {
    DocumentBuilder::node(name, &[public(static_seed), public(static_seed ^ 0x80)])
        .valid(around(NOW).0, around(NOW).1)
        .serial(7)
        .role("runner")
        .role("ci")
        .label("zone", "eu 1")
        .label("arch", "")
}

pub(crate) fn around(now: UnixTime) -> (UnixTime, UnixTime) {
    let hour = std::time::Duration::from_secs(3600);
    (now.saturating_sub(hour), now.saturating_add(hour))
}

/// Signing with ML-DSA takes a while in a debug build, so one document serves all tests.
pub(crate) static HYBRID: LazyLock<SignedIdentity> =
    LazyLock::new(|| full("ada", 1).sign(&hybrid(1)).unwrap());

#[test]
fn a_document_says_what_its_builder_was_told() {
    let document = HYBRID.document().unwrap();
    assert_eq!(document.kind(), Kind::Node);
    assert_eq!(document.name(), "ada");
    assert_eq!(document.serial(), 7);
    assert_eq!((document.not_before(), document.not_after()), around(NOW));
    assert_eq!(document.roles(), ["ci", "runner"]);
    let labels = [("arch", ""), ("zone", "eu 1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(document.labels(), labels);
    assert_eq!(document.static_keys(), [public(1), public(0x81)]);
    assert_eq!(document.signing_keys(), hybrid(1).public());
    assert_eq!(document.fingerprint(), hybrid(1).fingerprint());
    assert!(document.is_self_signed());
    assert_eq!(document.encode(), HYBRID.as_bytes());
    assert!(DOCUMENT_BYTES_MAX > HYBRID.as_bytes().len());
}

#[test]
fn the_largest_document_is_as_large_as_the_bound_says() {
    let mut builder = DocumentBuilder::node(
        &"n".repeat(NAME_BYTES_MAX),
        &[public(1), public(2), public(3), public(4)],
    )
    .valid(around(NOW).0, around(NOW).1);
    for index in 0..16 {
        builder = builder
            .role(&format!("{index:064}"))
            .label(&format!("{index:064}"), &"v".repeat(200));
    }
    let signed = builder.sign(&hybrid(1)).unwrap();
    assert_eq!(signed.as_bytes().len(), DOCUMENT_BYTES_MAX);
    const { assert!(DOCUMENT_BYTES_MAX + 3 < crate::credentials::CREDENTIALS_BYTES_MAX) };
    assert!(matches!(
        IdentityDocument::parse(&[0; DOCUMENT_BYTES_MAX + 1]),
        Err(DocumentError::TooLong(_))
    ));
}

#[test]
fn builders_refuse_what_parsers_refuse() {
    let sign = |builder: DocumentBuilder| builder.sign(&classical(1)).map(|_| ());
    let good = || full("ada", 1);
    assert_eq!(sign(good()), Ok(()));
    for name in [
        "",
        " ada",
        "ada ",
        "a\nb",
        "a\u{7f}",
        "a\u{202e}b",
        "a\u{2028}b",
        &"n".repeat(201),
    ] {
        let builder = DocumentBuilder::node(name, &[public(1)]).valid(around(NOW).0, around(NOW).1);
        assert_eq!(sign(builder), Err(BuildError::Name), "{name:?}");
    }
    for word in ["", "-", "-x", ".x", "a b", "a,b", "ä", "a\0", &"r".repeat(65)] {
        assert_eq!(sign(good().role(word)), Err(BuildError::Word(word.to_owned())));
        assert_eq!(
            sign(good().label(word, "")),
            Err(BuildError::Word(word.to_owned()))
        );
    }
    assert_eq!(
        sign(good().label("x", " y")),
        Err(BuildError::Word("x".to_owned()))
    );
    assert_eq!(
        sign(good().label("zone", "other")),
        Err(DocumentError::Order("labels").into())
    );
    assert_eq!(
        sign(good().static_keys(&[])),
        Err(DocumentError::StaticKeys.into())
    );
    assert_eq!(
        sign(good().static_keys(&[public(1), public(1)])),
        Err(DocumentError::Order("keys").into())
    );
    assert_eq!(
        sign(good().static_keys(&[1, 2, 3, 4, 5].map(public))),
        Err(DocumentError::StaticKeys.into())
    );
    assert_eq!(
        sign(DocumentBuilder::authority("ca").valid(NOW, NOW)),
        Err(DocumentError::Lifetime.into())
    );
    let with_static = DocumentBuilder::authority("ca")
        .valid(around(NOW).0, around(NOW).1)
        .static_keys(&[public(1)]);
    assert_eq!(sign(with_static), Err(DocumentError::StaticKeys.into()));
    let many = (0..17).fold(good().roles(&[]), |builder, index| {
        builder.role(&format!("r{index}"))
    });
    assert_eq!(sign(many), Err(DocumentError::Count("roles", 17).into()));
}

#[test]
fn an_identity_is_made_of_parts_that_belong_together() {
    let document = || HYBRID.document().unwrap();
    let identity = Identity::new(vec![static_key(1), static_key(0x81)], Some(hybrid(1)), document()).unwrap();
    assert_eq!(identity.static_key().public(), public(1));
    assert_eq!(identity.static_keys().len(), 2);
    assert_eq!(identity.fingerprint(), Some(hybrid(1).fingerprint()));
    // Whoever signs on another machine keeps no signing key here.
    assert!(Identity::new(vec![static_key(0x81)], None, document()).is_ok());

    let wrong = |keys, signing| Identity::new(keys, signing, document()).unwrap_err();
    assert_eq!(wrong(vec![], None), IdentityError::StaticKeys);
    assert_eq!(
        wrong(vec![static_key(1), static_key(2)], None),
        IdentityError::StaticKeys
    );
    assert_eq!(
        wrong(vec![static_key(1)], Some(hybrid(2))),
        IdentityError::SigningKey
    );
    assert_eq!(
        wrong(vec![static_key(1)], Some(classical(1))),
        IdentityError::SigningKey
    );
    let authority = DocumentBuilder::authority("ca").valid(around(NOW).0, around(NOW).1);
    let authority = authority.sign(&classical(1)).unwrap().document().unwrap();
    assert_eq!(
        Identity::new(vec![static_key(1)], None, authority).unwrap_err(),
        IdentityError::NotANode
    );
}

#[test]
fn a_new_identity_is_hybrid_and_signed_by_itself() {
    let identity = Identity::generate("ada", NOW).unwrap();
    let document = identity.document().unwrap();
    assert_eq!(document.signing_keys().iter().count(), 2);
    assert_eq!(document.verify_signatures(document.signing_keys()), Ok(()));
    assert_eq!(document.static_keys(), [identity.static_key().public()]);
    assert_eq!(
        document.not_after().since(document.not_before()),
        Identity::LIFETIME
    );

    let next = identity
        .next_document(NOW.saturating_add(Identity::LIFETIME))
        .unwrap();
    let next = next.static_keys(&[public(9), identity.static_key().public()]);
    let next = next
        .sign(identity.signing_key().unwrap())
        .unwrap()
        .document()
        .unwrap();
    assert_eq!(next.serial(), document.serial() + 1);
    assert_eq!(next.fingerprint(), document.fingerprint());
    assert_eq!(next.static_keys()[0], public(9));
    assert!(Identity::anonymous().unwrap().document().is_none());
}

#[test]
fn no_secret_is_shown() {
    let identity = Identity::new(vec![static_key(0x41)], Some(hybrid(0x42)), {
        let builder = DocumentBuilder::node("ada", &[public(0x41)]).valid(around(NOW).0, around(NOW).1);
        builder.sign(&hybrid(0x42)).unwrap().document().unwrap()
    });
    let shown = format!("{identity:?} {:?} {:?}", hybrid(0x42), static_key(0x41));
    for secret in ["66, 66", "4242", "BBBB", "65, 65", "4141", "AAAA"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn fingerprints_are_read_as_they_are_shown_and_in_no_other_form() {
    let shown = hybrid(1).fingerprint().to_string();
    assert_eq!(shown.parse(), Ok(hybrid(1).fingerprint()));
    assert_ne!(hybrid(1).fingerprint(), classical(1).fingerprint());
    let zeros = Fingerprint::from_bytes([0; 32]).to_string();
    assert_eq!(zeros, format!("SHA256:{}", "A".repeat(43)));
    for wrong in [
        "",
        "SHA256:",
        &shown[7..],
        &shown[..shown.len() - 1],
        &format!("{shown}="),
        &format!("{shown}A"),
        &format!("{shown} "),
        &shown.replace("SHA256", "sha256"),
        // Bits after the last whole byte, which are not zero.
        &format!("SHA256:{}B", "A".repeat(42)),
        &format!("SHA256:{}-", "A".repeat(42)),
    ] {
        assert_eq!(
            wrong.parse::<Fingerprint>(),
            Err(FingerprintFormatError),
            "{wrong}"
        );
    }
}
