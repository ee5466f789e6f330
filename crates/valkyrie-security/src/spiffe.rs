//! Peers whom a SPIFFE trust domain vouches for: an X.509-SVID as the identity, its SPIFFE ID as the name, and a signature of
//! the certificate's key over the handshake, which ties the certificate to this connection.
//!
//! It fetches nothing: certificates, keys and bundles are handed in, and replaced as they rotate. Read [`X509Svid`] for one's
//! own side; peers are judged by [`crate::Trust`] once it has a [`TrustBundle`].

mod bundle;
mod error;
mod id;
mod leaf;
mod own;
#[cfg(test)]
mod tests;

pub use bundle::TrustBundle;
pub use error::SvidError;
pub use id::{SpiffeId, SpiffeIdFormatError};
pub use own::X509Svid;

pub(crate) use bundle::Bundles;

/// How the key of a certificate signs a proof.
//= protocol/security.md#credentials
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProofAlgorithm {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
}

impl ProofAlgorithm {
    const ALL: [ProofAlgorithm; 3] = [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384];

    const fn wire(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::EcdsaP256 => 3,
            Self::EcdsaP384 => 4,
        }
    }

    fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.wire() == number)
    }
}
