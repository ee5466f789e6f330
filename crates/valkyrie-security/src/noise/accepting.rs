//! The acceptor's side of a handshake.

use std::fmt;

use super::dialling::first_payload_max;
use super::state::{Start, State};
use super::{Finished, NoiseError};
use crate::Role;
use crate::provider::{KEY_BYTES, Providers, PublicKey, StaticKey};
use crate::suite::{Pattern, Suite};

/// A handshake of XX whose second message is on its way.
pub struct Accepting {
    state: State,
}

/// A first message that was read and is not answered yet: the place to look whether it came before.
pub struct Opened {
    state: State,
    ephemeral: [u8; KEY_BYTES],
    payload: Vec<u8>,
}

/// Where a handshake is after its second message.
#[derive(Debug)]
pub enum Accepted {
    /// XX: the dialler's third message comes next.
    Waiting(Accepting),
    /// IK: it is done.
    Finished(Finished),
}

impl Accepting {
    /// Reads a first message. Nothing is answered yet.
    ///
    /// With XX it is all in clear, so that success means no more than that its length is right.
    ///
    /// # Errors
    /// What was given does not fit the suite or no provider has it; or the message is not what a dialler who knows this
    /// key, this prologue and this suite would send.
    pub fn read(
        suite: &'static Suite,
        providers: &Providers,
        key: &StaticKey,
        psk: Option<&[u8; 32]>,
        prologue: &[u8],
        message: &[u8],
    ) -> Result<Opened, NoiseError> {
        let start = Start {
            suite,
            providers,
            key,
            peer: None,
            psk,
            prologue,
        };
        Self::open(State::new(&start, Role::Acceptor)?, message)
    }

    pub(super) fn open(mut state: State, message: &[u8]) -> Result<Opened, NoiseError> {
        let payload = state.read(message, first_payload_max(state.suite()))?;
        let ephemeral = message.first_chunk().copied().ok_or(NoiseError::Internal)?;
        Ok(Opened {
            state,
            ephemeral,
            payload,
        })
    }

    /// The suite that the handshake runs.
    pub fn suite(&self) -> &'static Suite {
        self.state.suite()
    }

    /// Reads the dialler's last message.
    ///
    /// # Errors
    /// The message is not what the dialler of the first would send.
    pub fn third(mut self, message: &[u8]) -> Result<Finished, NoiseError> {
        self.state.read(message, 0)?;
        self.state.finish()
    }
}

impl Opened {
    /// The suite that the handshake runs.
    pub fn suite(&self) -> &'static Suite {
        self.state.suite()
    }

    /// The dialler's ephemeral key: a first message that came before has the same.
    pub fn ephemeral(&self) -> [u8; KEY_BYTES] {
        self.ephemeral
    }

    /// What rode in the message. It may have been sent again by anybody, and whoever breaks X25519 later can read it.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// With IK the static key of whoever made this message, at whatever time; `None` with XX.
    pub fn peer(&self) -> Option<PublicKey> {
        match self.suite().pattern {
            Pattern::Xx => None,
            Pattern::Ik | Pattern::IkPsk0 => self.state.peer(),
        }
    }

    /// Appends the second message to `out`.
    ///
    /// # Errors
    /// A key of the dialler's is none, which shows here when it was not needed for reading, or this machine failed. `out` is as it was.
    pub fn answer(mut self, out: &mut Vec<u8>) -> Result<Accepted, NoiseError> {
        self.state.write(&[], out)?;
        Ok(match self.suite().pattern {
            Pattern::Xx => Accepted::Waiting(Accepting { state: self.state }),
            Pattern::Ik | Pattern::IkPsk0 => Accepted::Finished(self.state.finish()?),
        })
    }
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accepting({}, ..)", self.suite().id)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({}, ..)", self.suite().id)
    }
}
