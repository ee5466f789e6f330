//! One handshake between its messages: `snow` driven with exact buffers, and its errors told apart.

use snow::{Builder, HandshakeState};

use super::resolver::{Resolver, params};
use super::size::{TAG_BYTES, message_bytes};
use super::vault::{Secret, Vault};
use super::{Finished, NoiseError};
use crate::Role;
use crate::provider::{KEY_BYTES, Providers, PublicKey, StaticKey};
use crate::suite::{Pattern, Suite};

/// What both sides begin a handshake with.
pub(super) struct Start<'a> {
    pub(super) suite: &'static Suite,
    pub(super) providers: &'a Providers,
    pub(super) key: &'a StaticKey,
    /// The acceptor's static key, where it is known.
    pub(super) peer: Option<&'a PublicKey>,
    pub(super) psk: Option<&'a [u8; 32]>,
    pub(super) prologue: &'a [u8],
}

/// A handshake that is not finished.
pub(super) struct State {
    /// On the heap, so that a phase that is moved leaves no copy of it behind.
    snow: Box<HandshakeState>,
    vault: Vault,
    suite: &'static Suite,
    role: Role,
    /// The message that comes next, from 1.
    step: u8,
}

impl State {
    pub(super) fn new(start: &Start<'_>, role: Role) -> Result<Self, NoiseError> {
        let vault = Vault::default();
        let resolver = Resolver::new(start.suite, start.providers, &vault, start.key)?;
        Self::with(start, role, vault, resolver)
    }

    /// A handshake with the primitives of `resolver`.
    pub(super) fn with(
        start: &Start<'_>,
        role: Role,
        vault: Vault,
        resolver: Resolver,
    ) -> Result<Self, NoiseError> {
        let suite = start.suite;
        // snow would leave out a key that its pattern has no place for, and connect two sides with different ones.
        let needs_psk = suite.pattern == Pattern::IkPsk0;
        match (needs_psk, start.psk) {
            (true, Some(psk)) => vault.open().psk.put(psk),
            (true, None) => return Err(NoiseError::PskMissing { suite: suite.id }),
            (false, Some(_)) => return Err(NoiseError::PskUnused { suite: suite.id }),
            (false, None) => {}
        }
        let needs_peer = role == Role::Dialler && suite.pattern.needs_peer_key();
        if needs_peer && start.peer.is_none() {
            return Err(NoiseError::PeerKeyMissing { suite: suite.id });
        }

        // The private key and the pre-shared key are in the resolver and the vault; snow asks for something in their place.
        const IN_ITS_PLACE: [u8; KEY_BYTES] = [0; KEY_BYTES];
        let internal = |_| NoiseError::Internal;
        let mut builder = Builder::with_resolver(params(suite)?, Box::new(resolver))
            .local_private_key(&IN_ITS_PLACE)
            .map_err(internal)?
            .prologue(start.prologue)
            .map_err(internal)?;
        if needs_peer && let Some(peer) = start.peer {
            builder = builder.remote_public_key(peer.as_bytes()).map_err(internal)?;
        }
        if needs_psk {
            builder = builder.psk(0, &IN_ITS_PLACE).map_err(internal)?;
        }
        let snow = match role {
            Role::Dialler => builder.build_initiator(),
            Role::Acceptor => builder.build_responder(),
        };
        Ok(Self {
            snow: Box::new(snow.map_err(internal)?),
            vault,
            suite,
            role,
            step: 1,
        })
    }

    pub(super) fn suite(&self) -> &'static Suite {
        self.suite
    }

    /// Appends the next message. On an error `out` is as it was.
    pub(super) fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let before = out.len();
        let written = self.write_behind(before, payload, out);
        if written.is_err() {
            out.truncate(before);
        }
        written
    }

    fn write_behind(&mut self, before: usize, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let bytes = message_bytes(self.suite, self.step, payload.len());
        // snow wants room for a tag behind every message, also behind one that is not sealed.
        out.resize(before + bytes + TAG_BYTES, 0);
        let message = out.get_mut(before..).ok_or(NoiseError::Internal)?;
        let written = self.snow.write_message(payload, message);
        let written = written.map_err(|error| self.explain(error))?;
        self.check_primitives()?;
        if written != bytes {
            return Err(NoiseError::Internal);
        }
        out.truncate(before + bytes);
        self.step += 1;
        Ok(())
    }

    /// Reads the next message, whose payload has between 0 and `payload_max` bytes, and returns the payload.
    pub(super) fn read(&mut self, message: &[u8], payload_max: usize) -> Result<Vec<u8>, NoiseError> {
        let length = NoiseError::Length {
            step: self.step,
            bytes: message.len(),
        };
        let overhead = message_bytes(self.suite, self.step, 0);
        let payload_bytes = message.len().checked_sub(overhead).ok_or(length)?;
        if payload_bytes > payload_max {
            return Err(length);
        }
        let mut payload = vec![0; payload_bytes];
        let read = self.snow.read_message(message, &mut payload);
        let read = read.map_err(|error| self.explain(error))?;
        self.check_primitives()?;
        if read != payload_bytes {
            return Err(NoiseError::Internal);
        }
        self.step += 1;
        Ok(payload)
    }

    /// The static key that the peer has proved. Only for a state whose last read succeeded.
    pub(super) fn peer(&self) -> Option<PublicKey> {
        let bytes = self.snow.get_remote_static()?;
        Some(PublicKey::from_bytes(bytes.try_into().ok()?))
    }

    /// The keys and the hash, once the last message is through.
    pub(super) fn finish(self) -> Result<Finished, NoiseError> {
        let (k1, k2) = self.keys().ok_or(NoiseError::Internal)?;
        let peer = self.peer().ok_or(NoiseError::Internal)?;
        let hash = self.snow.get_handshake_hash();
        let hash = hash.try_into().map_err(|_| NoiseError::Internal)?;
        Ok(Finished {
            suite: self.suite,
            role: self.role,
            peer,
            hash,
            k1,
            k2,
        })
    }

    /// The two keys at the end, `None` before it: the vault has them only once snow has split, and snow is asked too,
    /// because what it would give out before is a public constant.
    pub(super) fn keys(&self) -> Option<(Secret, Secret)> {
        if !self.snow.is_handshake_finished() {
            return None;
        }
        let mut secrets = self.vault.open();
        Some((secrets.k1.take()?, secrets.k2.take()?))
    }

    /// The chaining key, to look for it where it must not be.
    #[cfg(test)]
    pub(super) fn chain(&self) -> Option<zeroize::Zeroizing<[u8; 64]>> {
        self.vault.open().chain.copy()
    }

    fn check_primitives(&self) -> Result<(), NoiseError> {
        match self.vault.open().failed {
            true => Err(NoiseError::System),
            false => Ok(()),
        }
    }

    /// What an error of snow means here.
    fn explain(&self, error: snow::Error) -> NoiseError {
        if self.vault.open().failed {
            return NoiseError::System;
        }
        match error {
            snow::Error::Dh => NoiseError::PeerPoint,
            snow::Error::Kem => NoiseError::PeerKem,
            snow::Error::Decrypt => NoiseError::Unauthentic { step: self.step },
            snow::Error::Rng => NoiseError::System,
            _ => NoiseError::Internal,
        }
    }
}
