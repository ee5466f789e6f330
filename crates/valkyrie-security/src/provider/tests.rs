//! The primitives against what Wycheproof and NIST have published for them.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use aws_lc_rs::{hkdf, hmac};
use serde_json::Value;

use super::*;
use crate::vectors::{array, field, tests};

mod encapsulation;

fn valid(test: &Value) -> bool {
    match test["result"].as_str() {
        Some("valid") => true,
        Some("invalid") => false,
        other => panic!("{other:?} is no result"),
    }
}

#[test]
fn x25519_agrees_with_wycheproof_and_refuses_every_low_order_point() {
    let mut refused = 0;
    for test in tests("wycheproof/x25519_test.json") {
        let key = StaticKey::from_bytes(&array(&field(&test, "private"))).unwrap();
        let mut secret = [0; 32];
        let agreed = key.agree(&field(&test, "public"), &mut secret);
        let shared = field(&test, "shared");
        if shared == [0; 32] {
            assert_eq!(agreed, Err(KeyError::Peer), "{test}");
            assert_eq!(secret, [0; 32]);
            refused += 1;
        } else {
            assert_eq!(agreed, Ok(()), "{test}");
            assert_eq!(secret[..], shared, "{test}");
        }
    }
    assert_eq!(refused, 31);
}

fn aead(file: &str, cipher: Cipher) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    for test in tests(file) {
        let key = LessSafeKey::new(UnboundKey::new(cipher.algorithm(), &field(&test, "key")).unwrap());
        let nonce = || Nonce::assume_unique_for_key(array(&field(&test, "iv")));
        let (aad, plain) = (field(&test, "aad"), field(&test, "msg"));
        let (ciphertext, tag) = (field(&test, "ct"), field(&test, "tag"));
        let mut opened = vec![0; ciphertext.len()];
        let result = key.open_separate_gather(nonce(), Aad::from(&aad), &ciphertext, &tag, &mut opened);
        assert_eq!(result.is_ok(), valid(&test), "{test}");
        if valid(&test) {
            assert_eq!(opened, plain, "{test}");
            let mut sealed = plain.clone();
            let made = key
                .seal_in_place_separate_tag(nonce(), Aad::from(&aad), &mut sealed)
                .unwrap();
            assert_eq!((sealed, made.as_ref()), (ciphertext, &tag[..]), "{test}");
            good += 1;
        } else {
            bad += 1;
        }
    }
    (good, bad)
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    assert_eq!(aead("wycheproof/aes_gcm_test.json", Cipher::Aes256Gcm), (39, 27));
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    assert_eq!(
        aead("wycheproof/chacha20_poly1305_test.json", Cipher::ChaCha20Poly1305),
        (256, 60)
    );
}

#[test]
fn ed25519_agrees_with_wycheproof() {
    for test in tests("wycheproof/ed25519_test.json") {
        let key = UnparsedPublicKey::new(&ED25519, field(&test, "publicKey"));
        let verified = key.verify(&field(&test, "msg"), &field(&test, "sig"));
        assert_eq!(verified.is_ok(), valid(&test), "{test}");
    }
}

/// How long an output of HKDF is to be.
struct Size(usize);

impl hkdf::KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_agrees_with_wycheproof() {
    for test in tests("wycheproof/hkdf_sha256_test.json") {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &field(&test, "salt"));
        let prk = salt.extract(&field(&test, "ikm"));
        let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
        let mut out = vec![0; size];
        let info = field(&test, "info");
        let info = [&info[..]];
        let expanded = prk.expand(&info, Size(size)).and_then(|okm| okm.fill(&mut out));
        assert_eq!(expanded.is_ok(), valid(&test), "{test}");
        if valid(&test) {
            assert_eq!(out, field(&test, "okm"), "{test}");
        }
    }
}

#[test]
fn every_malformed_encapsulation_key_of_wycheproof_is_refused() {
    let kem = MlKem768::default();
    let (mut good, mut bad) = (0, 0);
    for test in tests("wycheproof/mlkem_768_encaps_test.json") {
        let made = kem.encapsulate(&field(&test, "ek"), &mut [0; 1088], &mut [0; 32]);
        assert_eq!(made.is_ok(), valid(&test), "{test}");
        *if valid(&test) { &mut good } else { &mut bad } += 1;
    }
    assert_eq!((good, bad), (13, 132));
}

#[test]
fn ml_kem_decapsulates_as_nist_says_altered_ciphertexts_included() {
    let (mut key, mut altered) = (None, 0);
    for test in tests("acvp/ml-kem-768-decapsulation.json") {
        if test["dk"].is_string() {
            key = Some(MlKem768::from_private(&field(&test, "dk")).unwrap());
        }
        let mut secret = [0; 32];
        let key = key.as_ref().unwrap();
        key.decapsulate(&field(&test, "c"), &mut secret).unwrap();
        assert_eq!(secret[..], field(&test, "k"), "{test}");
        altered += usize::from(test["reason"] == "modify ciphertext");
    }
    assert_eq!(altered, 5);
}

#[test]
fn a_ciphertext_of_another_length_is_refused() {
    let mut kem = MlKem768::default();
    assert_eq!(kem.decapsulate(&[0; 1088], &mut [0; 32]), Err(KemFailed));
    kem.generate().unwrap();
    for bytes in [0, 1, 768, 1087, 1089, 1568] {
        let opened = kem.decapsulate(&vec![0; bytes], &mut [0; 32]);
        assert_eq!(opened, Err(KemFailed), "{bytes}");
    }
}

#[test]
fn hmac_of_the_contract_is_hmac_of_aws_lc() {
    let mut out = [0; HASH_BYTES_MAX];
    for (key, data) in [(0, 0), (1, 1), (32, 32), (32, 33), (64, 200)] {
        let (key, data) = (vec![5; key], vec![6; data]);
        Sha2::sha256().hmac(&key, &data, &mut out);
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &data);
        assert_eq!(out[..32], *expected.as_ref());
    }
}

#[test]
fn a_static_key_comes_back_from_its_bytes() {
    let key = StaticKey::generate().unwrap();
    let again = StaticKey::from_bytes(&key.to_bytes().unwrap()).unwrap();
    assert_eq!(key.public(), again.public());
    assert_ne!(key.public(), StaticKey::generate().unwrap().public());
}

#[test]
fn what_is_supplied_here_is_not_taken_from_a_provider() {
    struct Greedy;

    impl Provider for Greedy {
        fn kem(&self, kem: Kem) -> Option<Box<dyn KemOps>> {
            assert_eq!(kem, Kem::Kyber1024);
            None
        }
        fn hash(&self, hash: Hash) -> Option<Box<dyn HashOps>> {
            assert_eq!(hash, Hash::Blake2s);
            None
        }
    }

    let providers = Providers::default().with(Greedy);
    for suite in crate::suite::SUITES {
        assert_eq!(
            providers.supports(suite),
            suite.kem != Some(Kem::Kyber1024),
            "{}",
            suite.id
        );
    }
}
