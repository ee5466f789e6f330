use proptest::prelude::*;

use super::*;
use crate::vectors::{array, field, tests};

/// Every cipher that this processor can run, each by every library that has it.
fn all(cipher: Cipher, key: &[u8; 32]) -> Vec<RecordAead> {
    #[allow(unused_mut, reason = "elsewhere there is one")]
    let mut all = vec![RecordAead::aws_lc(cipher, key)];
    #[cfg(target_arch = "x86_64")]
    if cipher == Cipher::Aes256Gcm {
        // ring chooses its own instructions and is right whatever they are.
        all.push(RecordAead::Ring(vaes::Key::new(key)));
    }
    all
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof_whoever_computes_it() {
    let mut counts = (0, 0);
    for test in tests("wycheproof/aes_gcm_test.json") {
        let (nonce, aad): ([u8; 12], _) = (array(&field(&test, "iv")), field(&test, "aad"));
        let (plain, valid) = (field(&test, "msg"), test["result"] == "valid");
        let sealed = [field(&test, "ct"), field(&test, "tag")].concat();
        for aead in all(Cipher::Aes256Gcm, &array(&field(&test, "key"))) {
            let mut opened = vec![0; plain.len()];
            let result = aead.open(nonce, &aad, &sealed, &mut opened);
            assert_eq!(result.is_ok(), valid, "{test}");
            // Where it lies, a little ahead, and so far ahead that the two do not overlap.
            let within = [0, 5, 5 + plain.len()].map(|start| {
                let mut buffer = [&vec![0xee; start][..], &sealed].concat();
                let result = aead.open_within(nonce, &aad, &mut buffer, start);
                assert_eq!(result.is_ok(), valid, "{start} {test}");
                buffer.truncate(plain.len());
                buffer
            });
            if !valid {
                counts.1 += 1;
                continue;
            }
            assert_eq!(opened, plain, "{test}");
            within
                .iter()
                .for_each(|within| assert_eq!(within, &plain, "{test}"));
            let mut made = BytesMut::from(&b"before"[..]);
            aead.seal_from(nonce, &aad, &plain, &mut made).unwrap();
            assert_eq!(made[6..], sealed, "{test}");
            let mut opened = BytesMut::from(&b"before"[..]);
            aead.open_to(nonce, &aad, &sealed, &mut opened).unwrap();
            assert_eq!(opened[6..], plain, "{test}");
            let mut made = plain.clone();
            let tag = aead.seal(nonce, &aad, &mut made).unwrap();
            assert_eq!([&made[..], &tag].concat(), sealed, "{test}");
            counts.0 += 1;
        }
    }
    let libraries = all(Cipher::Aes256Gcm, &[0; 32]).len();
    assert_eq!(counts, (39 * libraries, 27 * libraries));
}

#[test]
fn a_buffer_of_the_wrong_size_is_an_error_and_no_panic() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for aead in all(cipher, &[1; 32]) {
            let mut room = [0; 40];
            for short in 0..RECORD_TAG_BYTES {
                assert!(
                    aead.open_to([0; 12], b"", &room[..short], &mut BytesMut::new())
                        .is_err()
                );
                assert!(
                    aead.open([0; 12], b"", &[0; 15][..short.min(15)], &mut [])
                        .is_err()
                );
                assert!(aead.open_within([0; 12], b"", &mut room[..short], 0).is_err());
                // A tag, and a start that is behind what it is the tag of.
                let len = RECORD_TAG_BYTES + short;
                assert!(
                    aead.open_within([0; 12], b"", &mut room[..len], short + 1)
                        .is_err()
                );
            }
            let mut sealed = BytesMut::new();
            aead.seal_from([0; 12], b"", &[7; 8], &mut sealed).unwrap();
            assert!(aead.open([0; 12], b"", &sealed, &mut room[..7]).is_err());
            assert!(aead.open([0; 12], b"", &sealed, &mut room[..8]).is_ok());
        }
    }
}

/// Whatever the processor, one side may have the one library and the other the other.
#[cfg(target_arch = "x86_64")]
mod both {
    use super::*;
    use crate::noise::tests::memory::{Needle, found};

    proptest! {
        #[test]
        fn both_libraries_seal_alike_and_open_what_the_other_sealed(
            key: [u8; 32],
            nonce: [u8; 12],
            header in proptest::collection::vec(any::<u8>(), 0..40),
            plain in proptest::collection::vec(any::<u8>(), 0..3000),
            flip: proptest::sample::Index,
            gap in 0_usize..4000,
        ) {
            let both = all(Cipher::Aes256Gcm, &key);
            let mut records = Vec::new();
            for aead in &both {
                let mut sealed = BytesMut::new();
                aead.seal_from(nonce, &header, &plain, &mut sealed).unwrap();
                records.push(sealed);
            }
            prop_assert_eq!(&records[0], &records[1]);
            let mut altered = records[0].clone();
            let at = flip.index(altered.len());
            altered[at] ^= 0x40;
            for aead in &both {
                let mut opened = vec![0; plain.len()];
                aead.open(nonce, &header, &records[0], &mut opened).unwrap();
                prop_assert_eq!(&opened, &plain);
                prop_assert!(aead.open(nonce, &header, &altered, &mut opened).is_err());
                prop_assert!(aead.open_to(nonce, &header, &altered, &mut BytesMut::new()).is_err());
                prop_assert!(aead.open_within(nonce, &header, &mut altered.clone(), 0).is_err());
                let mut buffer = [&vec![0xee; gap][..], &records[0]].concat();
                aead.open_within(nonce, &header, &mut buffer, gap).unwrap();
                prop_assert_eq!(&buffer[..plain.len()], &plain);
            }
        }
    }

    #[test]
    fn a_key_that_ring_had_is_nowhere_in_memory_afterwards() {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).unwrap();
        let needle = [Needle::new("the key", &key[..16])];
        let held = vaes::Key::new(&key);
        assert_eq!(found(&needle), ["the key"], "the schedule begins with it");
        drop(held);
        assert_eq!(found(&needle), [""; 0]);
    }
}
