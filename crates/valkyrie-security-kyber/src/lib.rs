//! Kyber1024 and BLAKE2s, plugged into [`valkyrie_security`] so that the suites
//! `Noise_XXhfs_25519+Kyber1024_ChaChaPoly_BLAKE2s` and its IK twin can be run with peers that know nothing else.
//!
//! Kyber1024 is the third-round submission and not ML-KEM, and the packages it comes from, `pqcrypto-kyber` and what is under
//! it, are no longer maintained. Use it for such a peer and for nothing else; what both ends know is agreed on with
//! ML-KEM-768, which needs nothing from here.
//!
//! ```
//! use valkyrie_security::{SuiteId, provider::Providers};
//! use valkyrie_security_kyber::Kyber;
//!
//! let providers = Providers::default().with(Kyber);
//! assert!(providers.supports(SuiteId::XX_KYBER1024.suite().unwrap()));
//! ```

mod blake2s;
mod kyber1024;

use valkyrie_security::Kem;
use valkyrie_security::provider::{HashOps, KemOps, Provider};
use valkyrie_security::suite::Hash;

/// The provider: Kyber1024 and BLAKE2s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kyber;

impl Provider for Kyber {
    fn kem(&self, kem: Kem) -> Option<Box<dyn KemOps>> {
        match kem {
            Kem::Kyber1024 => Some(Box::new(kyber1024::Kyber1024::default())),
            Kem::MlKem768 => None,
        }
    }

    fn hash(&self, hash: Hash) -> Option<Box<dyn HashOps>> {
        match hash {
            Hash::Blake2s => Some(Box::new(blake2s::Blake2s::default())),
            Hash::Sha256 => None,
        }
    }
}
