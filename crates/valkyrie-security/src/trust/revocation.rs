//! Revocations: what is not to be believed any more although its signatures and times are good.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;

use super::lines::{TrustFileError, TrustFileFault, entries, word};
use crate::identity::{
    Algorithm, Fingerprint, Signature, SignatureError, SigningError, SigningKey, SigningKeys,
};
use crate::provider::PublicKey;
use crate::time::UnixTime;
use crate::verified::Shown;

/// One thing that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Revocation {
    /// An identity with all its documents; an authority's with all that it signed.
    Identity(Fingerprint),
    /// The documents of this serial that an issuer signed.
    Document {
        /// Who signed them.
        issuer: Fingerprint,
        /// Their serial.
        serial: u64,
    },
    /// A static key, whoever's it is.
    StaticKey(PublicKey),
}

/// A list of revocations, signed by an authority or made by the operator of this side.
///
/// As text: the fields of an authority's list, then a line for each revocation, then its signatures.
///
/// ```text
/// valkyrie revocations 1
/// issuer FINGERPRINT
/// number 7
/// issued 2026-09-30T12:00:00Z
/// identity FINGERPRINT
/// document ISSUER-FINGERPRINT SERIAL
/// key 64-HEXADECIMAL-DIGITS
/// signature Ed25519 BASE64
/// signature ML-DSA-65 BASE64
/// ```
///
/// A signature covers `valkyrie 2 revocations`, a zero byte, and the text up to the first line of signatures. A list of
/// this side has neither the first four lines nor signatures.
//= protocol/trust-files.md#revocations
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationList {
    signed: Option<Signed>,
    entries: BTreeSet<Revocation>,
}

/// What an authority's list has more. The text is kept, because it is what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    issuer: Fingerprint,
    number: u64,
    issued: UnixTime,
    text: String,
    signatures: Vec<Signature>,
}

impl RevocationList {
    /// A list of this side, empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a revocation to a list of this side; a list that was signed loses its signatures and becomes one of this
    /// side.
    ///
    /// # Errors
    /// [`TrustFileFault::Full`]. The list is unchanged.
    pub fn add(&mut self, revocation: Revocation) -> Result<(), TrustFileFault> {
        if self.entries.len() >= REVOCATIONS_MAX && !self.entries.contains(&revocation) {
            return Err(TrustFileFault::Full(REVOCATIONS_MAX));
        }
        self.entries.insert(revocation);
        self.signed = None;
        Ok(())
    }

    /// The same revocations as a list of an authority. Lists of greater numbers replace those of lesser ones.
    ///
    /// # Errors
    /// [`SigningError`]: the system gave no randomness or no memory.
    pub fn sign(&self, issuer: &SigningKey, number: u64, issued: UnixTime) -> Result<Self, SigningError> {
        let issued = UnixTime::from_secs(issued.secs());
        let mut text = format!(
            "{HEADER}\nissuer {}\nnumber {number}\nissued {issued}\n",
            issuer.fingerprint()
        );
        for entry in &self.entries {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{entry}");
        }
        let signatures = issuer.sign(&signed_text(&text))?;
        Ok(Self {
            signed: Some(Signed {
                issuer: issuer.fingerprint(),
                number,
                issued,
                text,
                signatures,
            }),
            entries: self.entries.clone(),
        })
    }

    /// Reads the text of a file. Signatures are checked where the list is taken into use.
    ///
    /// # Errors
    /// [`TrustFileError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TrustFileError> {
        let mut list = Self::default();
        let mut fields = Fields::default();
        for (number, line) in entries(text) {
            list.line(&mut fields, line).map_err(TrustFileError::at(number))?;
        }
        list.signed = fields.finish(text)?;
        Ok(list)
    }

    fn line(&mut self, fields: &mut Fields, line: &str) -> Result<(), TrustFileFault> {
        let (what, rest) = word(line);
        // Signatures close the text: what came after them nobody would have signed.
        if !fields.signatures.is_empty() && what != "signature" {
            return Err(TrustFileFault::Form("signature ALGORITHM BASE64"));
        }
        match what {
            "valkyrie" if line == HEADER && !fields.header && self.entries.is_empty() => fields.header = true,
            "valkyrie" => return Err(TrustFileFault::Version),
            "issuer" | "number" | "issued" | "signature" if !fields.header => {
                return Err(TrustFileFault::Form(HEADER));
            }
            "issuer" if fields.issuer.is_none() => fields.issuer = Some(rest.parse()?),
            "number" if fields.number.is_none() => fields.number = Some(number(rest)?),
            "issued" if fields.issued.is_none() => fields.issued = Some(rest.parse()?),
            "signature" if fields.signatures.len() < Algorithm::ALL.len() => {
                fields.signatures.push(signature(rest)?)
            }
            _ => {
                let entry = revocation(what, rest)?;
                if self.entries.len() >= REVOCATIONS_MAX {
                    return Err(TrustFileFault::Full(REVOCATIONS_MAX));
                }
                self.entries.insert(entry);
            }
        }
        Ok(())
    }

    /// Who signed it; `None` for a list of this side.
    pub fn issuer(&self) -> Option<Fingerprint> {
        self.signed.as_ref().map(|signed| signed.issuer)
    }

    /// Which of its issuer's lists it is; 0 for a list of this side.
    pub fn number(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.number)
    }

    /// When it was signed.
    pub fn issued(&self) -> Option<UnixTime> {
        self.signed.as_ref().map(|signed| signed.issued)
    }

    /// What it revokes.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.entries.iter()
    }

    /// Checks that every key of `issuer` signed this list.
    ///
    /// # Errors
    /// [`RevocationError::Signature`]; for a list of this side too, which has none.
    pub fn verify_signatures(&self, issuer: &SigningKeys) -> Result<(), RevocationError> {
        let (text, signatures) = match &self.signed {
            Some(signed) => (signed.text.as_str(), signed.signatures.as_slice()),
            None => ("", [].as_slice()),
        };
        Ok(issuer.verify_all(&signed_text(text), signatures)?)
    }

    /// It revokes this document or a key of it that was proved.
    pub(super) fn revokes(&self, shown: &Shown, proved: &PublicKey) -> bool {
        // An authority speaks of what it signed and of nothing else.
        if self.issuer().is_some_and(|issuer| issuer != shown.issuer) {
            return false;
        }
        let by_document = Revocation::Document {
            issuer: shown.issuer,
            serial: shown.serial,
        };
        self.entries.contains(&Revocation::Identity(shown.fingerprint))
            || self.entries.contains(&Revocation::Identity(shown.issuer))
            || self.entries.contains(&by_document)
            || self.revokes_key(proved)
    }

    /// It revokes this static key.
    pub(super) fn revokes_key(&self, key: &PublicKey) -> bool {
        self.entries.contains(&Revocation::StaticKey(*key))
    }
}

