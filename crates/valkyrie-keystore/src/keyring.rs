//! The private keys of one identity together with its document: making them, replacing them, signing with them.
//!
//! It touches no file; [`Keystore`](crate::Keystore) does.

use std::time::Duration;

use valkyrie_security::UnixTime;
use valkyrie_security::identity::{
    DocumentBuilder, Fingerprint, Identity, IdentityDocument, Kind, SignedIdentity, SigningKey,
};
use valkyrie_security::provider::{PublicKey, StaticKey};
use valkyrie_security::trust::RevocationList;

use crate::error::KeystoreError;
use crate::secret::{HELD_KEYS_MAX, HeldKey, Secret};

#[cfg(test)]
mod tests;

/// What a new identity is to be.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// What it is called.
    pub name: String,
    /// A node, or an authority that signs for nodes.
    pub kind: Kind,
    /// What it says it does. Nobody believes it of a node that signs itself.
    pub roles: Vec<String>,
    /// Names and values, likewise.
    pub labels: Vec<(String, String)>,
    /// How long its document is good.
    pub lifetime: Duration,
}

impl NewIdentity {
    /// A node of this name, for as long as self-signed documents are good.
    pub fn node(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Node,
            roles: Vec::new(),
            labels: Vec::new(),
            lifetime: Identity::LIFETIME,
        }
    }

    /// An authority of this name, for ten years: its key is meant to be kept offline.
    pub fn authority(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Authority,
            lifetime: AUTHORITY_LIFETIME,
            ..Self::node(name)
        }
    }

    /// A node named after this user on this machine: `ada@workshop`.
    pub fn of_this_machine() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let user = user.unwrap_or_else(|| format!("user{}", rustix::process::geteuid().as_raw()));
        Self::node(plain_name(&user, &host))
    }
}

/// `user@host` without whatever a name may not have.
fn plain_name(user: &str, host: &str) -> String {
    let plain = |text: &str| -> String {
        let letters = text
            .chars()
            .filter(|letter| letter.is_ascii_graphic() && *letter != '@');
        letters.take(NAME_PART_CHARS_MAX).collect()
    };
    match (plain(user), plain(host)) {
        (user, host) if host.is_empty() => format!("{user}@localhost"),
        (user, host) if user.is_empty() => host,
        (user, host) => format!("{user}@{host}"),
    }
}

/// What an authority says of a node.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its name; what it asks for unless given.
    pub name: Option<String>,
    /// Its roles. What it asks for is not looked at: whoever signs says what the node may be.
    pub roles: Vec<String>,
    /// Its labels, likewise.
    pub labels: Vec<(String, String)>,
    /// How long the document is good.
    pub lifetime: Duration,
}

/// What became of a new static key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotated {
    /// It is used from now on; the old one is accepted until then.
    Now {
        /// The new key.
        key: PublicKey,
        /// Until when the old one is accepted.
        old_until: UnixTime,
    },
    /// It waits for the authority to sign a document that names it.
    Waits {
        /// The new key.
        key: PublicKey,
    },
}

/// The private keys of one identity and its document.
#[derive(Debug)]
pub struct KeyRing {
    secret: Secret,
    document: IdentityDocument,
}

impl KeyRing {
    /// New keys with a self-signed document, good from `now`. Signing keys are Ed25519 and ML-DSA-65.
    ///
    /// # Errors
    /// The name, a role or a label cannot be one, or the machine gave no randomness.
    pub fn generate(plan: &NewIdentity, now: UnixTime) -> Result<Self, KeystoreError> {
        let signing = SigningKey::generate().map_err(|_| KeystoreError::System)?;
        let mut secret = Secret::default();
        let builder = match plan.kind {
            Kind::Authority => DocumentBuilder::authority(&plan.name),
            Kind::Node => {
                let key = StaticKey::generate().map_err(|_| KeystoreError::System)?;
                let public = key.public();
                secret.static_keys.push(HeldKey { key, until: None });
                DocumentBuilder::node(&plan.name, &[public])
            }
        };
        let builder = with_labels(builder.roles(&plan.roles), &plan.labels);
        let builder = builder.valid(backdated(now), now.saturating_add(plan.lifetime));
        let document = builder.sign(&signing)?.document()?;
        secret.signing = Some(signing);
        Ok(Self { secret, document })
    }

