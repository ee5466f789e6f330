//! ML-KEM-768 against all that NIST and Wycheproof have published for it.
//!
//! aws-lc can be given no randomness, so a second implementation computes what begins with a seed, and has to come to what was
//! published; aws-lc then works with those keys, each against the other.

#[expect(deprecated, reason = "aws-lc takes a private key in no other form")]
use ml_kem::ExpandedKeyEncoding;
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};

use super::*;

/// The second implementation's key pair of a seed: its private key as aws-lc takes it, and its public one.
fn pair(seed: &[u8]) -> (DecapsulationKey768, Vec<u8>, Vec<u8>) {
    let key = DecapsulationKey768::from_seed(seed.try_into().unwrap());
    #[expect(deprecated, reason = "aws-lc takes a private key in no other form")]
    let private = key.to_expanded_bytes().to_vec();
    let public = key.encapsulation_key().to_bytes().to_vec();
    (key, private, public)
}

/// Both implementations encapsulate to the keys of `seed` and open what the other made.
fn both_agree(seed: &[u8], private: &[u8], public: &[u8]) {
    let (theirs, expanded, encoded) = pair(seed);
    assert_eq!((&expanded[..], &encoded[..]), (private, public));
    let ours = MlKem768::from_private(private).unwrap();
    let (mut ciphertext, mut made, mut opened) = (vec![0; 1088], [0; 32], [0; 32]);
    MlKem768::default()
        .encapsulate(public, &mut ciphertext, &mut made)
        .unwrap();
    ours.decapsulate(&ciphertext, &mut opened).unwrap();
    assert_eq!(opened, made);
    let opened = theirs.decapsulate(ciphertext.as_slice().try_into().unwrap());
    assert_eq!(opened[..], made);
}

#[test]
fn keys_are_generated_from_seeds_as_nist_says() {
    let tests = tests("acvp/ml-kem-768-key-generation.json");
    for test in &tests {
        let seed = [field(test, "d"), field(test, "z")].concat();
        both_agree(&seed, &field(test, "dk"), &field(test, "ek"));
    }
    assert_eq!(tests.len(), 25);
}

#[test]
fn keys_are_generated_from_seeds_as_wycheproof_says() {
    let tests = tests("wycheproof/mlkem_768_keygen_seed_test.json");
    for test in &tests {
        assert!(valid(test));
        both_agree(&field(test, "seed"), &field(test, "dk"), &field(test, "ek"));
    }
    assert_eq!(tests.len(), 10);
}

#[test]
fn secrets_are_encapsulated_as_nist_says() {
    let tests = tests("acvp/ml-kem-768-encapsulation.json");
    for test in &tests {
        let public = field(test, "ek");
        let theirs = EncapsulationKey768::new(public.as_slice().try_into().unwrap()).unwrap();
        let (made, shared) = theirs.encapsulate_deterministic(&array(&field(test, "m")).into());
        assert_eq!(
            (&made[..], &shared[..]),
            (&field(test, "c")[..], &field(test, "k")[..])
        );
        // aws-lc takes the key too, and makes something else of it every time.
        let (mut ciphertext, mut secret) = (vec![0; 1088], [0; 32]);
        MlKem768::default()
            .encapsulate(&public, &mut ciphertext, &mut secret)
            .unwrap();
        assert_ne!(ciphertext, made[..]);
    }
    assert_eq!(tests.len(), 25);
}

#[test]
fn ciphertexts_are_opened_or_refused_as_wycheproof_says() {
    let (mut good, mut bad, mut no_seed) = (0, 0, 0);
    for test in tests("wycheproof/mlkem_768_test.json") {
        let seed = field(&test, "seed");
        if seed.len() != 64 {
            // A seed of another length is no key of this type at all: nothing here takes one.
            assert!(!valid(&test), "{test}");
            no_seed += 1;
            continue;
        }
        let ours = MlKem768::from_private(&pair(&seed).1).unwrap();
        let mut secret = [0; 32];
        let opened = ours.decapsulate(&field(&test, "c"), &mut secret);
        assert_eq!(opened.is_ok(), valid(&test), "{test}");
        if valid(&test) {
            assert_eq!(secret[..], field(&test, "K"), "{test}");
            good += 1;
        } else {
            assert_eq!((opened, secret), (Err(KemFailed), [0; 32]));
            bad += 1;
        }
    }
    assert_eq!((good, bad, no_seed), (30, 20, 20));
}

#[test]
fn private_keys_are_taken_or_refused_as_wycheproof_says() {
    let (mut good, mut bad) = (0, 0);
    for test in tests("wycheproof/mlkem_768_semi_expanded_decaps_test.json") {
        let mut secret = [0; 32];
        let opened = MlKem768::from_private(&field(&test, "dk"))
            .and_then(|key| key.decapsulate(&field(&test, "c"), &mut secret));
        assert_eq!(opened.is_ok(), valid(&test), "{}", test["tcId"]);
        if valid(&test) {
            assert_eq!(secret[..], field(&test, "K"), "{}", test["tcId"]);
            good += 1;
        } else {
            bad += 1;
        }
    }
    assert_eq!((good, bad), (3, 6));
}
