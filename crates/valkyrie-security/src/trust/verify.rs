//! The decision whether a peer is whom it says it is.

use std::sync::Arc;
use std::time::Duration;

use super::{Expect, FirstUse, KnownPeer, Place, RequireProof, Trust, TrustError, UnknownPeer, cache};
use crate::credentials::{Credentials, proof_text};
use crate::identity::{Algorithm, Fingerprint, IdentityDocument, Kind};
use crate::provider::PublicKey;
use crate::role::Role;
use crate::time::UnixTime;
use crate::verified::{Assurance, Inner, Shown, TrustedBy, Verified};

impl Trust {
    /// Decides about a peer that proved `peer_static` in the handshake with hash `h` and then sent `credentials`.
    /// `peer_role` is the peer's role, not ours.
    ///
    /// # Errors
    /// [`TrustError`]; nothing is remembered. After [`TrustError::Unknown`] a caller may ask somebody, and
    /// [`Trust::remember`] what [`UnknownPeer::known`] gives.
    //= protocol/security.md#credentials
    pub fn verify(
        &self,
        now: UnixTime,
        peer_static: &PublicKey,
        peer_role: Role,
        h: &[u8; 32],
        credentials: &Credentials,
        place: &Place,
    ) -> Result<Verified, TrustError> {
        self.check_key(peer_static)?;
        let verified = match (credentials.identity(), credentials.svid()) {
            (Some(_), Some(_)) => return Err(TrustError::TwoIdentities),
            (None, Some(_)) => self.workload(now, peer_static, peer_role, h, credentials)?,
            (None, None) => self.anonymous(peer_static)?,
            (Some(identity), None) => {
                let document = Arc::new(IdentityDocument::parse(identity)?);
                self.check_document(now, &document, peer_static)?;
                let assurance = self.check_proof(credentials, &document, peer_role, h)?;
                let mut inner = self.believe(now, document, place)?;
                (inner.static_key, inner.assurance) = (Some(*peer_static), assurance);
                inner
            }
        };
        let verified = Verified::new(verified);
        expected(&verified, place.expected())?;
        Ok(verified)
    }

    /// Whether a static key may be used at all.
    pub(crate) fn check_key(&self, key: &PublicKey) -> Result<(), TrustError> {
        match self.revoked_here.revokes_key(key) {
            true => Err(TrustError::KeyRevoked),
            false => Ok(()),
        }
    }

    /// Decides anew about a peer whose connection lives, after trust has changed or time has passed.
    ///
    /// # Errors
    /// [`TrustError`]: the connection is to be closed.
    pub fn recheck(&self, now: UnixTime, verified: &Verified) -> Result<(), TrustError> {
        if let Some(key) = verified.static_key()
            && self.revoked_here.revokes_key(key)
        {
            return Err(TrustError::KeyRevoked);
        }
        if now >= verified.not_after() {
            return Err(TrustError::Expired(verified.not_after()));
        }
        let (Some(shown), Some(key)) = (verified.shown(), verified.static_key()) else {
            return match verified.how() {
                TrustedBy::Anonymous if !self.anonymous => Err(TrustError::Anonymous),
                #[cfg(feature = "spiffe")]
                TrustedBy::Svid { trust_domain } if !self.bundles.contains(trust_domain) => {
                    Err(TrustError::NoBundle)
                }
                _ => Ok(()),
            };
        };
        self.check_revoked(shown, key)?;
        match verified.how() {
            // Whoever dialled for this fingerprint needs no pin, and still does not.
            TrustedBy::Pin if verified.rests_on_pin() && self.pins.find(&shown.fingerprint).is_none() => {
                Err(TrustError::Untrusted {
                    fingerprint: shown.fingerprint,
                    name: shown.name.to_string(),
                })
            }
            TrustedBy::Authority { .. } => self
                .authority_of(now, shown.issuer, shown.fingerprint)
                .map(|_| ()),
            _ => Ok(()),
        }
    }

    fn anonymous(&self, peer_static: &PublicKey) -> Result<Inner, TrustError> {
        if !self.anonymous {
            return Err(TrustError::Anonymous);
        }
        Ok(Inner {
            static_key: Some(*peer_static),
            assurance: Assurance::StaticKey,
            ..Inner::nobody(TrustedBy::Anonymous)
        })
    }

