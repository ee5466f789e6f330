//! A secret at rest, sealed under a passphrase: Argon2id ([RFC 9106](https://www.rfc-editor.org/rfc/rfc9106)) makes the key,
//! AES-256-GCM seals.

use std::fmt;
use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{KeystoreError, PASSPHRASE_BYTES_MAX};
use crate::file::{hex, unhex};

#[cfg(test)]
mod tests;

/// What a person types to open a secret. Wiped when dropped, never shown.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes over what was typed.
    ///
    /// # Errors
    /// [`KeystoreError::Passphrase`] when it is empty or longer than 1,024 bytes.
    pub fn new(text: Zeroizing<Vec<u8>>) -> Result<Self, KeystoreError> {
        match text.len() {
            1..=PASSPHRASE_BYTES_MAX => Ok(Self(text)),
            _ => Err(KeystoreError::Passphrase),
        }
    }

    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or its first line is no passphrase.
    pub fn from_file(path: &Path) -> Result<Self, KeystoreError> {
        let mut text = crate::home::read_secret(path, PASSPHRASE_BYTES_MAX + 2)?;
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        text.truncate(end);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        Self::new(text)
    }

    /// A copy, wiped like the first.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How much work it is to try one passphrase. Kept with what is sealed, so that it can be raised later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

impl Cost {
    /// With so much memory and so many passes over it, by one lane.
    ///
    /// # Errors
    /// [`KeystoreError::Cost`] for less than 8 MiB or more than 1 GiB, no passes or more than 16.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, KeystoreError> {
        if !(MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&memory_kib) {
            return Err(KeystoreError::Cost(
                "the memory of a passphrase's key is 8 MiB to 1 GiB",
            ));
        }
        if !(1..=PASSES_MAX).contains(&passes) {
            return Err(KeystoreError::Cost("a passphrase's key takes 1 to 16 passes"));
        }
        Ok(Self { memory_kib, passes })
    }

    fn key(self, passphrase: &Passphrase, salt: &[u8; SALT_BYTES]) -> Result<LessSafeKey, KeystoreError> {
        let params = Params::new(self.memory_kib, self.passes, LANES, Some(KEY_BYTES))
            .map_err(|_| KeystoreError::System)?;
        let mut memory: Zeroizing<Vec<Block>> = Zeroizing::default();
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| KeystoreError::System)?;
        memory.resize(params.block_count(), Block::default());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(&passphrase.0, salt, &mut *key, &mut *memory)
            .map_err(|_| KeystoreError::System)?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| KeystoreError::System)?;
        Ok(LessSafeKey::new(key))
    }
}

/// 64 MiB and three passes: the second choice of RFC 9106 with one lane, about a tenth of a second.
impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
        }
    }
}

/// Whether a text is what [`seal`] wrote.
pub(crate) fn is_sealed(text: &[u8]) -> bool {
    text.starts_with(FIRST_LINE.as_bytes())
}

/// Seals `plain`. The text says how it was made, and that is authenticated with it.
pub(crate) fn seal(plain: &[u8], passphrase: &Passphrase, cost: Cost) -> Result<Vec<u8>, KeystoreError> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| KeystoreError::System)?;
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeystoreError::System)?;
    let head = head(cost, &salt);
    let mut sealed = plain.to_vec();
    // Sealed in place, so that no plain copy is left.
    cost.key(passphrase, &salt)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(head.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| KeystoreError::System)?;
    Ok(format!("{head}aes-256-gcm {} {}\n", hex(&nonce), hex(&sealed)).into_bytes())
}

/// Why a sealed text does not open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsealing {
    /// The text is not what [`seal`] writes, at this line.
    Malformed(usize, &'static str),
    /// Another passphrase, or another text than was sealed.
    Wrong,
    /// The machine has no memory for it.
    System,
}

/// Opens what [`seal`] sealed, and says at what cost.
pub(crate) fn open(text: &[u8], passphrase: &Passphrase) -> Result<(Zeroizing<Vec<u8>>, Cost), Unsealing> {
    let text = std::str::from_utf8(text).map_err(|_| Unsealing::Malformed(0, "not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE.trim_end()) {
        return Err(Unsealing::Malformed(
            1,
            "not a sealed key of a version that this program knows",
        ));
    }
    let derivation = Unsealing::Malformed(2, "not `argon2id m=KIB t=PASSES p=1 SALT` within its bounds");
    let (cost, salt) = lines.next().and_then(read_derivation).ok_or(derivation)?;
    let ciphertext = Unsealing::Malformed(3, "not `aes-256-gcm NONCE CIPHERTEXT`");
    let (nonce, mut sealed) = lines.next().and_then(read_ciphertext).ok_or(ciphertext)?;
    if lines.next().is_some() {
        return Err(Unsealing::Malformed(4, "nothing follows the third line"));
    }
    let key = cost.key(passphrase, &salt).map_err(|_| Unsealing::System)?;
    let head = head(cost, &salt);
    let plain = key
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(head.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| Unsealing::Wrong)?
        .len();
    sealed.truncate(plain);
    Ok((sealed, cost))
}

fn head(cost: Cost, salt: &[u8; SALT_BYTES]) -> String {
    let Cost { memory_kib, passes } = cost;
    format!(
        "{FIRST_LINE}argon2id m={memory_kib} t={passes} p={LANES} {}\n",
        hex(salt)
    )
}

fn read_derivation(line: &str) -> Option<(Cost, [u8; SALT_BYTES])> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    if word()? != "argon2id" {
        return None;
    }
    let memory_kib = word()?.strip_prefix("m=")?.parse().ok()?;
    let passes = word()?.strip_prefix("t=")?.parse().ok()?;
    let lanes: u32 = word()?.strip_prefix("p=")?.parse().ok()?;
    let mut salt = Vec::new();
    unhex(word()?, &mut salt)?;
    // A file that asks for all memory there is would be an attack on whoever opens it.
    let cost = Cost::new(memory_kib, passes).ok()?;
    (lanes == LANES && word().is_none()).then_some((cost, salt.try_into().ok()?))
}

fn read_ciphertext(line: &str) -> Option<([u8; NONCE_LEN], Zeroizing<Vec<u8>>)> {
    let mut words = line.split(' ');
    if words.next()? != "aes-256-gcm" {
        return None;
    }
    let mut nonce = Vec::new();
    unhex(words.next()?, &mut nonce)?;
    let text = words.next()?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    unhex(text, &mut sealed)?;
    words.next().is_none().then_some((nonce.try_into().ok()?, sealed))
}

const FIRST_LINE: &str = "valkyrie sealed key 1\n";

/// Less is no protection.
const MEMORY_KIB_MIN: u32 = 8 * 1024;

/// More than a small machine has; a file must not make us ask for it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// About ten seconds at the most memory.
const PASSES_MAX: u32 = 16;

/// One, because the implementation computes lanes one after the other.
const LANES: u32 = 1;

const SALT_BYTES: usize = 16;

const KEY_BYTES: usize = 32;
