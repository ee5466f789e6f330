//! What a handshake leaves behind.

use std::fmt;

use super::vault::Secret;
use crate::Role;
use crate::channel::KeySchedule;
use crate::provider::{PublicKey, SECRET_BYTES};
use crate::suite::Suite;

/// A handshake that came to its end: both sides hold the same keys, and each has proved its static key to the other.
///
/// Whose key that is, and whether to trust it, is for what comes after.
pub struct Finished {
    pub(super) suite: &'static Suite,
    pub(super) role: Role,
    pub(super) peer: PublicKey,
    pub(super) hash: [u8; 32],
    /// The keys of Noise's Split(), initiator's first.
    pub(super) k1: Secret,
    pub(super) k2: Secret,
}

impl Finished {
    /// The suite that was run.
    pub fn suite(&self) -> &'static Suite {
        self.suite
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The static key that the peer proved to hold.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The handshake hash `h`: the same at both ends, and at the ends of no other handshake. It is no secret.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The keys of the channel, and what else is derived from this handshake.
    pub fn schedule(&self) -> KeySchedule {
        let (k1, k2) = self.keys();
        KeySchedule::new(&self.hash, k1, k2, self.suite.cipher, self.role)
    }

    /// The keys `k1` and `k2` of Split().
    pub(crate) fn keys(&self) -> (&[u8; SECRET_BYTES], &[u8; SECRET_BYTES]) {
        (&self.k1, &self.k2)
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("suite", &self.suite.id)
            .field("role", &self.role)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