/// The lines that are not revocations, as they come.
#[derive(Default)]
struct Fields {
    header: bool,
    issuer: Option<Fingerprint>,
    number: Option<u64>,
    issued: Option<UnixTime>,
    signatures: Vec<Signature>,
}

impl Fields {
    fn finish(self, text: &str) -> Result<Option<Signed>, TrustFileError> {
        if !self.header {
            return Ok(None);
        }
        let missing = || TrustFileFault::Form("issuer, number, issued, signature");
        let (Some(issuer), Some(number), Some(issued)) = (self.issuer, self.number, self.issued) else {
            return Err(TrustFileError::at(1)(missing()));
        };
        let mut signed_len = 0;
        for line in text.split_inclusive('\n') {
            if word(line.trim()).0 == "signature" {
                break;
            }
            signed_len += line.len();
        }
        if self.signatures.is_empty() {
            return Err(TrustFileError::at(1)(missing()));
        }
        Ok(Some(Signed {
            issuer,
            number,
            issued,
            text: text.get(..signed_len).unwrap_or_default().to_owned(),
            signatures: self.signatures,
        }))
    }
}

fn revocation(what: &str, rest: &str) -> Result<Revocation, TrustFileFault> {
    match what {
        "identity" => Ok(Revocation::Identity(rest.parse()?)),
        "document" => {
            let (issuer, serial) = word(rest);
            Ok(Revocation::Document {
                issuer: issuer.parse()?,
                serial: number(serial)?,
            })
        }
        "key" => Ok(Revocation::StaticKey(key(rest).ok_or(TrustFileFault::Key)?)),
        _ => Err(TrustFileFault::Form(
            "identity FINGERPRINT, document FINGERPRINT SERIAL or key HEXADECIMAL",
        )),
    }
}

fn number(text: &str) -> Result<u64, TrustFileFault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or(TrustFileFault::Form("a number"))
}

fn key(text: &str) -> Option<PublicKey> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(PublicKey::from(key))
}

fn signature(text: &str) -> Result<Signature, TrustFileFault> {
    let (name, encoded) = word(text);
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.to_string() == name);
    let algorithm = algorithm.ok_or(TrustFileFault::Signature)?;
    let bytes = STANDARD_NO_PAD
        .decode(encoded)
        .map_err(|_| TrustFileFault::Signature)?;
    Ok(Signature {
        algorithm,
        bytes: Bytes::from(bytes),
    })
}

fn signed_text(text: &str) -> Vec<u8> {
    [DOMAIN, text.as_bytes()].concat()
}

/// The line of a file.
impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(fingerprint) => write!(f, "identity {fingerprint}"),
            Self::Document { issuer, serial } => write!(f, "document {issuer} {serial}"),
            Self::StaticKey(key) => write!(f, "key {key}"),
        }
    }
}

/// The text of a file.
impl fmt::Display for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(signed) = &self.signed else {
            return self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"));
        };
        f.write_str(&signed.text)?;
        for Signature { algorithm, bytes } in &signed.signatures {
            writeln!(f, "signature {algorithm} {}", STANDARD_NO_PAD.encode(bytes))?;
        }
        Ok(())
    }
}

/// A list of revocations cannot be taken into use. The one that was held before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Nobody whom this side trusts.
    #[error("the list of revocations is by {0}, who is no authority here")]
    UnknownIssuer(Fingerprint),
    /// Not signed by whom it names.
    #[error("the list of revocations is not signed by its issuer: {0}")]
    Signature(#[from] SignatureError),
    /// An old one.
    #[error("the list of revocations is older than the one that is in use")]
    Older,
}

const HEADER: &str = "valkyrie revocations 1";
const DOMAIN: &[u8] = b"valkyrie 2 revocations\0";
/// Revocations of a list: far more than one operator has machines, and no more than ten megabytes of text.
const REVOCATIONS_MAX: usize = 65_536;
