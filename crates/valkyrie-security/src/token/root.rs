//! The key that signs tokens: its public half, as policies write it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What stands before the key.
const ALGORITHM: &str = "ed25519/";

/// The public half of the Ed25519 key that signs tokens. Written `ed25519/` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenRoot([u8; 32]);

impl TokenRoot {
    /// The key of these bytes. Whether they are a point of the curve shows when a token is verified with it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is no root key. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a root key of tokens is written `ed25519/` and 64 hexadecimal digits")]
pub struct TokenRootError;

impl FromStr for TokenRoot {
    type Err = TokenRootError;

    fn from_str(text: &str) -> Result<Self, TokenRootError> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(TokenRootError)?;
        super::unhex(digits).map(Self).ok_or(TokenRootError)
    }
}

impl fmt::Display for TokenRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", super::hex(&self.0))
    }
}

impl fmt::Debug for TokenRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_key_survives_being_written() {
        let root = TokenRoot::from_bytes(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(root.to_string().parse(), Ok(root));
        for wrong in [
            "",
            "ed25519/",
            "ed25519/00",
            &format!("{root}0"),
            &root.to_string().replace("ed", "rsa"),
        ] {
            assert_eq!(wrong.parse::<TokenRoot>(), Err(TokenRootError), "{wrong}");
        }
    }
}
