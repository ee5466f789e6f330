//! One's own identity: the keys that are proved, the keys that sign, and the document that names both.

use std::fmt;
use std::time::Duration;

use super::{
    BuildError, DocumentBuilder, DocumentError, Fingerprint, IdentityDocument, Kind, SignatureError,
    SigningKey,
};
use crate::provider::{KeyError, StaticKey};
#[cfg(feature = "spiffe")]
use crate::spiffe::X509Svid;
use crate::time::UnixTime;

/// Who this side is. Immutable; a rotated identity is a new one.
pub struct Identity {
    current: StaticKey,
    /// The current key first, then those that peers may still know us by. Clones share one copy of a key.
    static_keys: Vec<StaticKey>,
    /// Kept elsewhere by those who sign on another machine.
    signing: Option<SigningKey>,
    shows: Shows,
}

/// By what it says who it is.
enum Shows {
    /// It does not: it is nobody in particular.
    Nothing,
    Document(Box<IdentityDocument>),
    #[cfg(feature = "spiffe")]
    Svid(Box<X509Svid>),
}

impl Identity {
    /// A new self-signed identity with an Ed25519 and an ML-DSA-65 key, good for [`Identity::LIFETIME`] from `now`.
    ///
    /// # Errors
    /// [`IdentityError`]: the name cannot be one, or the system gave no randomness or no memory.
    pub fn generate(name: &str, now: UnixTime) -> Result<Self, IdentityError> {
        Self::self_signed(name, now, StaticKey::generate()?, SigningKey::generate()?)
    }

    /// An identity of these keys, signed by itself, good for [`Identity::LIFETIME`] from `now`.
    ///
    /// # Errors
    /// As [`Identity::generate`].
    pub fn self_signed(
        name: &str,
        now: UnixTime,
        static_key: StaticKey,
        signing: SigningKey,
    ) -> Result<Self, IdentityError> {
        let builder = DocumentBuilder::node(name, &[static_key.public()]);
        let signed = builder
            .valid(now, now.saturating_add(Self::LIFETIME))
            .sign(&signing)?;
        Self::new(vec![static_key], Some(signing), signed.document()?)
    }

    /// Nobody in particular: a fresh static key and no document. For callers who have a token instead.
    ///
    /// # Errors
    /// The system gave no randomness or no memory.
    pub fn anonymous() -> Result<Self, IdentityError> {
        let current = StaticKey::generate()?;
        Ok(Self {
            static_keys: vec![current.clone()],
            current,
            signing: None,
            shows: Shows::Nothing,
        })
    }

    /// The workload that an X.509-SVID names. Whoever renews the SVID passes the same static key, so that peers that know
    /// it go on knowing it.
    #[cfg(feature = "spiffe")]
    pub fn of_svid(static_key: StaticKey, svid: X509Svid) -> Self {
        Self {
            static_keys: vec![static_key.clone()],
            current: static_key,
            signing: None,
            shows: Shows::Svid(Box::new(svid)),
        }
    }

    /// The X.509-SVID that it is.
    #[cfg(feature = "spiffe")]
    pub fn svid(&self) -> Option<&X509Svid> {
        match &self.shows {
            Shows::Svid(svid) => Some(svid),
            _ => None,
        }
    }

    /// An identity of stored parts: the static keys that are accepted, current first, the signing key if it is kept here,
    /// and the document.
    ///
    /// # Errors
    /// [`IdentityError`]: the parts do not belong together.
    pub fn new(
        static_keys: Vec<StaticKey>,
        signing: Option<SigningKey>,
        document: IdentityDocument,
    ) -> Result<Self, IdentityError> {
        if document.kind() != Kind::Node {
            return Err(IdentityError::NotANode);
        }
        let named = |key: &StaticKey| document.static_keys().contains(&key.public());
        let current = static_keys.first().cloned().ok_or(IdentityError::StaticKeys)?;
        if !static_keys.iter().all(named) {
            return Err(IdentityError::StaticKeys);
        }
        if signing
            .as_ref()
            .is_some_and(|key| key.fingerprint() != document.fingerprint())
        {
            return Err(IdentityError::SigningKey);
        }
        if document.is_self_signed() {
            document.verify_signatures(document.signing_keys())?;
        }
        Ok(Self {
            current,
            static_keys,
            signing,
            shows: Shows::Document(Box::new(document)),
        })
    }

    /// The key to prove from now on.
    pub fn static_key(&self) -> StaticKey {
        self.current.clone()
    }

    /// The keys that peers may know this side by, the current one first.
    pub fn static_keys(&self) -> &[StaticKey] {
        &self.static_keys
    }

    /// The keys that sign for it, if they are here.
    pub fn signing_key(&self) -> Option<&SigningKey> {
        self.signing.as_ref()
    }

    /// The document, if that is by what it says who it is.
    pub fn document(&self) -> Option<&IdentityDocument> {
        match &self.shows {
            Shows::Document(document) => Some(document),
            _ => None,
        }
    }

    /// The fingerprint of the document's identity.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.document().map(IdentityDocument::fingerprint)
    }

    /// What it shows counts only with a proof, whether or not one is asked for: a certificate does not name the static
    /// key.
    pub(crate) fn must_prove(&self) -> bool {
        match &self.shows {
            Shows::Nothing | Shows::Document(_) => false,
            #[cfg(feature = "spiffe")]
            Shows::Svid(_) => true,
        }
    }

    /// What the next document of this identity says if nothing else changes: the serial is one greater and the lifetime
    /// begins at `now`. `None` without a document.
    pub fn next_document(&self, now: UnixTime) -> Option<DocumentBuilder> {
        let document = self.document()?;
        let builder = DocumentBuilder::from_document(document).serial(document.serial().saturating_add(1));
        Some(builder.valid(now, now.saturating_add(Self::LIFETIME)))
    }

    /// How long a document is good that signs itself: a year, so that a machine that is switched on now and then keeps its
    /// identity. What an authority signs should be shorter.
    pub const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.document().map(IdentityDocument::name))
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The parts make no identity. There is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// An authority's document.
    #[error("the document is an authority's; a connection needs a node's")]
    NotANode,
    /// A static key is missing.
    #[error("there is no static key, or one that the document does not name")]
    StaticKeys,
    /// Another identity's key.
    #[error("the signing key is another identity's than the document's")]
    SigningKey,
    /// The document is not what it was when it was signed.
    #[error("the document's own signature does not verify: {0}")]
    Signature(#[from] SignatureError),
    /// The document cannot be read.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// The document cannot be made.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// This machine is at fault.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// This machine is at fault.
    #[error("{0}")]
    Signing(#[from] super::SigningError),
}
