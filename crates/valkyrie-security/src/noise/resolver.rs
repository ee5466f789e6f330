//! How `snow` is made to run a suite: its parameters under the suite's own name, and the primitives.
//!
//! `snow` 0.10 reads one name of a key encapsulation, Kyber1024, and uses it for nothing but to ask its resolver for one.
//! So the parameters are read from the name with that word in it, the suite's honest name is put back, which is
//! what is hashed, and the resolver supplies the suite's key encapsulation. Both happen in one place, from one suite.

use std::cell::RefCell;

use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types;

use super::NoiseError;
use super::primitives::{Aead, Agreement, Encapsulation, Random, Transcript};
use super::vault::Vault;
use crate::provider::{HashOps, KEY_BYTES, KemOps, Providers, StaticKey};
use crate::suite::{Cipher, Hash, Kem, Suite};

/// The parameters of a suite. Their name is the suite's.
//= protocol/security.md#suites
pub(super) fn params(suite: &Suite) -> Result<NoiseParams, NoiseError> {
    let slot = match suite.kem {
        Some(Kem::MlKem768) => suite.name.replace("MLKEM768", "Kyber1024"),
        Some(Kem::Kyber1024) | None => suite.name.to_owned(),
    };
    let mut params: NoiseParams = slot.parse().map_err(|_| NoiseError::Internal)?;
    params.name.clear();
    params.name.push_str(suite.name);
    Ok(params)
}

/// Supplies the primitives of one handshake.
pub(super) struct Resolver {
    pub(super) vault: Vault,
    pub(super) own: StaticKey,
    /// The ephemeral key to use instead of a fresh one; for reproducing vectors.
    pub(super) ephemeral: Option<StaticKey>,
    pub(super) cipher: Cipher,
    pub(super) hash_name: &'static str,
    pub(super) hash: RefCell<Option<Box<dyn HashOps>>>,
    pub(super) kem: RefCell<Option<(Kem, Box<dyn KemOps>)>>,
}

impl Resolver {
    /// The primitives of a suite, or an error where a provider lacks one.
    pub(super) fn new(
        suite: &Suite,
        providers: &Providers,
        vault: &Vault,
        own: &StaticKey,
    ) -> Result<Self, NoiseError> {
        let unsupported = NoiseError::Unsupported { suite: suite.id };
        let kem = match suite.kem {
            Some(kem) => Some((kem, providers.kem(kem).ok_or(unsupported)?)),
            None => None,
        };
        Ok(Self {
            vault: vault.clone(),
            own: own.clone(),
            ephemeral: None,
            cipher: suite.cipher,
            hash_name: match suite.hash {
                Hash::Sha256 => "SHA256",
                Hash::Blake2s => "BLAKE2s",
            },
            hash: RefCell::new(Some(providers.hash(suite.hash).ok_or(unsupported)?)),
            kem: RefCell::new(kem),
        })
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        Some(Box::new(Random))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn types::Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| -> Box<dyn types::Dh> {
            Box::new(Agreement {
                vault: self.vault.clone(),
                own: self.own.clone(),
                ephemeral: self.ephemeral.clone(),
                in_use: None,
                public: [0; KEY_BYTES],
            })
        })
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn types::Hash>> {
        let ops = self.hash.borrow_mut().take()?;
        Some(Box::new(Transcript {
            vault: self.vault.clone(),
            name: self.hash_name,
            ops,
        }))
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        Some(Box::new(Aead {
            vault: self.vault.clone(),
            cipher: self.cipher,
            key: None,
        }))
    }

    fn resolve_kem(&self, _: &KemChoice) -> Option<Box<dyn types::Kem>> {
        let (kem, ops) = self.kem.borrow_mut().take()?;
        Some(Box::new(Encapsulation {
            vault: self.vault.clone(),
            kem,
            ops,
            nothing: vec![0; kem.public_bytes()],
        }))
    }
}
