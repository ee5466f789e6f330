//! Where the secrets of a running handshake are, so that they are not in `snow`'s memory.
//!
//! `snow` keeps the chaining key, pre-shared keys and every shared secret in plain arrays, on its stack and in its state, and
//! never wipes them; what the final chaining key is known to, knows the keys of the whole connection. Here the primitives that
//! `snow` calls leave each secret in a vault and give it zeros to carry: the key agreement puts its result here, the key
//! derivation takes it from here and puts the next chaining key and cipher key here, the cipher takes its key
//! from here. `snow` still decides which of them is called when, and sees all that is public. The vault is wiped
//! when the last primitive that shares it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::provider::{HASH_BYTES_MAX, SECRET_BYTES};

/// A secret on its way, wiped wherever it ends.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// A handle to the secrets of one handshake.
#[derive(Clone, Default)]
pub(super) struct Vault(Arc<Mutex<Secrets>>);

/// The secrets and what went wrong where `snow` takes no error.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secrets {
    /// The chaining key; its slot is empty until the first derivation, whose chaining key is the hash of the protocol's name.
    pub(super) chain: Slot<HASH_BYTES_MAX>,
    /// What the next derivation mixes in.
    pub(super) input: Slot<SECRET_BYTES>,
    /// The pre-shared key, mixed in by the one derivation with three outputs.
    pub(super) psk: Slot<SECRET_BYTES>,
    /// The key that the cipher is about to take.
    pub(super) key: Slot<SECRET_BYTES>,
    /// The initiator's key at the end. Both appear when the last message is through, not before.
    pub(super) k1: Slot<SECRET_BYTES>,
    /// The responder's key at the end.
    pub(super) k2: Slot<SECRET_BYTES>,
    /// A primitive failed that cannot say so; nothing that it wrote may leave.
    pub(super) failed: bool,
}

/// Room for one secret, in place: it is overwritten by the next and wiped when it is taken.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Slot<const N: usize> {
    bytes: [u8; N],
    full: bool,
}

impl Vault {
    pub(super) fn open(&self) -> MutexGuard<'_, Secrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> Slot<N> {
    pub(super) fn put(&mut self, secret: &[u8; N]) {
        self.bytes.copy_from_slice(secret);
        self.full = true;
    }

    pub(super) fn copy(&self) -> Option<Zeroizing<[u8; N]>> {
        self.full.then(|| Zeroizing::new(self.bytes))
    }

    pub(super) fn take(&mut self) -> Option<Zeroizing<[u8; N]>> {
        let copy = self.copy();
        self.zeroize();
        copy
    }
}

impl<const N: usize> Default for Slot<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            full: false,
        }
    }
}
