//! The keys that sign documents and proofs: Ed25519, and ML-DSA-65 beside it so that a signature still means something
//! once there are quantum computers. Where an identity has both, both must have signed.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, ML_DSA_65, ML_DSA_65_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::Fingerprint;

/// How a signature was made.
//= protocol/security.md#identity-documents
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RFC 8032.
    Ed25519,
    /// FIPS 204 with an empty context.
    MlDsa65,
}

impl Algorithm {
    /// Both, in the order of documents.
    pub const ALL: [Algorithm; 2] = [Self::Ed25519, Self::MlDsa65];

    /// The number of the algorithm on the wire.
    pub const fn wire(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::MlDsa65 => 2,
        }
    }

    /// The algorithm of a number.
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Ed25519),
            2 => Some(Self::MlDsa65),
            _ => None,
        }
    }

    /// The number of the purpose that its keys have in a document.
    pub const fn purpose(self) -> u8 {
        self.wire() + 1
    }

    /// Bytes of a public key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::MlDsa65 => 1952,
        }
    }

    /// Bytes of a signature.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::MlDsa65 => 3309,
        }
    }

    /// Forging one is beyond a quantum computer too, as far as is known.
    pub const fn post_quantum(self) -> bool {
        matches!(self, Self::MlDsa65)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::MlDsa65 => "ML-DSA-65",
        })
    }
}

/// A signature and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// How it was made.
    pub algorithm: Algorithm,
    /// The signature itself.
    pub bytes: Bytes,
}

/// The public signing keys of an identity, one or two.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeys {
    ed25519: Option<[u8; 32]>,
    ml_dsa_65: Option<Arc<[u8]>>,
}

impl SigningKeys {
    /// The keys; `None` unless there is at least one, and each has its length.
    pub fn new(ed25519: Option<[u8; 32]>, ml_dsa_65: Option<&[u8]>) -> Option<Self> {
        let fits = ml_dsa_65.is_none_or(|key| key.len() == Algorithm::MlDsa65.key_len());
        (fits && (ed25519.is_some() || ml_dsa_65.is_some())).then(|| Self {
            ed25519,
            ml_dsa_65: ml_dsa_65.map(Arc::from),
        })
    }

    /// The key of an algorithm.
    pub fn key(&self, algorithm: Algorithm) -> Option<&[u8]> {
        match algorithm {
            Algorithm::Ed25519 => self.ed25519.as_ref().map(<[u8; 32]>::as_slice),
            Algorithm::MlDsa65 => self.ml_dsa_65.as_deref(),
        }
    }

    /// The keys that there are, in the order of documents.
    pub fn iter(&self) -> impl Iterator<Item = (Algorithm, &[u8])> {
        Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| Some((algorithm, self.key(algorithm)?)))
    }

    /// The fingerprint of the identity that has these keys.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }

    /// Checks one signature over `message`.
    ///
    /// # Errors
    /// [`SignatureError`]: the identity has no key of that algorithm, or did not sign this.
    pub fn verify(
        &self,
        message: &[u8],
        algorithm: Algorithm,
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let key = self.key(algorithm).ok_or(SignatureError::NotAKey(algorithm))?;
        // Checked here, because the library takes keys of other encodings than the raw one as well.
        if key.len() != algorithm.key_len() || signature.len() != algorithm.signature_len() {
            return Err(SignatureError::Wrong(algorithm));
        }
        let verified = match algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Algorithm::MlDsa65 => UnparsedPublicKey::new(&ML_DSA_65, key).verify(message, signature),
        };
        verified.map_err(|_| SignatureError::Wrong(algorithm))
    }

    /// Checks that every key signed `message`, in ascending order of algorithm, and nobody else.
    ///
    /// # Errors
    /// [`SignatureError`], of the first that is missing or wrong.
    pub fn verify_all(&self, message: &[u8], signatures: &[Signature]) -> Result<(), SignatureError> {
        let mut signatures = signatures.iter();
        for (algorithm, _) in self.iter() {
            let signature = signatures
                .next()
                .filter(|signature| signature.algorithm == algorithm)
                .ok_or(SignatureError::Missing(algorithm))?;
            self.verify(message, algorithm, &signature.bytes)?;
        }
        match signatures.next() {
            Some(signature) => Err(SignatureError::NotAKey(signature.algorithm)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.fingerprint())
    }
}

/// A signature is missing, too many or wrong: whoever presents it does not speak for that identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A key of the identity did not sign.
    #[error("the {0} key did not sign")]
    Missing(Algorithm),
    /// The signature does not verify.
    #[error("the {0} signature is wrong")]
    Wrong(Algorithm),
    /// The identity has no such key.
    #[error("there is a signature with {0}, of which the identity has no key")]
    NotAKey(Algorithm),
}

