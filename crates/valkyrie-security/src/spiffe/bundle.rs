//! Whom a trust domain signs with, and the judgement of a chain that a peer shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime as PkiTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::id::is_trust_domain;
use super::leaf::{Leaf, end_of};
use super::{ProofAlgorithm, SpiffeId, SvidError};
use crate::credentials::{Credentials, Proof, proof_text};
use crate::role::Role;
use crate::time::UnixTime;

/// The certificates with which one trust domain signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: String,
    authorities: Vec<Bytes>,
}

impl TrustBundle {
    /// A bundle of a trust domain, of X.509 authorities in DER.
    ///
    /// # Errors
    /// [`SvidError`]: the trust domain cannot be one, or an authority cannot be read.
    pub fn new(trust_domain: &str, authorities: &[Bytes]) -> Result<Self, SvidError> {
        if !is_trust_domain(trust_domain) {
            return Err(SvidError::TrustDomain(trust_domain.to_owned()));
        }
        if authorities.len() > AUTHORITIES_MAX {
            return Err(SvidError::TooMany);
        }
        for authority in authorities {
            let der = CertificateDer::from(&authority[..]);
            anchor_from_trusted_cert(&der).map_err(|_| SvidError::Malformed)?;
        }
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            authorities: authorities.to_vec(),
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }
}

/// Bundles by trust domain: our own, and those that it is federated with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundles(BTreeMap<String, TrustBundle>);

/// A chain that was believed.
pub(crate) struct Believed {
    pub(crate) id: SpiffeId,
    pub(crate) not_after: UnixTime,
}

impl Bundles {
    pub(crate) fn insert(&mut self, bundle: TrustBundle) -> Result<(), SvidError> {
        if self.0.len() >= BUNDLES_MAX && !self.0.contains_key(&bundle.trust_domain) {
            return Err(SvidError::TooMany);
        }
        self.0.insert(bundle.trust_domain.clone(), bundle);
        Ok(())
    }

    pub(crate) fn remove(&mut self, trust_domain: &str) -> bool {
        self.0.remove(trust_domain).is_some()
    }

    pub(crate) fn contains(&self, trust_domain: &str) -> bool {
        self.0.contains_key(trust_domain)
    }

    /// The chain leads to the bundle of the trust domain that its leaf names, and the leaf's key signed the handshake.
    //= protocol/security.md#credentials
    pub(crate) fn judge(
        &self,
        now: UnixTime,
        credentials: &Credentials,
        role: Role,
        h: &[u8; 32],
    ) -> Result<Believed, SvidError> {
        let [first, intermediates @ ..] = credentials.svid().unwrap_or_default() else {
            return Err(SvidError::Malformed);
        };
        let leaf = Leaf::parse(first)?;
        let domain = leaf.id.trust_domain();
        let bundle = self
            .0
            .get(domain)
            .ok_or_else(|| SvidError::UnknownTrustDomain(domain.to_owned()))?;
        let der = CertificateDer::from(&first[..]);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| SvidError::Malformed)?;
        let not_after = bundle
            .verify(now, &certificate, intermediates, role)?
            .min(leaf.not_after);
        // Last, because whoever has no chain should not make us check signatures of its own.
        verify_proof(&certificate, credentials.proof(), role, h)?;
        Ok(Believed {
            id: leaf.id,
            not_after,
        })
    }
}

impl TrustBundle {
    /// Until when the path that was found is good.
    fn verify(
        &self,
        now: UnixTime,
        leaf: &EndEntityCert<'_>,
        intermediates: &[Bytes],
        role: Role,
    ) -> Result<UnixTime, SvidError> {
        let authorities: Vec<_> = self
            .authorities
            .iter()
            .map(|der| CertificateDer::from(&der[..]))
            .collect();
        let anchors: Vec<_> = authorities
            .iter()
            .filter_map(|der| anchor_from_trusted_cert(der).ok())
            .collect();
        let intermediates: Vec<_> = intermediates
            .iter()
            .map(|der| CertificateDer::from(&der[..]))
            .collect();
        let usage = match role {
            Role::Dialler => KeyUsage::client_auth(),
            Role::Acceptor => KeyUsage::server_auth(),
        };
        let time = PkiTime::since_unix_epoch(std::time::Duration::from_millis(now.millis()));
        let path = leaf
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &intermediates,
                time,
                usage,
                None,
                None,
            )
            .map_err(|error| match error {
                Error::CertExpired { .. } | Error::CertNotValidYet { .. } => SvidError::Times,
                other => SvidError::Untrusted(other.to_string()),
            })?;
        let mut not_after = UnixTime::MAX;
        for certificate in path.intermediate_certificates() {
            not_after = not_after.min(end_of(&certificate.der())?);
        }
        Ok(not_after)
    }
}

fn verify_proof(
    certificate: &EndEntityCert<'_>,
    proof: Option<&Proof>,
    role: Role,
    h: &[u8; 32],
) -> Result<(), SvidError> {
    let proof = proof.ok_or(SvidError::NoProof)?;
    let algorithm = ProofAlgorithm::from_wire(proof.algorithm).ok_or(SvidError::KeyKind)?;
    verify_signature(certificate, algorithm, &proof_text(role, h), &proof.signature)
}

/// The key of the certificate made the signature.
pub(super) fn verify_signature(
    certificate: &EndEntityCert<'_>,
    algorithm: ProofAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SvidError> {
    let verification: &dyn SignatureVerificationAlgorithm = match algorithm {
        ProofAlgorithm::Ed25519 => webpki::aws_lc_rs::ED25519,
        ProofAlgorithm::EcdsaP256 => webpki::aws_lc_rs::ECDSA_P256_SHA256,
        ProofAlgorithm::EcdsaP384 => webpki::aws_lc_rs::ECDSA_P384_SHA384,
    };
    certificate
        .verify_signature(verification, message, signature)
        .map_err(|_| SvidError::Proof)
}

/// Authorities of a trust domain: the present one, the next, and those that still overlap.
const AUTHORITIES_MAX: usize = 64;
/// Trust domains: our own and those that it is federated with.
const BUNDLES_MAX: usize = 64;