    /// A workload that an X.509-SVID names. Its key signed the handshake, and with it the static key.
    #[cfg(feature = "spiffe")]
    fn workload(
        &self,
        now: UnixTime,
        peer_static: &PublicKey,
        peer_role: Role,
        h: &[u8; 32],
        credentials: &Credentials,
    ) -> Result<Inner, TrustError> {
        if self.require_proof == RequireProof::PostQuantum {
            return Err(TrustError::WeakProof);
        }
        let believed = self.bundles.judge(now, credentials, peer_role, h)?;
        let trust_domain = believed.id.trust_domain().to_owned();
        Ok(Inner {
            static_key: Some(*peer_static),
            spiffe_id: Some(believed.id.to_string()),
            assurance: Assurance::Signed,
            not_after: believed.not_after,
            ..Inner::nobody(TrustedBy::Svid { trust_domain })
        })
    }

    #[cfg(not(feature = "spiffe"))]
    fn workload(
        &self,
        _now: UnixTime,
        _peer_static: &PublicKey,
        _peer_role: Role,
        _h: &[u8; 32],
        _credentials: &Credentials,
    ) -> Result<Inner, TrustError> {
        Err(TrustError::NoBundle)
    }

    /// The document is a node's, names the key that was proved, is signed by its issuer, within its times and not revoked.
    fn check_document(
        &self,
        now: UnixTime,
        document: &IdentityDocument,
        proved: &PublicKey,
    ) -> Result<(), TrustError> {
        let fingerprint = document.fingerprint();
        if document.kind() != Kind::Node {
            return Err(TrustError::AuthorityAsNode(fingerprint));
        }
        if !document.static_keys().contains(proved) {
            return Err(TrustError::WrongStaticKey(fingerprint));
        }
        let keys = if document.is_self_signed() {
            document.signing_keys()
        } else {
            self.authority_of(now, document.issuer(), fingerprint)?
                .signing_keys()
        };
        let cached = cache::key(document.encode());
        if !self.verified.contains(&cached) {
            document.verify_signatures(keys).map_err(TrustError::Signature)?;
            self.verified.insert(cached);
        }
        if now.saturating_add(CLOCK_SKEW) < document.not_before() {
            return Err(TrustError::NotYetValid(document.not_before()));
        }
        if now >= document.not_after() {
            return Err(TrustError::Expired(document.not_after()));
        }
        self.check_revoked(&document.into(), proved)
    }

    fn check_revoked(&self, shown: &Shown, proved: &PublicKey) -> Result<(), TrustError> {
        let by_issuer = self.revoked.get(&shown.issuer);
        let mut lists = std::iter::once(&self.revoked_here).chain(by_issuer);
        if lists.any(|list| list.revokes(shown, proved)) {
            return Err(TrustError::Revoked(shown.fingerprint));
        }
        Ok(())
    }

    /// The authority that is named as the issuer, if it is trusted now.
    fn authority_of(
        &self,
        now: UnixTime,
        issuer: Fingerprint,
        fingerprint: Fingerprint,
    ) -> Result<&IdentityDocument, TrustError> {
        let authority = self
            .authorities
            .get(&issuer)
            .ok_or(TrustError::UnknownIssuer { fingerprint, issuer })?;
        let early = now.saturating_add(CLOCK_SKEW) < authority.not_before();
        if early || now >= authority.not_after() {
            return Err(TrustError::AuthorityExpired(issuer));
        }
        Ok(authority)
    }

    /// A signature over the handshake is right, and there where this side asks for it.
    fn check_proof(
        &self,
        credentials: &Credentials,
        document: &IdentityDocument,
        peer_role: Role,
        h: &[u8; 32],
    ) -> Result<Assurance, TrustError> {
        let Some(proof) = credentials.proof() else {
            return match self.require_proof {
                RequireProof::No => Ok(Assurance::StaticKey),
                RequireProof::Signed | RequireProof::PostQuantum => Err(TrustError::NoProof),
            };
        };
        let algorithm =
            Algorithm::from_wire(proof.algorithm).ok_or(TrustError::ProofAlgorithm(proof.algorithm))?;
        document
            .signing_keys()
            .verify(&proof_text(peer_role, h), algorithm, &proof.signature)
            .map_err(TrustError::Proof)?;
        match (algorithm.post_quantum(), self.require_proof) {
            (true, _) => Ok(Assurance::PostQuantum),
            (false, RequireProof::PostQuantum) => Err(TrustError::WeakProof),
            (false, _) => Ok(Assurance::Signed),
        }
    }