/// The private signing keys of an identity: Ed25519, and ML-DSA-65 unless it was left out. Wiped on drop.
pub struct SigningKey {
    ed25519: Ed25519KeyPair,
    ed25519_seed: Zeroizing<[u8; SEED_LEN]>,
    ml_dsa_65: Option<(PqdsaKeyPair, Zeroizing<[u8; SEED_LEN]>)>,
    public: SigningKeys,
}

impl SigningKey {
    /// New keys, Ed25519 and ML-DSA-65.
    ///
    /// # Errors
    /// [`SigningError`]: the system gave no randomness or no memory.
    pub fn generate() -> Result<Self, SigningError> {
        Self::from_seeds(&*seed()?, Some(&*seed()?))
    }

    /// A new Ed25519 key alone, for where five kilobytes of document are too many. Who breaks Ed25519 can forge its documents.
    ///
    /// # Errors
    /// As [`SigningKey::generate`].
    pub fn generate_classical() -> Result<Self, SigningError> {
        Self::from_seeds(&*seed()?, None)
    }

    /// The keys that follow from these seeds. The caller wipes its own copies.
    ///
    /// # Errors
    /// [`SigningError`]: the system gave no memory.
    pub fn from_seeds(
        ed25519_seed: &[u8; SEED_LEN],
        ml_dsa_65_seed: Option<&[u8; SEED_LEN]>,
    ) -> Result<Self, SigningError> {
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(ed25519_seed).map_err(|_| SigningError)?;
        let ml_dsa_65 = match ml_dsa_65_seed {
            Some(seed) => {
                let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, seed).map_err(|_| SigningError)?;
                Some((pair, Zeroizing::new(*seed)))
            }
            None => None,
        };
        let public = SigningKeys::new(
            ed25519.public_key().as_ref().try_into().ok(),
            ml_dsa_65.as_ref().map(|(pair, _)| pair.public_key().as_ref()),
        );
        Ok(Self {
            ed25519,
            ed25519_seed: Zeroizing::new(*ed25519_seed),
            ml_dsa_65,
            public: public.ok_or(SigningError)?,
        })
    }

    /// The secret from which the Ed25519 key follows, for whoever stores it.
    pub fn ed25519_seed(&self) -> &Zeroizing<[u8; SEED_LEN]> {
        &self.ed25519_seed
    }

    /// The secret from which the ML-DSA-65 key follows.
    pub fn ml_dsa_65_seed(&self) -> Option<&Zeroizing<[u8; SEED_LEN]>> {
        self.ml_dsa_65.as_ref().map(|(_, seed)| seed)
    }

    /// The public halves.
    pub fn public(&self) -> &SigningKeys {
        &self.public
    }

    /// The fingerprint of the identity that has these keys.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// Signs with every key, in ascending order of algorithm.
    ///
    /// # Errors
    /// [`SigningError`]: the system gave no randomness or no memory.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<Signature>, SigningError> {
        let keys = self.public.iter().map(|(algorithm, _)| algorithm);
        keys.map(|algorithm| self.sign_with(algorithm, message)).collect()
    }

    /// Signs with the strongest key alone.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign_strongest(&self, message: &[u8]) -> Result<Signature, SigningError> {
        let strongest = match self.ml_dsa_65 {
            Some(_) => Algorithm::MlDsa65,
            None => Algorithm::Ed25519,
        };
        self.sign_with(strongest, message)
    }

    fn sign_with(&self, algorithm: Algorithm, message: &[u8]) -> Result<Signature, SigningError> {
        let bytes = match (algorithm, &self.ml_dsa_65) {
            (Algorithm::Ed25519, _) => {
                let signature = self.ed25519.try_sign(message).map_err(|_| SigningError)?;
                Bytes::copy_from_slice(signature.as_ref())
            }
            (Algorithm::MlDsa65, Some((pair, _))) => {
                let mut signature = vec![0; Algorithm::MlDsa65.signature_len()];
                pair.sign(message, &mut signature).map_err(|_| SigningError)?;
                Bytes::from(signature)
            }
            (Algorithm::MlDsa65, None) => return Err(SigningError),
        };
        Ok(Signature { algorithm, bytes })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(private half of {}, ..)", self.fingerprint())
    }
}

/// This machine could not make a key or a signature: it gave no randomness or no memory. Nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine gave no randomness or no memory for a key or a signature; nothing was signed")]
pub struct SigningError;

fn seed() -> Result<Zeroizing<[u8; SEED_LEN]>, SigningError> {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    rand::fill(&mut *seed).map_err(|_| SigningError)?;
    Ok(seed)
}

/// Bytes of the secret from which a key follows, the same for both algorithms.
pub const SEED_LEN: usize = 32;
