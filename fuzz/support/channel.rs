//! The keys of a channel that never change, derived once more from the page alone, so that a target can seal what no
//! sealer would and reach what lies behind the tag.

#![allow(dead_code, reason = "no target uses all of it")]

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use valkyrie_security::channel::KeySchedule;
use valkyrie_security::{Cipher, Role};

const HASH: [u8; 32] = [1; 32];
const SPLIT: [[u8; 32]; 2] = [[2; 32], [3; 32]];

/// The cipher that a byte stands for.
pub fn cipher(byte: u8) -> Cipher {
    if byte & 1 == 0 {
        Cipher::Aes256Gcm
    } else {
        Cipher::ChaCha20Poly1305
    }
}

pub fn schedule(cipher: Cipher, role: Role) -> KeySchedule {
    KeySchedule::new(&HASH, &SPLIT[0], &SPLIT[1], cipher, role)
}

/// The keys of one epoch of what the dialler sends.
pub struct Epoch {
    cipher: Cipher,
    pub number: u32,
    secret: [u8; 32],
}

impl Epoch {
    /// The first epoch of records or, with the label of datagrams, of those.
    pub fn first(cipher: Cipher, label: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, &HASH).extract(&SPLIT.concat());
        Self {
            cipher,
            number: 0,
            secret: expand(&prk, label),
        }
    }

    pub fn next(&self) -> Self {
        Self {
            cipher: self.cipher,
            number: self.number + 1,
            secret: self.expand(b"next"),
        }
    }

    fn expand<const N: usize>(&self, label: &[u8]) -> [u8; N] {
        expand(&Prk::new_less_safe(HKDF_SHA256, &self.secret), label)
    }

    /// `plain` sealed under `number` behind `header`, which it is authenticated with.
    pub fn seal(&self, number: u64, header: &[u8], plain: &[u8]) -> Vec<u8> {
        let algorithm = match self.cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key: [u8; 32] = self.expand(b"key");
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("32 bytes"));
        let mut nonce: [u8; 12] = self.expand(b"iv");
        for (byte, mask) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= mask;
        }
        let mut sealed = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed)
            .expect("the cipher works");
        [header, &sealed].concat()
    }
}

fn expand<const N: usize>(prk: &Prk, label: &[u8]) -> [u8; N] {
    struct Bytes(usize);
    impl KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    prk.expand(&[label], Bytes(N))
        .and_then(|okm| okm.fill(&mut out))
        .expect("HKDF works");
    out
}

/// Takes a script apart.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A length of one or two bytes, then so many bytes, as far as there are any.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            short @ 0..=0xef => usize::from(short),
            long => usize::from(long & 0x0f) << 8 | usize::from(self.byte()?),
        };
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }
}
