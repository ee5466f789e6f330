//! A document that says who somebody is, read as strictly as it was written: one identity has one encoding.

use bytes::Bytes;

use super::wire::{Reader, Short};
use super::{
    Algorithm, DOCUMENT_BYTES_MAX, Fingerprint, LABEL_VALUE_BYTES_MAX, LABELS_MAX, ROLES_MAX,
    STATIC_KEYS_MAX, Signature, SignatureError, SigningKeys, is_name, is_word,
};
use crate::provider::PublicKey;
use crate::time::UnixTime;

/// What a document is for.
//= protocol/security.md#identity-documents
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody who holds connections.
    Node,
    /// Somebody who signs the documents of nodes and is never at the end of a connection.
    Authority,
}

impl Kind {
    pub(super) const fn wire(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Authority => 2,
        }
    }
}

/// A document that obeys every rule of form. Its signatures have not been checked, see
/// [`IdentityDocument::verify_signatures`]; what it says is what somebody claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityDocument {
    bytes: Bytes,
    signed_len: usize,
    kind: Kind,
    serial: u64,
    not_before: UnixTime,
    not_after: UnixTime,
    name: String,
    roles: Vec<String>,
    labels: Vec<(String, String)>,
    static_keys: Vec<PublicKey>,
    signing_keys: SigningKeys,
    fingerprint: Fingerprint,
    issuer: Fingerprint,
    signatures: Vec<Signature>,
}

impl IdentityDocument {
    /// Reads a document with its signatures. Nothing is allocated because a field announces it.
    ///
    /// # Errors
    /// [`DocumentError`]: whoever wrote the document is at fault.
    //= protocol/security.md#identity-documents
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(DocumentError::Version(other)),
        }
        let kind = match reader.u8()? {
            1 => Kind::Node,
            2 => Kind::Authority,
            other => return Err(DocumentError::Kind(other)),
        };
        let serial = reader.u64()?;
        let (not_before, not_after) = (reader.u64()?, reader.u64()?);
        if not_before >= not_after || not_after > LATEST_SECS {
            return Err(DocumentError::Lifetime);
        }
        let name = text(reader.short()?)
            .filter(|name| is_name(name))
            .ok_or(DocumentError::Text("name"))?;
        let roles = roles(&mut reader)?;
        let labels = labels(&mut reader)?;
        let (static_keys, signing_keys) = keys(&mut reader, kind)?;
        let issuer = Fingerprint::from_bytes(reader.array()?);
        let signed_len = bytes.len() - reader.left();
        let signatures = signatures(&mut reader)?;
        if reader.left() > 0 {
            return Err(DocumentError::Trailing(reader.left()));
        }
        Ok(Self {
            bytes: Bytes::copy_from_slice(bytes),
            signed_len,
            kind,
            serial,
            not_before: UnixTime::from_secs(not_before),
            not_after: UnixTime::from_secs(not_after),
            name: name.to_owned(),
            roles,
            labels,
            static_keys,
            fingerprint: signing_keys.fingerprint(),
            signing_keys,
            issuer,
            signatures,
        })
    }

    /// The bytes that it was read from.
    pub fn encode(&self) -> &Bytes {
        &self.bytes
    }

    /// Node or authority.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Greater in later documents of one identity.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The document is good from here on.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The document is good before this.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The name that the identity has or claims.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The roles that it has or claims, ascending.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Names and values, ascending by name.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The static keys that it may prove in a handshake, the one to dial with first.
    pub fn static_keys(&self) -> &[PublicKey] {
        &self.static_keys
    }

    /// The keys that sign for it.
    pub fn signing_keys(&self) -> &SigningKeys {
        &self.signing_keys
    }

    /// The fingerprint of the identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The fingerprint of whoever signed it.
    pub fn issuer(&self) -> Fingerprint {
        self.issuer
    }

    /// It is signed with its own keys: it proves possession and nothing more.
    pub fn is_self_signed(&self) -> bool {
        self.issuer == self.fingerprint
    }

    /// Checks that every key of `issuer`, and nobody else, signed this document.
    ///
    /// # Errors
    /// [`SignatureError`]: `issuer` did not sign this.
    //= protocol/security.md#identity-documents
    pub fn verify_signatures(&self, issuer: &SigningKeys) -> Result<(), SignatureError> {
        // Splitting where the parser split cannot fail.
        let signed = self.bytes.get(..self.signed_len).unwrap_or_default();
        issuer.verify_all(&signed_text(signed), &self.signatures)
    }
}

