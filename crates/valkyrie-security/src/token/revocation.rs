//! By what a token is revoked.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The signature of one block of a token. Revoking it revokes the token that ends with the block and whatever was made
/// from that. Written in hexadecimal, 128 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RevocationId([u8; 64]);

impl RevocationId {
    /// The one with these bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// The text is not what a token is revoked by. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a token is revoked by 128 hexadecimal digits")]
pub struct RevocationIdError;

impl FromStr for RevocationId {
    type Err = RevocationIdError;

    fn from_str(text: &str) -> Result<Self, RevocationIdError> {
        super::unhex(text).map(Self).ok_or(RevocationIdError)
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::hex(&self.0))
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
