//! Writing a document and having it signed.

use bytes::Bytes;

use super::document::{STATIC_PURPOSE, VERSION, is_label_value, signed_text};
use super::{
    DocumentError, IdentityDocument, Kind, LABELS_MAX, ROLES_MAX, STATIC_KEYS_MAX, SigningError, SigningKey,
    SigningKeys, is_name, is_word,
};
use crate::provider::PublicKey;
use crate::time::UnixTime;

/// The bytes of a document with its signatures, as they travel and lie in files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedIdentity(Bytes);

impl SignedIdentity {
    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The document in them.
    ///
    /// # Errors
    /// Never, for what a builder made.
    pub fn document(&self) -> Result<IdentityDocument, DocumentError> {
        IdentityDocument::parse(&self.0)
    }
}

/// Gathers what a document says. Order does not matter: what must be sorted is sorted.
#[derive(Clone, Debug)]
pub struct DocumentBuilder {
    kind: Kind,
    serial: u64,
    not_before: UnixTime,
    not_after: UnixTime,
    name: String,
    roles: Vec<String>,
    labels: Vec<(String, String)>,
    static_keys: Vec<PublicKey>,
    signing_keys: Option<SigningKeys>,
}

impl DocumentBuilder {
    /// A document for a node, with the static key to dial with first. Serial 1.
    pub fn node(name: &str, static_keys: &[PublicKey]) -> Self {
        Self::new(Kind::Node, name, static_keys)
    }

    /// A document for an authority. Serial 1.
    pub fn authority(name: &str) -> Self {
        Self::new(Kind::Authority, name, &[])
    }

    fn new(kind: Kind, name: &str, static_keys: &[PublicKey]) -> Self {
        Self {
            kind,
            serial: 1,
            not_before: UnixTime::EPOCH,
            not_after: UnixTime::EPOCH,
            name: name.to_owned(),
            roles: Vec::new(),
            labels: Vec::new(),
            static_keys: static_keys.to_vec(),
            signing_keys: None,
        }
    }

    /// What another document says, to be changed and signed anew.
    pub fn from_document(document: &IdentityDocument) -> Self {
        Self {
            kind: document.kind(),
            serial: document.serial(),
            not_before: document.not_before(),
            not_after: document.not_after(),
            name: document.name().to_owned(),
            roles: document.roles().to_vec(),
            labels: document.labels().to_vec(),
            static_keys: document.static_keys().to_vec(),
            signing_keys: Some(document.signing_keys().clone()),
        }
    }

    /// Good from `not_before` until `not_after`, both cut to whole seconds.
    #[must_use]
    pub fn valid(mut self, not_before: UnixTime, not_after: UnixTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    /// With this serial.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// With this role as well.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.to_owned());
        self
    }

    /// With these roles and no other.
    #[must_use]
    pub fn roles(mut self, roles: &[String]) -> Self {
        self.roles = roles.to_vec();
        self
    }

    /// With this label as well.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these static keys and no other, the one to dial with first.
    #[must_use]
    pub fn static_keys(mut self, static_keys: &[PublicKey]) -> Self {
        self.static_keys = static_keys.to_vec();
        self
    }

    /// For the identity with these keys. Without it, for the one that signs.
    #[must_use]
    pub fn signing_keys(mut self, keys: &SigningKeys) -> Self {
        self.signing_keys = Some(keys.clone());
        self
    }

    /// Signs it with every key of `issuer`.
    ///
    /// # Errors
    /// [`BuildError`]: what was gathered makes no document, or signing failed.
    pub fn sign(&self, issuer: &SigningKey) -> Result<SignedIdentity, BuildError> {
        let mut bytes = self.encode(issuer)?;
        let signatures = issuer.sign(&signed_text(&bytes))?;
        // One or two, each as long as its algorithm says.
        bytes.push(u8::try_from(signatures.len()).unwrap_or(u8::MAX));
        for signature in &signatures {
            bytes.push(signature.algorithm.wire());
            put_long(&mut bytes, &signature.bytes);
        }
        // The parser has the last word on what a document is, so that nobody is handed one that a peer refuses.
        IdentityDocument::parse(&bytes)?;
        Ok(SignedIdentity(bytes.into()))
    }

    /// The document up to its signatures.
    fn encode(&self, issuer: &SigningKey) -> Result<Vec<u8>, BuildError> {
        let (roles, labels) = (self.sorted_roles()?, self.sorted_labels()?);
        if !is_name(&self.name) {
            return Err(BuildError::Name);
        }
        if self.static_keys.len() > STATIC_KEYS_MAX {
            return Err(DocumentError::StaticKeys.into());
        }
        let signing_keys = self.signing_keys.as_ref().unwrap_or(issuer.public());
        let mut out = vec![VERSION, self.kind.wire()];
        out.extend(self.serial.to_be_bytes());
        out.extend(self.not_before.secs().to_be_bytes());
        out.extend(self.not_after.secs().to_be_bytes());
        put_short(&mut out, &self.name);
        put_count(&mut out, roles.len());
        roles.iter().for_each(|role| put_short(&mut out, role));
        put_count(&mut out, labels.len());
        for (name, value) in labels {
            put_short(&mut out, name);
            put_short(&mut out, value);
        }
        put_count(&mut out, self.static_keys.len() + signing_keys.iter().count());
        for key in &self.static_keys {
            out.push(STATIC_PURPOSE);
            put_long(&mut out, key.as_bytes());
        }
        for (algorithm, key) in signing_keys.iter() {
            out.push(algorithm.purpose());
            put_long(&mut out, key);
        }
        out.extend(issuer.fingerprint().as_bytes());
        Ok(out)
    }

    fn sorted_roles(&self) -> Result<Vec<&String>, BuildError> {
        if let Some(role) = self.roles.iter().find(|role| !is_word(role)) {
            return Err(BuildError::Word(role.clone()));
        }
        let mut roles: Vec<_> = self.roles.iter().collect();
        roles.sort();
        roles.dedup();
        if roles.len() > ROLES_MAX {
            return Err(DocumentError::Count("roles", roles.len()).into());
        }
        Ok(roles)
    }

    fn sorted_labels(&self) -> Result<Vec<&(String, String)>, BuildError> {
        let wrong = |(name, value): &&(String, String)| !is_word(name) || !is_label_value(value);
        if let Some((name, _)) = self.labels.iter().find(wrong) {
            return Err(BuildError::Word(name.clone()));
        }
        let mut labels: Vec<_> = self.labels.iter().collect();
        labels.sort();
        if labels.len() > LABELS_MAX {
            return Err(DocumentError::Count("labels", labels.len()).into());
        }
        Ok(labels)
    }
}

/// No document was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The caller's name cannot be one.
    #[error("a name has 1 to 200 bytes, no control characters and no space at either end")]
    Name,
    /// The caller's role or label cannot be one.
    #[error(
        "`{0}` cannot be a role or a label: 1 to 64 of ASCII letters, digits and -._:/, and a value as a name is"
    )]
    Word(String),
    /// What the caller gathered makes no document.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// This machine is at fault.
    #[error("{0}")]
    Signing(#[from] SigningError),
}

// Lengths and counts were checked by whoever calls these; where a check is ever forgotten, the parser finds it.

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.push(u8::try_from(count).unwrap_or(u8::MAX));
}

fn put_short(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}
