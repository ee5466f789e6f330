//! Documents that somebody else signed, that not everybody signed who must, or that were changed afterwards.

use super::*;

fn verify(bytes: &[u8], issuer: &SigningKeys) -> bool {
    IdentityDocument::parse(bytes).is_ok_and(|document| document.verify_signatures(issuer).is_ok())
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let (key, document) = (classical(1), full("ada", 1).sign(&classical(1)).unwrap());
    assert!(verify(document.as_bytes(), key.public()));
    for at in 0..document.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = document.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            assert!(!verify(&bytes, key.public()), "byte {at}, bit {bit}");
            // Nor does it become a good document of another identity.
            let itself = IdentityDocument::parse(&bytes)
                .is_ok_and(|document| document.verify_signatures(document.signing_keys()).is_ok());
            assert!(!itself, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_flipped_bit_of_every_byte_of_a_hybrid_document_is_refused() {
    let keys = hybrid(1);
    assert!(verify(HYBRID.as_bytes(), keys.public()));
    for at in 0..HYBRID.as_bytes().len() {
        let mut bytes = HYBRID.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        assert!(!verify(&bytes, keys.public()), "byte {at}");
    }
}

#[test]
fn every_key_of_the_issuer_must_have_signed_and_nobody_else() {
    let issuer = hybrid(2);
    let signed = |key: &SigningKey| {
        full("ada", 1)
            .signing_keys(classical(1).public())
            .sign(key)
            .unwrap()
    };
    let by_both = signed(&issuer).document().unwrap();
    assert_eq!(by_both.verify_signatures(issuer.public()), Ok(()));
    assert_eq!(by_both.issuer(), issuer.fingerprint());
    assert_eq!(by_both.fingerprint(), classical(1).fingerprint());

    // The Ed25519 key alone, then the whole issuer is asked for.
    let by_one = signed(&classical(2)).document().unwrap();
    assert_eq!(
        by_one.verify_signatures(issuer.public()),
        Err(SignatureError::Missing(Algorithm::MlDsa65))
    );
    let only_ml_dsa = SigningKeys::new(None, issuer.public().key(Algorithm::MlDsa65)).unwrap();
    assert_eq!(
        by_one.verify_signatures(&only_ml_dsa),
        Err(SignatureError::Missing(Algorithm::MlDsa65))
    );
    // Both signed, and an issuer with one key is asked for.
    assert_eq!(
        by_both.verify_signatures(classical(2).public()),
        Err(SignatureError::NotAKey(Algorithm::MlDsa65))
    );
    assert_eq!(
        by_both.verify_signatures(hybrid(3).public()),
        Err(SignatureError::Wrong(Algorithm::Ed25519))
    );
}

#[test]
fn the_signature_of_one_key_does_not_stand_for_the_other() {
    // An issuer whose Ed25519 half is right and whose ML-DSA half is another's.
    let mixed = SigningKey::from_seeds(&[2; SEED_LEN], Some(&[9; SEED_LEN])).unwrap();
    let document = full("ada", 1).sign(&mixed).unwrap().document().unwrap();
    assert_eq!(
        document.verify_signatures(hybrid(2).public()),
        Err(SignatureError::Wrong(Algorithm::MlDsa65))
    );
}

#[test]
fn keys_in_another_encoding_are_no_keys() {
    assert!(SigningKeys::new(None, None).is_none());
    assert!(SigningKeys::new(None, Some(&[0; 1951])).is_none());
    let message = b"text";
    let signature = classical(1).sign(message).unwrap().remove(0);
    let keys = classical(1);
    let keys = keys.public();
    assert_eq!(keys.verify(message, Algorithm::Ed25519, &signature.bytes), Ok(()));
    assert_eq!(
        keys.verify(message, Algorithm::Ed25519, &signature.bytes[..63]),
        Err(SignatureError::Wrong(Algorithm::Ed25519))
    );
    assert_eq!(
        keys.verify(message, Algorithm::MlDsa65, &signature.bytes),
        Err(SignatureError::NotAKey(Algorithm::MlDsa65))
    );
}

#[test]
fn the_same_seeds_are_the_same_identity() {
    let key = SigningKey::generate().unwrap();
    let ml_dsa = key.ml_dsa_65_seed().unwrap();
    let again = SigningKey::from_seeds(key.ed25519_seed(), Some(ml_dsa)).unwrap();
    assert_eq!(again.fingerprint(), key.fingerprint());
    assert_ne!(SigningKey::generate().unwrap().fingerprint(), key.fingerprint());
    assert!(
        SigningKey::generate_classical()
            .unwrap()
            .ml_dsa_65_seed()
            .is_none()
    );
}
