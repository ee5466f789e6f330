//! Why a peer is not believed.

use std::sync::Arc;

use valkyrie_frame::ErrorCode;

use super::{Expect, KnownPeer, Place};
use crate::identity::{DocumentError, Fingerprint, IdentityDocument, SignatureError};
#[cfg(feature = "spiffe")]
use crate::spiffe::SvidError;
use crate::time::UnixTime;

/// The peer is not believed; the handshake ends. Trust is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It says nothing of itself.
    #[error("the peer shows no identity, and this side takes nobody without one")]
    Anonymous,
    /// Its document cannot be read.
    #[error("the peer's identity cannot be read: {0}")]
    Document(#[from] DocumentError),
    /// It shows what only a signer shows.
    #[error("the peer shows the identity of an authority, {0}, which is never at the end of a connection")]
    AuthorityAsNode(Fingerprint),
    /// It shows somebody else's document.
    #[error(
        "the peer shows the identity of {0} and holds none of its static keys: it poses as somebody else"
    )]
    WrongStaticKey(Fingerprint),
    /// The document is forged or damaged.
    #[error("the identity that the peer shows is not signed by its issuer: {0}")]
    Signature(SignatureError),
    /// Signed by somebody unknown.
    #[error("the peer's identity {fingerprint} is signed by {issuer}, who is no authority here")]
    UnknownIssuer {
        /// The peer's fingerprint, which nobody vouches for.
        fingerprint: Fingerprint,
        /// Who signed.
        issuer: Fingerprint,
    },
    /// Too early.
    #[error("the peer's identity is not good before {0}; one of the two clocks may be wrong")]
    NotYetValid(UnixTime),
    /// Too late.
    #[error("the peer's identity was good until {0}; it needs a new document")]
    Expired(UnixTime),
    /// The authority's own document.
    #[error("the authority {0} is not within the times of its own document; it needs a new one here")]
    AuthorityExpired(Fingerprint),
    /// Revoked.
    #[error("the peer's identity {0} has been revoked")]
    Revoked(Fingerprint),
    /// A static key is revoked, whoever it belongs to.
    #[error("the peer's static key has been revoked")]
    KeyRevoked,
    /// The signature over the handshake is wrong.
    #[error("the peer's signature over the handshake is wrong: {0}")]
    Proof(SignatureError),
    /// The signature over the handshake is of an unknown kind.
    #[error("the peer's signature over the handshake is of algorithm {0}, of which this side knows nothing")]
    ProofAlgorithm(u8),
    /// Not signed.
    #[error("the peer did not sign the handshake with its identity's keys, which this side asks for")]
    NoProof,
    /// Signed with too little.
    #[error("the peer signed the handshake, but not with a post-quantum key, which this side asks for")]
    WeakProof,
    /// Two ways to say who it is.
    #[error("the peer shows both an identity and an X.509-SVID; it must choose")]
    TwoIdentities,
    /// An SVID, and nothing here to check it with.
    #[error("the peer shows an X.509-SVID, and this side has no trust bundle to check it with")]
    NoBundle,
    /// An SVID that is not believed.
    #[cfg(feature = "spiffe")]
    #[error("the peer's X.509-SVID is not believed: {0}")]
    Svid(#[from] SvidError),
    /// Believed, but not whom one wanted.
    #[error("the peer is {met}, and {expected} was to be met")]
    NotExpected {
        /// Who it is.
        met: String,
        /// Who was to be met.
        expected: String,
    },
    /// Nobody vouches for it.
    #[error("nobody vouches for the peer, {name} ({fingerprint}); to trust it, pin that fingerprint")]
    Untrusted {
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// What it calls itself.
        name: String,
    },
    /// Nobody vouches for it, and somebody may be asked.
    #[error("the peer was never met at this place before: {0}")]
    Unknown(UnknownPeer),
    /// Somebody else is where the other one was.
    #[error(
        "THE PEER AT {place} HAS CHANGED: since {since} it was {remembered}, now it is {now}. Somebody may be in between. \
         If the peer was given a new identity, forget the old one and dial again"
    )]
    Changed {
        /// Where.
        place: String,
        /// Who it was.
        remembered: Fingerprint,
        /// Since when.
        since: UnixTime,
        /// Who it is now.
        now: Fingerprint,
    },
}