    /// Somebody vouches for this document, or it may be met for the first time.
    fn believe(
        &self,
        now: UnixTime,
        document: Arc<IdentityDocument>,
        place: &Place,
    ) -> Result<Inner, TrustError> {
        let fingerprint = document.fingerprint();
        let not_after = document.not_after();
        let believed = |trusted_by| Inner {
            shown: Some(Box::new(Shown::from(&*document))),
            not_after,
            ..Inner::nobody(trusted_by)
        };
        if !document.is_self_signed() {
            let authority = self.authority_of(now, document.issuer(), fingerprint)?;
            return Ok(Inner {
                name: Some(document.name().to_owned()),
                roles: document.roles().to_vec(),
                not_after: not_after.min(authority.not_after()),
                ..believed(TrustedBy::Authority {
                    fingerprint: authority.fingerprint(),
                    name: authority.name().to_owned(),
                })
            });
        }
        if let Some(pin) = self.pins.find(&fingerprint) {
            return Ok(Inner {
                name: pin.name.clone(),
                roles: pin.roles.clone(),
                held_pin: true,
                ..believed(TrustedBy::Pin)
            });
        }
        // Whoever dials for one fingerprint has decided already, and is not asked again.
        if *place.expected() == Expect::Fingerprint(fingerprint) {
            return Ok(believed(TrustedBy::Pin));
        }
        if self.is_known(fingerprint, place)? {
            return Ok(believed(TrustedBy::FirstUse));
        }
        match self.first_use {
            FirstUse::Anywhere => Ok(self.first_met(now, believed(TrustedBy::FirstUse), &document, place)),
            FirstUse::Local | FirstUse::Ask if place.is_local() => {
                Ok(self.first_met(now, believed(TrustedBy::FirstUse), &document, place))
            }
            FirstUse::Ask => Err(TrustError::Unknown(UnknownPeer {
                place: place.clone(),
                document,
            })),
            FirstUse::Never | FirstUse::Local => Err(untrusted(&document)),
        }
    }

    fn first_met(&self, now: UnixTime, inner: Inner, document: &IdentityDocument, place: &Place) -> Inner {
        Inner {
            newly_seen: Some(Box::new(KnownPeer::new(place, document, now))),
            ..inner
        }
    }

    /// The peer was met at this place before. An error when somebody else was.
    fn is_known(&self, fingerprint: Fingerprint, place: &Place) -> Result<bool, TrustError> {
        let Some(locator) = place.locator() else {
            return Ok(self.known.arrived(&fingerprint, place.is_local()).is_some());
        };
        match self.known.at(locator) {
            None => Ok(false),
            Some(known) if known.fingerprint() == fingerprint => Ok(true),
            Some(known) => Err(TrustError::Changed {
                place: locator.to_owned(),
                remembered: known.fingerprint(),
                since: known.first_seen(),
                now: fingerprint,
            }),
        }
    }
}

fn untrusted(document: &IdentityDocument) -> TrustError {
    TrustError::Untrusted {
        fingerprint: document.fingerprint(),
        name: document.name().to_owned(),
    }
}

/// The peer is believed; is it the one who was to be met?
fn expected(verified: &Verified, expect: &Expect) -> Result<(), TrustError> {
    let met = match expect {
        Expect::Anybody => true,
        Expect::Fingerprint(fingerprint) => verified.fingerprint() == Some(*fingerprint),
        Expect::Name(name) => verified.name() == Some(name),
        Expect::Role(role) => verified.has_role(role),
        Expect::SpiffeId(id) => verified.spiffe_id() == Some(id),
    };
    if met {
        return Ok(());
    }
    Err(TrustError::NotExpected {
        met: verified.to_string(),
        expected: expect.to_string(),
    })
}

/// By how much clocks of honest machines may differ. It is granted where a document begins and not where it ends.
//= protocol/security.md#identity-documents
const CLOCK_SKEW: Duration = Duration::from_secs(90);
