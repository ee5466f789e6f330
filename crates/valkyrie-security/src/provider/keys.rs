//! X25519 keys: the static key by which a peer is known, and its public half.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use zeroize::Zeroizing;

use super::SECRET_BYTES;

/// An X25519 private key. Cloning shares the one copy of it, which is wiped when the last clone is dropped.
#[derive(Clone)]
pub struct StaticKey {
    private: Arc<PrivateKey>,
    public: PublicKey,
}

impl StaticKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// The system gave no randomness or no memory.
    pub fn generate() -> Result<Self, KeyError> {
        PrivateKey::generate(&X25519)
            .map_err(|_| KeyError::System)
            .and_then(Self::new)
    }

    /// The key with these bytes; any 32 bytes are a key. The caller wipes its own copy.
    ///
    /// # Errors
    /// The system gave no memory.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        PrivateKey::from_private_key(&X25519, bytes)
            .map_err(|_| KeyError::System)
            .and_then(Self::new)
    }

    fn new(private: PrivateKey) -> Result<Self, KeyError> {
        let public = private.compute_public_key().map_err(|_| KeyError::System)?;
        let public = public.as_ref().try_into().map_err(|_| KeyError::System)?;
        Ok(Self {
            private: Arc::new(private),
            public: PublicKey(public),
        })
    }

    /// The private bytes, for whoever stores them.
    ///
    /// # Errors
    /// The system gave no memory.
    pub fn to_bytes(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
        let seed: Curve25519SeedBin<'_> = self.private.as_be_bytes().map_err(|_| KeyError::System)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if seed.as_ref().len() != bytes.len() {
            return Err(KeyError::System);
        }
        bytes.copy_from_slice(seed.as_ref());
        Ok(bytes)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The X25519 of this key and a peer's, or an error where that is the same for every private key.
    //= protocol/security.md#suites
    pub(crate) fn agree(&self, peer: &[u8], secret: &mut [u8; SECRET_BYTES]) -> Result<(), KeyError> {
        agreement::agree(
            &self.private,
            UnparsedPublicKey::new(&X25519, peer),
            KeyError::Peer,
            |shared| {
                if shared.len() != secret.len() {
                    return Err(KeyError::Peer);
                }
                secret.copy_from_slice(shared);
                Ok(())
            },
        )
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticKey(private half of {}, ..)", self.public)
    }
}

/// An X25519 public key: what a peer proves to hold the private half of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// The key with these bytes. Whether they are a usable key shows when a handshake is run with it.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The bytes, by value.
    pub const fn to_bytes(self) -> [u8; KEY_BYTES] {
        self.0
    }
}

impl From<[u8; KEY_BYTES]> for PublicKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Why a key could not be made, stored or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// This machine is at fault.
    #[error("this machine gave no randomness or no memory for a key; there is no key")]
    System,
    /// The peer is at fault.
    #[error("the peer's public key is one that agrees on the same secret with every key; it is refused")]
    Peer,
}

/// Bytes of an X25519 key, private or public.
pub const KEY_BYTES: usize = 32;
