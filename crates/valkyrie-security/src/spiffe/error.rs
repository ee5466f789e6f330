//! What is wrong with a certificate, a chain or a bundle.

use super::SpiffeIdFormatError;

/// The certificate, the chain, the key or the bundle is not what SPIFFE asks for. Nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// Not a certificate.
    #[error("a certificate cannot be read")]
    Malformed,
    /// More bytes or certificates than there may be.
    #[error("there are more certificates, or longer ones, than are taken")]
    TooMany,
    /// Not one URI name.
    #[error("the certificate has {0} URI names, and must have one")]
    Names(usize),
    /// The URI name is something else.
    #[error("the certificate's URI name is not a SPIFFE ID")]
    Id(#[from] SpiffeIdFormatError),
    /// It names a trust domain and no workload.
    #[error("the certificate names a trust domain and no workload in it")]
    NoPath,
    /// It may sign others.
    #[error("the certificate may sign others, or may not sign at all: it is no workload's")]
    NotALeaf,
    /// Nobody to check it with.
    #[error("there is no trust bundle of {0} here")]
    UnknownTrustDomain(String),
    /// Its signatures do not lead to the trust domain.
    #[error("the trust domain did not sign the certificate: {0}")]
    Untrusted(String),
    /// Its times.
    #[error("the certificate, or one that signed it, is not within its times")]
    Times,
    /// No proof.
    #[error("the key of the certificate did not sign the handshake")]
    NoProof,
    /// A wrong proof.
    #[error("the signature of the certificate's key over the handshake is wrong")]
    Proof,
    /// A key of a kind that signs no proofs.
    #[error("the key is of no kind that signs proofs: ECDSA with P-256 or P-384, or Ed25519")]
    KeyKind,
    /// Another certificate's key.
    #[error("the key is not the certificate's")]
    OtherKey,
    /// Not a trust domain.
    #[error("`{0}` is not the name of a trust domain")]
    TrustDomain(String),
    /// This machine is at fault.
    #[error("this machine gave no randomness or no memory for a signature; nothing was signed")]
    System,
}
