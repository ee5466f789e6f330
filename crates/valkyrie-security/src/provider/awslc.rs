//! ML-KEM-768 and SHA-2 by aws-lc, behind the contracts that a plugged-in provider fulfils too.

use aws_lc_rs::digest;
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use zeroize::Zeroizing;

use super::{HASH_BYTES_MAX, HashOps, KemFailed, KemOps, SECRET_BYTES};

/// ML-KEM-768 with, once generated, one key pair. aws-lc wipes the private key when it is dropped.
#[derive(Default)]
pub(crate) struct MlKem768 {
    pair: Option<DecapsulationKey>,
    public: Vec<u8>,
}

impl MlKem768 {
    /// The pair with this private key, as published vectors give it; it has no public half.
    #[cfg(test)]
    pub(crate) fn from_private(bytes: &[u8]) -> Result<Self, KemFailed> {
        let pair = DecapsulationKey::new(&ML_KEM_768, bytes).map_err(|_| KemFailed)?;
        Ok(Self {
            pair: Some(pair),
            public: Vec::new(),
        })
    }
}

impl KemOps for MlKem768 {
    fn generate(&mut self) -> Result<(), KemFailed> {
        self.pair = None;
        self.public.clear();
        let pair = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| KemFailed)?;
        let public = pair.encapsulation_key().map_err(|_| KemFailed)?;
        let public = public.key_bytes().map_err(|_| KemFailed)?;
        self.public.extend_from_slice(public.as_ref());
        self.pair = Some(pair);
        Ok(())
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn encapsulate(
        &self,
        public: &[u8],
        ciphertext: &mut [u8],
        secret: &mut [u8; SECRET_BYTES],
    ) -> Result<(), KemFailed> {
        // `new` checks the length alone, `encapsulate` the modulus.
        let public = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| KemFailed)?;
        let (made, shared) = public.encapsulate().map_err(|_| KemFailed)?;
        if made.as_ref().len() != ciphertext.len() || shared.as_ref().len() != secret.len() {
            return Err(KemFailed);
        }
        ciphertext.copy_from_slice(made.as_ref());
        secret.copy_from_slice(shared.as_ref());
        Ok(())
    }

    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        let pair = self.pair.as_ref().ok_or(KemFailed)?;
        let shared = pair
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| KemFailed)?;
        if shared.as_ref().len() != secret.len() {
            return Err(KemFailed);
        }
        secret.copy_from_slice(shared.as_ref());
        Ok(())
    }
}

/// SHA-256, and for the published vectors SHA-512.
///
/// What is fed is gathered and hashed at once: for messages of this size a running context costs several times what the
/// hashing does, and a handshake hashes some eighty times.
pub(crate) struct Sha2 {
    algorithm: &'static digest::Algorithm,
    fed: Zeroizing<Vec<u8>>,
}

impl Sha2 {
    pub(crate) fn sha256() -> Self {
        Self::new(&digest::SHA256)
    }

    #[cfg(test)]
    pub(crate) fn sha512() -> Self {
        Self::new(&digest::SHA512)
    }

    fn new(algorithm: &'static digest::Algorithm) -> Self {
        Self {
            algorithm,
            fed: Zeroizing::new(Vec::with_capacity(FED_BYTES)),
        }
    }
}

impl HashOps for Sha2 {
    fn block_bytes(&self) -> usize {
        self.algorithm.block_len()
    }

    fn output_bytes(&self) -> usize {
        self.algorithm.output_len()
    }

    fn reset(&mut self) {
        self.fed.clear();
    }

    fn update(&mut self, data: &[u8]) {
        self.fed.extend_from_slice(data);
    }

    fn finish(&mut self, out: &mut [u8; HASH_BYTES_MAX]) {
        let digest = digest::digest(self.algorithm, &self.fed);
        self.fed.clear();
        out.iter_mut()
            .zip(digest.as_ref())
            .for_each(|(out, byte)| *out = *byte);
    }
}

/// Room for the longest that a handshake of ours hashes at once, a sealed encapsulation key behind the hash before it, so that
/// the bytes never move.
const FED_BYTES: usize = 1536;
