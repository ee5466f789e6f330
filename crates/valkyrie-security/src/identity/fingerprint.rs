//! The name of an identity that cannot be chosen: a hash of its signing keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::SigningKeys;

/// SHA-256 over the signing keys of an identity, shown as `SHA256:` and base64 without padding.
//= protocol/security.md#identity-documents
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn of(keys: &SigningKeys) -> Self {
        let mut context = digest::Context::new(&SHA256);
        context.update(DOMAIN);
        for (algorithm, key) in keys.iter() {
            context.update(&[algorithm.purpose()]);
            // A key has the length of its algorithm, 1,952 at most.
            context.update(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
            context.update(key);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a fingerprint: `SHA256:` and 43 characters of base64")]
pub struct FingerprintFormatError;

/// Reads exactly what `Display` writes.
impl FromStr for Fingerprint {
    type Err = FingerprintFormatError;

    fn from_str(text: &str) -> Result<Self, FingerprintFormatError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(FingerprintFormatError)?;
        if encoded.len() != ENCODED_LEN {
            return Err(FingerprintFormatError);
        }
        let bytes = STANDARD_NO_PAD
            .decode(encoded)
            .map_err(|_| FingerprintFormatError)?;
        Ok(Self(bytes.try_into().map_err(|_| FingerprintFormatError)?))
    }
}

const PREFIX: &str = "SHA256:";
/// 32 bytes at six bits a character.
const ENCODED_LEN: usize = 43;
const DOMAIN: &[u8] = b"valkyrie 2 fingerprint\0";