impl TrustError {
    /// What it is on the wire and in logs.
    //= protocol/errors.md#codes
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotYetValid(_) | Self::Expired(_) | Self::AuthorityExpired(_) => {
                ErrorCode::CREDENTIALS_EXPIRED
            }
            Self::Revoked(_) | Self::KeyRevoked => ErrorCode::IDENTITY_REVOKED,
            Self::UnknownIssuer { .. }
            | Self::NoBundle
            | Self::NotExpected { .. }
            | Self::Untrusted { .. }
            | Self::Unknown(_)
            | Self::Changed { .. } => ErrorCode::IDENTITY_UNTRUSTED,
            #[cfg(feature = "spiffe")]
            Self::Svid(SvidError::Times) => ErrorCode::CREDENTIALS_EXPIRED,
            #[cfg(feature = "spiffe")]
            Self::Svid(SvidError::UnknownTrustDomain(_) | SvidError::Untrusted(_)) => {
                ErrorCode::IDENTITY_UNTRUSTED
            }
            _ => ErrorCode::UNAUTHENTICATED,
        }
    }

    /// What the peer may know of it: enough to mend what is its own, and nothing of whom this side knows.
    pub fn told_to_peer(&self) -> &'static str {
        match self {
            Self::Anonymous => "show an identity",
            Self::Document(_) => "the identity cannot be read",
            Self::AuthorityAsNode(_) => "an authority holds no connections",
            Self::WrongStaticKey(_) => "the identity does not name the static key",
            Self::Signature(_) => "the identity is not signed by its issuer",
            Self::NotYetValid(_) => "the identity is not good yet",
            Self::Expired(_) => "the identity has expired",
            Self::Revoked(_) | Self::KeyRevoked => "the identity has been revoked",
            Self::Proof(_) | Self::ProofAlgorithm(_) => "the signature over the handshake is wrong",
            Self::NoProof => "sign the handshake",
            Self::WeakProof => "sign the handshake with a post-quantum key",
            Self::TwoIdentities => "show one identity",
            #[cfg(feature = "spiffe")]
            Self::Svid(_) => "the X.509-SVID is not trusted here",
            Self::UnknownIssuer { .. }
            | Self::AuthorityExpired(_)
            | Self::NoBundle
            | Self::NotExpected { .. }
            | Self::Untrusted { .. }
            | Self::Unknown(_)
            | Self::Changed { .. } => "the identity is not trusted here",
        }
    }
}

/// A peer that nobody vouches for, whose signatures and times are good: somebody may look at its fingerprint and decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPeer {
    pub(super) place: Place,
    pub(super) document: Arc<IdentityDocument>,
}

impl UnknownPeer {
    /// Its fingerprint, to be compared with what its operator says.
    pub fn fingerprint(&self) -> Fingerprint {
        self.document.fingerprint()
    }

    /// What it says of itself.
    pub fn document(&self) -> &IdentityDocument {
        &self.document
    }

    /// Where it was met.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is to be remembered of it, once somebody has decided to.
    pub fn known(&self, now: UnixTime) -> KnownPeer {
        KnownPeer::new(&self.place, &self.document, now)
    }
}

impl std::fmt::Display for UnknownPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.document.name(), self.fingerprint())
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::Fingerprint(fingerprint) => write!(f, "{fingerprint}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Role(role) => write!(f, "somebody of role {role}"),
            Self::SpiffeId(id) => write!(f, "{id}"),
        }
    }
}

/// A document cannot be taken for an authority's. Trust is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A node's.
    #[error("the document is a node's, not an authority's")]
    NotAnAuthority,
    /// Signed by another authority; there is one level.
    #[error("the authority's document is signed by another than itself")]
    NotSelfSigned,
    /// Forged or damaged.
    #[error("the authority's own signature does not verify: {0}")]
    Signature(#[from] SignatureError),
    /// An old one.
    #[error("a newer document of this authority is in use")]
    Older,
    /// No room.
    #[error("there are as many authorities as there may be")]
    TooMany,
}
