//! One's own SVID: certificates, and the key that signs proofs.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::bundle::verify_signature;
use super::leaf::Leaf;
use super::{ProofAlgorithm, SpiffeId, SvidError};
use crate::credentials::{Credentials, Proof};
use crate::time::UnixTime;

/// An X.509-SVID with its key. The key is wiped on drop.
pub struct X509Svid {
    chain: Vec<Bytes>,
    key: SvidKey,
    leaf: Leaf,
}

pub(super) enum SvidKey {
    Ecdsa(ProofAlgorithm, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl X509Svid {
    /// An SVID of a chain of certificates in DER, leaf first, and the leaf's key as PKCS#8 in DER. The caller wipes its own copy of the key.
    ///
    /// # Errors
    /// [`SvidError`]: the leaf is no workload's, the key is another's or of no kind that signs proofs, or the chain is
    /// longer than can be sent.
    pub fn new(chain: &[Bytes], key_pkcs8: &[u8]) -> Result<Self, SvidError> {
        let first = chain.first().ok_or(SvidError::Malformed)?;
        let leaf = Leaf::parse(first)?;
        let svid = Self {
            chain: chain.to_vec(),
            key: SvidKey::parse(key_pkcs8)?,
            leaf,
        };
        Credentials::default()
            .set_svid(chain)
            .map_err(|_| SvidError::TooMany)?;
        let probe = svid.key.sign(PROBE)?;
        let algorithm = ProofAlgorithm::from_wire(probe.algorithm).ok_or(SvidError::KeyKind)?;
        let der = CertificateDer::from(&first[..]);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| SvidError::Malformed)?;
        verify_signature(&certificate, algorithm, PROBE, &probe.signature)
            .map_err(|_| SvidError::OtherKey)?;
        Ok(svid)
    }

    /// Its SPIFFE ID.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.leaf.id
    }

    /// From here on its leaf is not good any more.
    pub fn not_after(&self) -> UnixTime {
        self.leaf.not_after
    }

    pub(crate) fn chain(&self) -> &[Bytes] {
        &self.chain
    }

    /// Signs with the leaf's key.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Proof, SvidError> {
        self.key.sign(message)
    }
}

impl SvidKey {
    pub(super) fn parse(pkcs8: &[u8]) -> Result<Self, SvidError> {
        let ecdsa = |signing, algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8).ok()?;
            Some(Self::Ecdsa(algorithm, pair))
        };
        ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, ProofAlgorithm::EcdsaP256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, ProofAlgorithm::EcdsaP384))
            .or_else(|| {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                    .ok()
                    .map(Self::Ed25519)
            })
            .ok_or(SvidError::KeyKind)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Proof, SvidError> {
        let (algorithm, signature) = match self {
            Self::Ecdsa(algorithm, pair) => {
                let signature = pair
                    .sign(&SystemRandom::new(), message)
                    .map_err(|_| SvidError::System)?;
                (*algorithm, signature)
            }
            Self::Ed25519(pair) => {
                let signature = pair.try_sign(message).map_err(|_| SvidError::System)?;
                (ProofAlgorithm::Ed25519, signature)
            }
        };
        Ok(Proof {
            algorithm: algorithm.wire(),
            signature: Bytes::copy_from_slice(signature.as_ref()),
        })
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid")
            .field("spiffe_id", &self.leaf.id)
            .finish_non_exhaustive()
    }
}

/// Signed once to see that key and certificate belong together; no proof begins like this.
const PROBE: &[u8] = b"valkyrie 2 svid key";
