//! The private keys of an identity, as `identity.key` holds them: lines of text, so that whoever opens the file sees what
//! it is, plain or sealed under a passphrase.
//!
//! ```text
//! valkyrie secret key 1
//! static 5c…                              the keys of handshakes, 32 bytes in hexadecimal
//! static 0f… until 2026-10-01T12:00:00Z   one that has been replaced
//! ed25519 9a…                             the seeds of the keys that sign
//! ml-dsa-65 77…
//! ```

use std::path::Path;

use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;
use valkyrie_security::provider::StaticKey;
use zeroize::Zeroizing;

use crate::error::KeystoreError;
use crate::file::{push_hex, unhex};

#[cfg(test)]
mod tests;

/// The private keys of one identity.
#[derive(Debug, Default)]
pub(crate) struct Secret {
    pub(crate) static_keys: Vec<HeldKey>,
    /// None on a machine whose documents are signed elsewhere.
    pub(crate) signing: Option<SigningKey>,
}

/// A static key, and how long it is still accepted.
#[derive(Clone, Debug)]
pub(crate) struct HeldKey {
    pub(crate) key: StaticKey,
    /// Set once it has been replaced.
    pub(crate) until: Option<UnixTime>,
}

impl HeldKey {
    pub(crate) fn is_accepted(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Secret {
    /// The text of the file.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        // With room for everything, so that no part of it stays behind in a buffer that was too small.
        let mut text = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
        text.extend_from_slice(FIRST_LINE.as_bytes());
        for held in &self.static_keys {
            let bytes = held.key.to_bytes().map_err(|_| KeystoreError::System)?;
            push_line(&mut text, STATIC, &*bytes, held.until);
        }
        if let Some(signing) = &self.signing {
            push_line(&mut text, ED25519, &**signing.ed25519_seed(), None);
            if let Some(seed) = signing.ml_dsa_65_seed() {
                push_line(&mut text, ML_DSA_65, &**seed, None);
            }
        }
        Ok(text)
    }

    /// The keys that sign, once more.
    pub(crate) fn signing_again(&self) -> Result<Option<SigningKey>, KeystoreError> {
        let Some(signing) = &self.signing else {
            return Ok(None);
        };
        let seed = signing.ml_dsa_65_seed().map(|seed| &**seed);
        let again = SigningKey::from_seeds(signing.ed25519_seed(), seed);
        again.map(Some).map_err(|_| KeystoreError::System)
    }

    /// Reads the text of the file.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self, KeystoreError> {
        let malformed = |line, why: &str| KeystoreError::malformed(path, line, why);
        let text = std::str::from_utf8(text).map_err(|_| malformed(0, "not a secret key: it is not text"))?;
        let mut lines = text.lines().zip(1..);
        if lines.next().map(|(line, _)| line) != Some(FIRST_LINE.trim_end()) {
            return Err(malformed(
                1,
                "not a secret key of a version that this program knows",
            ));
        }
        let mut secret = Self::default();
        let (mut ed25519, mut ml_dsa_65) = (None, None);
        for (line, number) in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (key, until) = match rest.split_once(" until ") {
                Some((key, until)) => (key, Some(until)),
                None => (rest, None),
            };
            let key =
                key_bytes(key).ok_or_else(|| malformed(number, "not a word and 32 bytes in hexadecimal"))?;
            let until = match until {
                Some(text) => Some(
                    text.parse()
                        .map_err(|_| malformed(number, "`until` is followed by no time"))?,
                ),
                None => None,
            };
            match (word, until) {
                (STATIC, until) if secret.static_keys.len() < STORED_KEYS_MAX => {
                    let key = StaticKey::from_bytes(&key).map_err(|_| KeystoreError::System)?;
                    secret.static_keys.push(HeldKey { key, until });
                }
                (STATIC, _) => return Err(malformed(number, "more static keys than one identity has")),
                (ED25519, None) if ed25519.is_none() => ed25519 = Some(key),
                (ML_DSA_65, None) if ml_dsa_65.is_none() => ml_dsa_65 = Some(key),
                _ => {
                    return Err(malformed(
                        number,
                        "a line that has no place here, or a second one of its kind",
                    ));
                }
            }
        }
        secret.signing = match (ed25519, ml_dsa_65) {
            (Some(ed25519), ml_dsa_65) => {
                let signing = SigningKey::from_seeds(&ed25519, ml_dsa_65.as_deref());
                Some(signing.map_err(|_| KeystoreError::System)?)
            }
            (None, None) => None,
            (None, Some(_)) => return Err(malformed(0, "an ml-dsa-65 key without an ed25519 key")),
        };
        if secret.static_keys.is_empty() && secret.signing.is_none() {
            return Err(malformed(0, "there is no key in it"));
        }
        Ok(secret)
    }
}

fn push_line(text: &mut Vec<u8>, word: &str, key: &[u8], until: Option<UnixTime>) {
    text.extend_from_slice(word.as_bytes());
    text.push(b' ');
    push_hex(text, key);
    if let Some(until) = until {
        text.extend_from_slice(format!(" until {until}").as_bytes());
    }
    text.push(b'\n');
}

fn key_bytes(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES));
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    unhex(text, &mut bytes)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.copy_from_slice(&bytes);
    Some(key)
}

const FIRST_LINE: &str = "valkyrie secret key 1\n";
const STATIC: &str = "static";
const ED25519: &str = "ed25519";
const ML_DSA_65: &str = "ml-dsa-65";

/// Bytes of every private key and seed.
const KEY_BYTES: usize = 32;

/// Static keys in the file: as many as a document names, and one that waits for its document.
pub(crate) const HELD_KEYS_MAX: usize = valkyrie_security::identity::STATIC_KEYS_MAX + 1;

/// Static keys that are read: while documents change, the file holds the keys of both.
const STORED_KEYS_MAX: usize = 2 * HELD_KEYS_MAX;

/// Room for all lines there can be, each with a time.
pub(crate) const SECRET_BYTES_MAX: usize = 2048;