/// What is signed of a document.
pub(super) fn signed_text(document: &[u8]) -> Vec<u8> {
    [DOMAIN, document].concat()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn roles(reader: &mut Reader<'_>) -> Result<Vec<String>, DocumentError> {
    let mut roles: Vec<String> = Vec::new();
    for _ in 0..count(reader, 0, ROLES_MAX, "roles")? {
        let role = text(reader.short()?)
            .filter(|role| is_word(role))
            .ok_or(DocumentError::Text("role"))?;
        if roles.last().is_some_and(|last| last.as_str() >= role) {
            return Err(DocumentError::Order("roles"));
        }
        roles.push(role.to_owned());
    }
    Ok(roles)
}

fn labels(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, DocumentError> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for _ in 0..count(reader, 0, LABELS_MAX, "labels")? {
        let name = text(reader.short()?)
            .filter(|name| is_word(name))
            .ok_or(DocumentError::Text("label"))?;
        if labels.last().is_some_and(|(last, _)| last.as_str() >= name) {
            return Err(DocumentError::Order("labels"));
        }
        let value = text(reader.short()?)
            .filter(|value| is_label_value(value))
            .ok_or(DocumentError::Text("label"))?;
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

/// What the value of a label may be.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || (value.len() <= LABEL_VALUE_BYTES_MAX && is_name(value))
}

fn keys(reader: &mut Reader<'_>, kind: Kind) -> Result<(Vec<PublicKey>, SigningKeys), DocumentError> {
    let mut static_keys = Vec::new();
    let (mut ed25519, mut ml_dsa_65) = (None, None);
    let mut last = None;
    for _ in 0..count(reader, 1, KEYS_MAX, "keys")? {
        let (purpose, key) = (reader.u8()?, reader.long()?);
        let again = last == Some(purpose) && purpose != STATIC_PURPOSE;
        if again || last > Some(purpose) {
            return Err(DocumentError::Order("keys"));
        }
        last = Some(purpose);
        let wrong = DocumentError::Key(purpose);
        match purpose {
            STATIC_PURPOSE => {
                let key = PublicKey::from(<[u8; 32]>::try_from(key).map_err(|_| wrong)?);
                if static_keys.contains(&key) {
                    return Err(DocumentError::Order("keys"));
                }
                static_keys.push(key);
            }
            ED25519_PURPOSE => ed25519 = Some(key.try_into().map_err(|_| wrong)?),
            ML_DSA_65_PURPOSE if key.len() == Algorithm::MlDsa65.key_len() => ml_dsa_65 = Some(key),
            _ => return Err(wrong),
        }
    }
    let fits = match kind {
        Kind::Node => (1..=STATIC_KEYS_MAX).contains(&static_keys.len()),
        Kind::Authority => static_keys.is_empty(),
    };
    if !fits {
        return Err(DocumentError::StaticKeys);
    }
    let signing_keys = SigningKeys::new(ed25519, ml_dsa_65).ok_or(DocumentError::NoSigningKey)?;
    Ok((static_keys, signing_keys))
}

fn signatures(reader: &mut Reader<'_>) -> Result<Vec<Signature>, DocumentError> {
    let mut signatures: Vec<Signature> = Vec::new();
    for _ in 0..count(reader, 1, Algorithm::ALL.len(), "signatures")? {
        let (number, bytes) = (reader.u8()?, reader.long()?);
        let algorithm = Algorithm::from_wire(number).ok_or(DocumentError::Signature(number))?;
        if bytes.len() != algorithm.signature_len() {
            return Err(DocumentError::Signature(number));
        }
        if signatures.last().is_some_and(|last| last.algorithm >= algorithm) {
            return Err(DocumentError::Order("signatures"));
        }
        let bytes = Bytes::copy_from_slice(bytes);
        signatures.push(Signature { algorithm, bytes });
    }
    Ok(signatures)
}

fn count(
    reader: &mut Reader<'_>,
    min: usize,
    max: usize,
    what: &'static str,
) -> Result<usize, DocumentError> {
    let count = usize::from(reader.u8()?);
    if (min..=max).contains(&count) {
        Ok(count)
    } else {
        Err(DocumentError::Count(what, count))
    }
}

/// The document breaks a rule of form. Whoever wrote it is at fault; nothing of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// More bytes than a document can have.
    #[error("the identity document has {0} bytes, more than the {DOCUMENT_BYTES_MAX} that one can have")]
    TooLong(usize),
    /// It ends inside a field.
    #[error("the identity document ends too early")]
    Truncated,
    /// Something follows the last signature.
    #[error("{0} bytes follow the last signature of the identity document")]
    Trailing(usize),
    /// Another version.
    #[error("the identity document is of version {0}, of which this side knows nothing")]
    Version(u8),
    /// Neither node nor authority.
    #[error("the identity document is of kind {0}, of which this side knows nothing")]
    Kind(u8),
    /// It ends before it begins, or later than any calendar goes.
    #[error("the identity document is good at no time at all, or until after the year 9999")]
    Lifetime,
    /// A text is too short, too long, not UTF-8 or of characters that it may not have.
    #[error("a {0} of the identity document is not what one may be")]
    Text(&'static str),
    /// Too many of a thing, or too few.
    #[error("the identity document has {1} {0}")]
    Count(&'static str, usize),
    /// Out of order, or one is there twice.
    #[error("the {0} of the identity document are not in order, or one is there twice")]
    Order(&'static str),
    /// A key of an unknown purpose or the wrong length.
    #[error("a key of the identity document, purpose {0}, is of no known purpose or of the wrong length")]
    Key(u8),
    /// A node without a static key or with too many, or an authority with one.
    #[error(
        "the identity document has static keys where none may be, or none where one must be, or too many"
    )]
    StaticKeys,
    /// Nothing to sign with.
    #[error("the identity document names no signing key")]
    NoSigningKey,
    /// A signature of an unknown algorithm or the wrong length.
    #[error(
        "a signature of the identity document, algorithm {0}, is of no known algorithm or of the wrong length"
    )]
    Signature(u8),
}

impl From<Short> for DocumentError {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

pub(super) const VERSION: u8 = 1;
pub(super) const STATIC_PURPOSE: u8 = 1;
const ED25519_PURPOSE: u8 = Algorithm::Ed25519.purpose();
const ML_DSA_65_PURPOSE: u8 = Algorithm::MlDsa65.purpose();
/// Keys of a document, as the wire bounds them; six is the most that fits the purposes of this version.
const KEYS_MAX: usize = 8;
/// The last second of the year 9999, beyond which no date is written and no document is good.
const LATEST_SECS: u64 = 253_402_300_799;
const DOMAIN: &[u8] = b"valkyrie 2 identity\0";
