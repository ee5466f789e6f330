//! Any bytes as an identity document: read or refused without a panic; what is read has one encoding, and its own builder
//! writes it again.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valkyrie_security::identity::{DocumentBuilder, IdentityDocument, SigningKey};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seeds(&[1; 32], None).expect("a key"));

fuzz_target!(|data: &[u8]| {
    let Ok(document) = IdentityDocument::parse(data) else {
        return;
    };
    assert_eq!(document.encode(), data);
    assert!(document.not_before() < document.not_after());
    assert!(document.roles().is_sorted_by(|a, b| a < b));
    assert!(document.labels().is_sorted_by(|(a, _), (b, _)| a < b));
    let _ = document.verify_signatures(document.signing_keys());
    for len in [0, data.len() / 2, data.len() - 1] {
        assert!(IdentityDocument::parse(&data[..len]).is_err(), "cut at {len}");
    }
    // Whatever is read can be said again, by whoever signs it.
    let again = DocumentBuilder::from_document(&document)
        .sign(&KEY)
        .expect("what was read can be built");
    let again = again.document().expect("what was built can be read");
    assert_eq!(again.verify_signatures(KEY.public()), Ok(()));
    assert_eq!(again.fingerprint(), document.fingerprint());
    assert_eq!(again.name(), document.name());
    assert_eq!(again.roles(), document.roles());
    assert_eq!(again.labels(), document.labels());
    assert_eq!(again.static_keys(), document.static_keys());
});
