//! Whom this side believes: pinned fingerprints, authorities, revocations, and what it does about those it meets for the
//! first time. A value: it is read from files by others and replaced as a whole.
//!
//! It says who somebody is, never what they may do. Read [`Trust::verify`] first.

mod cache;
mod error;
mod known;
mod lines;
mod pin;
mod place;
mod revocation;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

pub use error::{AuthorityError, TrustError, UnknownPeer};
pub use known::{KnownPeer, KnownPeers};
pub use lines::{TrustFileError, TrustFileFault};
pub use pin::{Pin, Pins};
pub use place::{Expect, Place};
pub use revocation::{Revocation, RevocationError, RevocationList};

use crate::identity::{Fingerprint, IdentityDocument, Kind};
use cache::VerificationCache;

/// What to do about a self-signed identity that is neither pinned nor known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstUse {
    /// It is refused.
    #[default]
    Never,
    /// Within this machine it is taken and to be remembered; elsewhere it is refused.
    Local,
    /// Within this machine it is taken and to be remembered; elsewhere [`TrustError::Unknown`] lets somebody be asked.
    Ask,
    /// It is taken and to be remembered wherever it comes from. Who is in between at the first contact is believed.
    Anywhere,
}

/// What a peer must sign beyond running the handshake with its static key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RequireProof {
    /// Nothing. What it signs all the same must be right.
    #[default]
    No,
    /// The handshake, with a signing key of its identity.
    Signed,
    /// The handshake, with a post-quantum signing key of its identity.
    PostQuantum,
}

/// Whom this side believes. The default is nobody.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    pins: Pins,
    authorities: HashMap<Fingerprint, Arc<IdentityDocument>>,
    /// What the operator of this side revoked.
    revoked_here: RevocationList,
    /// What authorities revoked, by authority.
    revoked: HashMap<Fingerprint, RevocationList>,
    known: KnownPeers,
    first_use: FirstUse,
    require_proof: RequireProof,
    anonymous: bool,
    #[cfg(feature = "spiffe")]
    bundles: crate::spiffe::Bundles,
    verified: Arc<VerificationCache>,
}

impl Trust {
    /// With this rule for those who are met for the first time.
    #[must_use]
    pub fn with_first_use(mut self, rule: FirstUse) -> Self {
        self.first_use = rule;
        self
    }

    /// With this much to be signed by every peer that has an identity.
    #[must_use]
    pub fn with_required_proof(mut self, rule: RequireProof) -> Self {
        self.require_proof = rule;
        self
    }

    /// Lets peers in that say nothing of themselves, or keeps them out, which is the default.
    #[must_use]
    pub fn with_anonymous(mut self, allowed: bool) -> Self {
        self.anonymous = allowed;
        self
    }

    /// In the place of `earlier`, for trust that was read anew from files: with what no file holds. That is what was found
    /// out about the signatures of documents, which depends on the documents alone, and the bundles of trust domains,
    /// which an agent gives and takes. Whom to believe otherwise is decided by this trust.
    #[must_use]
    pub fn in_place_of(mut self, earlier: &Self) -> Self {
        self.verified = Arc::clone(&earlier.verified);
        #[cfg(feature = "spiffe")]
        {
            self.bundles = earlier.bundles.clone();
        }
        self
    }

    /// With these pins and no other.
    #[must_use]
    pub fn with_pins(mut self, pins: Pins) -> Self {
        self.pins = pins;
        self
    }

    /// With these known peers and no other.
    #[must_use]
    pub fn with_known_peers(mut self, known: KnownPeers) -> Self {
        self.known = known;
        self
    }

    /// The pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The pins, to be changed.
    pub fn pins_mut(&mut self) -> &mut Pins {
        &mut self.pins
    }

    /// Who was met where.
    pub fn known_peers(&self) -> &KnownPeers {
        &self.known
    }

    /// Who was met where, to be changed.
    pub fn known_peers_mut(&mut self) -> &mut KnownPeers {
        &mut self.known
    }

    /// The authorities, in no order.
    pub fn authorities(&self) -> impl Iterator<Item = &IdentityDocument> {
        self.authorities.values().map(Arc::as_ref)
    }

    /// Believes what this authority signs. A document of greater serial replaces one of the same authority.
    ///
    /// # Errors
    /// [`AuthorityError`]: the document is not an authority's, not signed by itself, or older than the one that is held. Trust is unchanged.
    pub fn trust_authority(&mut self, document: IdentityDocument) -> Result<(), AuthorityError> {
        if document.kind() != Kind::Authority {
            return Err(AuthorityError::NotAnAuthority);
        }
        if !document.is_self_signed() {
            return Err(AuthorityError::NotSelfSigned);
        }
        document.verify_signatures(document.signing_keys())?;
        let held = self.authorities.get(&document.fingerprint());
        if held.is_some_and(|held| held.serial() > document.serial()) {
            return Err(AuthorityError::Older);
        }
        if held.is_none() && self.authorities.len() == AUTHORITIES_MAX {
            return Err(AuthorityError::TooMany);
        }
        self.authorities
            .insert(document.fingerprint(), Arc::new(document));
        Ok(())
    }

    /// Believes no more what this authority signs; whether it was believed before.
    pub fn forget_authority(&mut self, fingerprint: &Fingerprint) -> bool {
        self.authorities.remove(fingerprint).is_some()
    }

    /// Believes the X.509-SVIDs that lead to this bundle, in place of the one that its trust domain had.
    ///
    /// # Errors
    /// [`SvidError::TooMany`](crate::spiffe::SvidError::TooMany). Trust is unchanged.
    #[cfg(feature = "spiffe")]
    pub fn trust_bundle(
        &mut self,
        bundle: crate::spiffe::TrustBundle,
    ) -> Result<(), crate::spiffe::SvidError> {
        self.bundles.insert(bundle)
    }

    /// Believes no X.509-SVID of this trust domain any more; whether any was believed before.
    #[cfg(feature = "spiffe")]
    pub fn forget_trust_domain(&mut self, trust_domain: &str) -> bool {
        self.bundles.remove(trust_domain)
    }

    /// Takes a list of revocations: one without an issuer replaces what this side itself revoked, one with an issuer
    /// replaces that authority's and counts for what that authority signed.
    ///
    /// # Errors
    /// [`RevocationError`]: the issuer is not trusted, did not sign the list, or signed a newer one that is held. Trust is
    /// unchanged.
    pub fn revoke(&mut self, list: RevocationList) -> Result<(), RevocationError> {
        let Some(issuer) = list.issuer() else {
            self.revoked_here = list;
            return Ok(());
        };
        let authority = self
            .authorities
            .get(&issuer)
            .ok_or(RevocationError::UnknownIssuer(issuer))?;
        list.verify_signatures(authority.signing_keys())?;
        if self
            .revoked
            .get(&issuer)
            .is_some_and(|held| held.number() > list.number())
        {
            return Err(RevocationError::Older);
        }
        self.revoked.insert(issuer, list);
        Ok(())
    }

    /// What this side itself revoked.
    pub fn revoked_here(&self) -> &RevocationList {
        &self.revoked_here
    }

    /// Remembers a peer where it was met, see [`crate::Verified::newly_seen`] and [`UnknownPeer::known`].
    ///
    /// # Errors
    /// [`TrustFileFault`]: another peer is remembered there, or there is no room. Trust is unchanged.
    pub fn remember(&mut self, peer: KnownPeer) -> Result<(), TrustFileFault> {
        self.known.remember(peer)
    }
}

/// Authorities that can be trusted at once: a few organisations, with their successors.
pub const AUTHORITIES_MAX: usize = 64;
