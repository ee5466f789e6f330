//! Kyber1024 behind the contract for key encapsulations.

use pqcrypto_kyber::kyber1024;
use pqcrypto_traits::kem::{Ciphertext, PublicKey, SecretKey, SharedSecret};
use valkyrie_security::Kem;
use valkyrie_security::provider::{KemFailed, KemOps, SECRET_BYTES};
use zeroize::Zeroizing;

/// Kyber1024 with, once generated, one key pair.
///
/// The private key is wiped when this is dropped. The copies that `pqcrypto-kyber` makes of it and of shared secrets on the stack
/// are not: its types have no way to.
#[derive(Default)]
pub(crate) struct Kyber1024 {
    public: Vec<u8>,
    private: Zeroizing<Vec<u8>>,
}

impl KemOps for Kyber1024 {
    fn generate(&mut self) -> Result<(), KemFailed> {
        let (public, private) = kyber1024::keypair();
        self.public = public.as_bytes().to_vec();
        self.private = Zeroizing::new(private.as_bytes().to_vec());
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
        if !is_reduced(public) {
            return Err(KemFailed);
        }
        let public = kyber1024::PublicKey::from_bytes(public).map_err(|_| KemFailed)?;
        let (shared, made) = kyber1024::encapsulate(&public);
        copy(made.as_bytes(), ciphertext)?;
        copy(shared.as_bytes(), secret)
    }

    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KemFailed> {
        let private = kyber1024::SecretKey::from_bytes(&self.private).map_err(|_| KemFailed)?;
        let ciphertext = kyber1024::Ciphertext::from_bytes(ciphertext).map_err(|_| KemFailed)?;
        copy(kyber1024::decapsulate(&ciphertext, &private).as_bytes(), secret)
    }
}

/// Every coefficient of a public key is below the modulus. The submission of the third round asks nobody to look, ML-KEM does, and no
/// honest key is refused by it.
fn is_reduced(public: &[u8]) -> bool {
    let coefficients = public.len() - SEED_BYTES.min(public.len());
    let packed = public.get(..coefficients).unwrap_or_default();
    public.len() == Kem::Kyber1024.public_bytes()
        && packed.chunks_exact(3).all(|three| {
            let [a, b, c] = [0, 1, 2].map(|at| three.get(at).copied().map_or(u16::MAX, u16::from));
            let (low, high) = (a | (b & 0x0f) << 8, b >> 4 | c << 4);
            low < MODULUS && high < MODULUS
        })
}

/// Copies what was made to where it belongs, if it has the length it must have.
fn copy(from: &[u8], to: &mut [u8]) -> Result<(), KemFailed> {
    if from.len() != to.len() {
        return Err(KemFailed);
    }
    to.copy_from_slice(from);
    Ok(())
}

/// Bytes behind the coefficients of a public key, from which its matrix is made.
const SEED_BYTES: usize = 32;
/// The modulus of Kyber.
const MODULUS: u16 = 3329;

#[cfg(test)]
mod tests {
    //! One pair with itself, and keys that are none.

    use super::*;

    fn pair() -> Kyber1024 {
        let mut pair = Kyber1024::default();
        pair.generate().unwrap();
        pair
    }

    #[test]
    fn both_ends_share_a_secret() {
        let pair = pair();
        let (mut ciphertext, mut made, mut recovered) = (vec![0; 1568], [0; 32], [0; 32]);
        Kyber1024::default()
            .encapsulate(pair.public(), &mut ciphertext, &mut made)
            .unwrap();
        pair.decapsulate(&ciphertext, &mut recovered).unwrap();
        assert_eq!(made, recovered);
        assert_ne!(made, [0; 32]);
    }

    #[test]
    fn a_key_beyond_the_modulus_is_refused() {
        let pair = pair();
        for at in [0, 3, 1533] {
            // The first and the second coefficient of three bytes, each exactly the modulus.
            for three in [[0x01, 0x0d, 0], [0, 0x10, 0xd0]] {
                let mut public = pair.public().to_vec();
                public[at..at + 3].copy_from_slice(&three);
                let made = pair.encapsulate(&public, &mut [0; 1568], &mut [0; 32]);
                assert_eq!(made, Err(KemFailed), "{at} {three:?}");
            }
            let mut public = pair.public().to_vec();
            public[at..at + 3].copy_from_slice(&[0x00, 0x0d, 0xd0]);
            assert_eq!(
                pair.encapsulate(&public, &mut [0; 1568], &mut [0; 32]),
                Ok(()),
                "{at}: one below the modulus"
            );
        }
    }

    #[test]
    fn another_length_is_refused() {
        let pair = pair();
        for bytes in [0, 31, 32, 1184, 1567, 1569] {
            let made = pair.encapsulate(&vec![0; bytes], &mut [0; 1568], &mut [0; 32]);
            assert_eq!(made, Err(KemFailed), "{bytes}");
            assert_eq!(
                pair.decapsulate(&vec![0; bytes], &mut [0; 32]),
                Err(KemFailed),
                "{bytes}"
            );
        }
        let made = pair.encapsulate(pair.public(), &mut [0; 1567], &mut [0; 32]);
        assert_eq!(made, Err(KemFailed));
        assert_eq!(
            Kyber1024::default().decapsulate(&[0; 1568], &mut [0; 32]),
            Err(KemFailed),
            "no key pair"
        );
    }
}