    /// What was stored: checks that the parts belong together.
    pub(crate) fn of_parts(secret: Secret, document: IdentityDocument) -> Result<Self, KeystoreError> {
        if let Some(signing) = &secret.signing
            && signing.fingerprint() != document.fingerprint()
        {
            return Err(KeystoreError::Mismatch);
        }
        let ring = Self { secret, document };
        if ring.document.kind() == Kind::Node && ring.in_document().next().is_none() {
            return Err(KeystoreError::Mismatch);
        }
        Ok(ring)
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The document.
    pub fn document(&self) -> &IdentityDocument {
        &self.document
    }

    /// The fingerprint of the identity, which stays the same when static keys are replaced.
    pub fn fingerprint(&self) -> Fingerprint {
        self.document.fingerprint()
    }

    /// Static keys with the time until which each is accepted, the one in use first.
    pub fn static_keys(&self) -> impl Iterator<Item = (PublicKey, Option<UnixTime>)> {
        self.in_document().map(|held| (held.key.public(), held.until))
    }

    /// A static key that waits for a document to name it.
    pub fn waiting(&self) -> Option<PublicKey> {
        let named = self.document.static_keys();
        let keys = self.secret.static_keys.iter().map(|held| held.key.public());
        keys.into_iter().find(|key| !named.contains(key))
    }

    /// The identity to be used at `now`: keys that have had their time are left out.
    ///
    /// # Errors
    /// This is an authority, which is never at the end of a connection; or the document and the keys do not belong together.
    pub fn identity(&self, now: UnixTime) -> Result<Identity, KeystoreError> {
        if self.document.kind() == Kind::Authority {
            return Err(KeystoreError::IsAuthority);
        }
        let accepted = self.in_document().filter(|held| held.is_accepted(now));
        let keys = accepted.map(|held| held.key.clone()).collect();
        let signing = self.secret.signing_again()?;
        Ok(Identity::new(keys, signing, self.document.clone())?)
    }

    /// A document signed by the identity itself that names every static key held, for an authority to sign.
    ///
    /// # Errors
    /// The signing key is not here, or the machine failed.
    pub fn request(&self, now: UnixTime) -> Result<SignedIdentity, KeystoreError> {
        let mut keys: Vec<_> = self.waiting().into_iter().collect();
        keys.extend(
            self.in_document()
                .filter(|held| held.is_accepted(now))
                .map(|held| held.key.public()),
        );
        let builder = self.successor(now, self.lifetime()).static_keys(&keys);
        Ok(builder.sign(self.signing()?)?)
    }

    /// Makes a new static key. Where the identity signs itself it is used from now on, and the old one is accepted for
    /// `overlap` more, so that peers who still know that one get through. Where an authority signs, the key waits for a
    /// new document, see [`KeyRing::request`] and [`KeyRing::adopt`].
    ///
    /// # Errors
    /// There is no static key to replace, the signing key is not here, or the machine failed. Nothing has changed.
    pub fn rotate(&mut self, now: UnixTime, overlap: Duration) -> Result<Rotated, KeystoreError> {
        if self.document.kind() == Kind::Authority {
            return Err(KeystoreError::IsAuthority);
        }
        let fresh = StaticKey::generate().map_err(|_| KeystoreError::System)?;
        let key = fresh.public();
        let waiting = HeldKey {
            key: fresh,
            until: None,
        };
        if !self.document.is_self_signed() {
            let named = self.document.static_keys();
            let mut held = self.secret.static_keys.clone();
            // One that was waiting already is given up: nobody has ever seen it.
            held.retain(|held| named.contains(&held.key.public()) && held.is_accepted(now));
            held.push(waiting);
            held.truncate(HELD_KEYS_MAX);
            self.secret.static_keys = held;
            return Ok(Rotated::Waits { key });
        }
        let old_until = now.saturating_add(overlap);
        let old = self.in_document().filter(|held| held.is_accepted(now));
        let old = old
            .take(HELD_KEYS_MAX - 2)
            .map(|held| held.replaced_until(old_until));
        let held: Vec<_> = std::iter::once(waiting).chain(old).collect();
        let keys: Vec<_> = held.iter().map(|held| held.key.public()).collect();
        let builder = self.successor(now, self.lifetime()).static_keys(&keys);
        let document = builder.sign(self.signing()?)?.document()?;
        self.document = document;
        self.secret.static_keys = held;
        Ok(Rotated::Now { key, old_until })
    }

    /// Takes a document that an authority has signed. Static keys that it does not put first are accepted for
    /// `overlap` more.
    ///
    /// # Errors
    /// The document is another identity's, older than the one there is, or names no key that is held here. Nothing has changed.
    pub fn adopt(
        &mut self,
        document: IdentityDocument,
        now: UnixTime,
        overlap: Duration,
    ) -> Result<(), KeystoreError> {
        if document.fingerprint() != self.document.fingerprint() || document.kind() != self.document.kind() {
            return Err(KeystoreError::Mismatch);
        }
        if document.serial() <= self.document.serial() {
            return Err(KeystoreError::Older {
                serial: document.serial(),
                held: self.document.serial(),
            });
        }
        let held = |key: &PublicKey| {
            self.secret
                .static_keys
                .iter()
                .find(|held| held.key.public() == *key)
        };
        let mut keys = document.static_keys().iter();
        let mut adopted = Vec::new();
        if document.kind() == Kind::Node {
            let current = keys.next().and_then(held).ok_or(KeystoreError::Mismatch)?;
            adopted.push(HeldKey {
                key: current.key.clone(),
                until: None,
            });
        }
        let old_until = now.saturating_add(overlap);
        adopted.extend(keys.filter_map(held).map(|held| held.replaced_until(old_until)));
        self.secret.static_keys = adopted;
        self.document = document;
        Ok(())
    }

    /// Signs for a node, as its authority. The node's own signature on the request is checked: it holds the keys.
    ///
    /// # Errors
    /// This is no authority, the request is not the node's own, or the terms make no document.
    pub fn sign(
        &self,
        request: &IdentityDocument,
        terms: &Terms,
        now: UnixTime,
    ) -> Result<SignedIdentity, KeystoreError> {
        if self.document.kind() != Kind::Authority {
            return Err(KeystoreError::NotAuthority);
        }
        if request.kind() != Kind::Node || !request.is_self_signed() {
            return Err(KeystoreError::NotARequest);
        }
        request
            .verify_signatures(request.signing_keys())
            .map_err(|_| KeystoreError::NotARequest)?;
        let name = terms.name.as_deref().unwrap_or(request.name());
        // Milliseconds since 1970 only grow, without a count that would have to be kept.
        let serial = now.millis().max(request.serial().saturating_add(1));
        let until = now.saturating_add(terms.lifetime).min(self.document.not_after());
        let builder = DocumentBuilder::node(name, request.static_keys())
            .signing_keys(request.signing_keys())
            .roles(&terms.roles)
            .serial(serial)
            .valid(backdated(now), until);
        Ok(with_labels(builder, &terms.labels).sign(self.signing()?)?)
    }

    /// Signs a list of revocations, as an authority. Its number is the time, so that later lists replace earlier ones.
    ///
    /// # Errors
    /// This is no authority, or the machine failed.
    pub fn sign_revocations(
        &self,
        list: &RevocationList,
        now: UnixTime,
    ) -> Result<RevocationList, KeystoreError> {
        if self.document.kind() != Kind::Authority {
            return Err(KeystoreError::NotAuthority);
        }
        list.sign(self.signing()?, now.millis(), now)
            .map_err(|_| KeystoreError::System)
    }

    /// The document is self-signed and has less than a quarter of its life left.
    pub(crate) fn is_renewal_due(&self, now: UnixTime) -> bool {
        let left = self.document.not_after().since(now);
        self.document.is_self_signed() && self.secret.signing.is_some() && left <= self.lifetime() / 4
    }

    /// Signs the document anew if that is due. Says whether it was.
    pub(crate) fn renew_if_due(&mut self, now: UnixTime) -> Result<bool, KeystoreError> {
        if !self.is_renewal_due(now) {
            return Ok(false);
        }
        let document = self
            .successor(now, self.lifetime())
            .sign(self.signing()?)?
            .document()?;
        self.document = document;
        Ok(true)
    }

    /// When the next of the replaced keys that are accepted now has had its time.
    pub(crate) fn next_expiry(&self, now: UnixTime) -> Option<UnixTime> {
        let ends = self.in_document().filter_map(|held| held.until);
        ends.filter(|until| now < *until).min()
    }

    fn signing(&self) -> Result<&SigningKey, KeystoreError> {
        self.secret.signing.as_ref().ok_or(KeystoreError::SignsElsewhere)
    }

    fn lifetime(&self) -> Duration {
        self.document.not_after().since(self.document.not_before())
    }

    fn successor(&self, now: UnixTime, lifetime: Duration) -> DocumentBuilder {
        DocumentBuilder::from_document(&self.document)
            .serial(self.document.serial().saturating_add(1))
            .valid(backdated(now), now.saturating_add(lifetime))
    }

    /// The static keys that the document names, in its order, as far as they are held here.
    fn in_document(&self) -> impl Iterator<Item = &HeldKey> {
        let held = |key: &PublicKey| {
            self.secret
                .static_keys
                .iter()
                .find(|held| held.key.public() == *key)
        };
        self.document.static_keys().iter().filter_map(held)
    }
}

impl HeldKey {
    /// The same key, accepted until then unless its time ends earlier.
    fn replaced_until(&self, until: UnixTime) -> Self {
        Self {
            key: self.key.clone(),
            until: Some(self.until.map_or(until, |already| already.min(until))),
        }
    }
}

fn with_labels(builder: DocumentBuilder, labels: &[(String, String)]) -> DocumentBuilder {
    labels
        .iter()
        .fold(builder, |builder, (name, value)| builder.label(name, value))
}

/// A little earlier than `now`, because the clocks of others are not ours.
fn backdated(now: UnixTime) -> UnixTime {
    now.saturating_sub(CLOCK_SKEW)
}

/// How far the clocks of two machines may be apart without a new document being refused as not good yet.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Ten years: long enough to outlast the machines it signs for.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Letters of a user's and of a host's name that go into an identity's name.
const NAME_PART_CHARS_MAX: usize = 64;
