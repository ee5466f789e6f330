//! The primitives under the handshake: X25519, ML-KEM-768, AES-256-GCM, ChaCha20-Poly1305 and SHA-256, all from aws-lc,
//! and the two contracts by which somebody else adds a key encapsulation or a hash.
//!
//! It knows nothing of messages: [`crate::noise`] does. Read [`Providers`] first.

mod awslc;
mod keys;

pub use keys::{KEY_BYTES, KeyError, PublicKey, StaticKey};

pub(crate) use awslc::{MlKem768, Sha2};

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::suite::{Cipher, Hash, Kem, Suite};

/// Supplies what this crate does not: a key encapsulation, a hash, or both.
///
/// What this crate supplies itself is never taken from a provider.
pub trait Provider: Send + Sync {
    /// A fresh instance of a key encapsulation, without keys; `None` when this provider does not have it.
    fn kem(&self, kem: Kem) -> Option<Box<dyn KemOps>>;

    /// A fresh instance of a hash; `None` when this provider does not have it.
    fn hash(&self, hash: Hash) -> Option<Box<dyn HashOps>>;
}

/// A key encapsulation with, once generated, one key pair. An instance serves one handshake.
///
/// Implementations wipe the private key when they are dropped.
pub trait KemOps: Send + Sync {
    /// Makes a new key pair and keeps it; a pair made before is replaced.
    ///
    /// # Errors
    /// The system gave no randomness or no memory. There is no key pair then.
    fn generate(&mut self) -> Result<(), KemFailed>;

    /// The encapsulation key of the pair, of exactly the bytes that [`Kem::public_bytes`] says. Empty before `generate`.
    fn public(&self) -> &[u8];

    /// Makes a shared secret and writes its ciphertext for the holder of `public`.
    ///
    /// `ciphertext` has exactly the bytes that [`Kem::ciphertext_bytes`] says.
    ///
    /// # Errors
    /// `public` is not a valid key, which an implementation must check as far as its algorithm says. What is in the
    /// two outputs then is not used.
    fn encapsulate(
        &self,
        public: &[u8],
        ciphertext: &mut [u8],
        secret: &mut [u8; SECRET_BYTES],
    ) -> Result<(), KemFailed>;

    /// Recovers the shared secret of a ciphertext made for this pair.
    ///
    /// # Errors
    /// There is no pair, or the ciphertext has the wrong length. A ciphertext that was altered is no error with a
    /// key encapsulation of implicit rejection: the secret differs, and the handshake fails by that.
    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed>;
}

/// A hash, fed piece by piece. An instance serves one handshake.
pub trait HashOps: Send + Sync {
    /// Bytes of the block that HMAC pads to, at most [`BLOCK_BYTES_MAX`].
    fn block_bytes(&self) -> usize;

    /// Bytes of the output, at most [`HASH_BYTES_MAX`].
    fn output_bytes(&self) -> usize;

    /// Forgets what was fed.
    fn reset(&mut self);

    /// Feeds more.
    fn update(&mut self, data: &[u8]);

    /// Writes the hash of all that was fed to the first [`output_bytes`](Self::output_bytes) of `out` and begins anew.
    fn finish(&mut self, out: &mut [u8; HASH_BYTES_MAX]);

    /// HMAC (RFC 2104) with a key of at most a block, written as [`finish`](Self::finish) does.
    fn hmac(&mut self, key: &[u8], data: &[u8], out: &mut [u8; HASH_BYTES_MAX]) {
        let block = self.block_bytes().min(BLOCK_BYTES_MAX);
        let pad = |byte: u8| {
            let mut pad = Zeroizing::new([byte; BLOCK_BYTES_MAX]);
            pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            pad
        };
        let mut inner = Zeroizing::new([0; HASH_BYTES_MAX]);
        self.reset();
        self.update(pad(0x36).get(..block).unwrap_or_default());
        self.update(data);
        self.finish(&mut inner);
        self.update(pad(0x5c).get(..block).unwrap_or_default());
        self.update(inner.get(..self.output_bytes()).unwrap_or_default());
        self.finish(out);
    }
}

/// A key encapsulation could not do what was asked of it, see where it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key encapsulation failed; nothing it wrote is used")]
pub struct KemFailed;

/// Bytes of the secret that a key encapsulation shares: the only size that Noise's hybrid extension is used with here.
pub const SECRET_BYTES: usize = 32;
/// The longest hash output there is room for: SHA-512's and BLAKE2b's.
pub const HASH_BYTES_MAX: usize = 64;
/// The longest block of a hash there is room for: SHA-512's and BLAKE2b's.
pub const BLOCK_BYTES_MAX: usize = 128;

impl Kem {
    /// Bytes of an encapsulation key.
    pub const fn public_bytes(self) -> usize {
        match self {
            Self::MlKem768 => 1184,
            Self::Kyber1024 => 1568,
        }
    }

    /// Bytes of a ciphertext.
    pub const fn ciphertext_bytes(self) -> usize {
        match self {
            Self::MlKem768 => 1088,
            Self::Kyber1024 => 1568,
        }
    }
}

/// Where primitives come from: aws-lc, and behind it whatever was plugged in. Cloning shares the list.
#[derive(Clone, Default)]
pub struct Providers {
    plugged: Arc<[Arc<dyn Provider>]>,
}

impl Providers {
    /// The same and one more, asked after those that are there.
    #[must_use]
    pub fn with(&self, provider: impl Provider + 'static) -> Self {
        let one: Arc<dyn Provider> = Arc::new(provider);
        Self {
            plugged: self.plugged.iter().cloned().chain([one]).collect(),
        }
    }

    /// A handshake of this suite can be run.
    pub fn supports(&self, suite: &Suite) -> bool {
        let kem = match suite.kem {
            None | Some(Kem::MlKem768) => true,
            Some(kem) => self.kem(kem).is_some(),
        };
        kem && (suite.hash == Hash::Sha256 || self.hash(suite.hash).is_some())
    }

    /// This machine has instructions for AES-GCM, so that suites with it are the faster ones.
    pub fn has_aes(&self) -> bool {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let has =
            std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let has = false;
        has
    }

    /// A fresh instance of a key encapsulation.
    pub(crate) fn kem(&self, kem: Kem) -> Option<Box<dyn KemOps>> {
        match kem {
            Kem::MlKem768 => Some(Box::new(MlKem768::default())),
            other => self.plugged.iter().find_map(|provider| provider.kem(other)),
        }
    }

    /// A fresh instance of a hash.
    pub(crate) fn hash(&self, hash: Hash) -> Option<Box<dyn HashOps>> {
        match hash {
            Hash::Sha256 => Some(Box::new(Sha2::sha256())),
            other => self.plugged.iter().find_map(|provider| provider.hash(other)),
        }
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Providers(aws-lc and {} plugged in)", self.plugged.len())
    }
}

impl Cipher {
    /// The algorithm as aws-lc knows it; for the handshake and for records alike.
    pub(crate) fn algorithm(self) -> &'static aws_lc_rs::aead::Algorithm {
        match self {
            Self::Aes256Gcm => &aws_lc_rs::aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aws_lc_rs::aead::CHACHA20_POLY1305,
        }
    }
}

#[cfg(test)]
mod tests;
