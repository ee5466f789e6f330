//! The dialler's side of a handshake.

use std::fmt;

use super::size::FIRST_PAYLOAD_BYTES_MAX;
use super::state::{Start, State};
use super::{Finished, NoiseError};
use crate::Role;
use crate::provider::{Providers, PublicKey, StaticKey};
use crate::suite::{Pattern, Suite};

/// A handshake whose first message is on its way.
pub struct Dialling {
    state: State,
    /// Whom the acceptor must prove to be, where that is known.
    wanted: Option<PublicKey>,
}

impl Dialling {
    /// Begins a handshake and appends its first message to `out`.
    ///
    /// `peer` is the static key that the acceptor must prove: IK cannot begin without one, XX checks it if there is one.
    /// `psk` is there exactly when the suite's pattern is IKpsk0. `payload` rides in the message, sealed with IK
    /// and empty with XX; it is at most [`FIRST_PAYLOAD_BYTES_MAX`] bytes. The protocol lets IK carry a clock there and nothing else.
    ///
    /// # Errors
    /// What was given does not fit the suite, no provider has it, or this machine failed. `out` is as it was.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is named by the protocol, and all are needed at once"
    )]
    pub fn start(
        suite: &'static Suite,
        providers: &Providers,
        key: &StaticKey,
        peer: Option<&PublicKey>,
        psk: Option<&[u8; 32]>,
        prologue: &[u8],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, NoiseError> {
        let start = Start {
            suite,
            providers,
            key,
            peer,
            psk,
            prologue,
        };
        Self::begin(State::new(&start, Role::Dialler)?, peer, payload, out)
    }

    pub(super) fn begin(
        mut state: State,
        peer: Option<&PublicKey>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, NoiseError> {
        let suite = state.suite();
        if payload.len() > first_payload_max(suite) {
            return Err(NoiseError::PayloadToSend {
                suite: suite.id,
                bytes: payload.len(),
            });
        }
        state.write(payload, out)?;
        Ok(Self {
            state,
            wanted: peer.copied(),
        })
    }

    /// The suite that the handshake runs.
    pub fn suite(&self) -> &'static Suite {
        self.state.suite()
    }

    /// Reads the acceptor's message. With XX the third message is appended to `out`; with IK nothing is.
    ///
    /// # Errors
    /// The message is not what a peer with these keys, this prologue and this suite would send, or, with
    /// [`NoiseError::OtherPeer`], the acceptor is somebody else. `out` is as it was: nobody learns who dialled.
    pub fn second(mut self, message: &[u8], out: &mut Vec<u8>) -> Result<Finished, NoiseError> {
        self.state.read(message, 0)?;
        if self.wanted.is_some() && self.state.peer() != self.wanted {
            return Err(NoiseError::OtherPeer);
        }
        if self.suite().pattern == Pattern::Xx {
            self.state.write(&[], out)?;
        }
        self.state.finish()
    }
}

impl fmt::Debug for Dialling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialling({}, ..)", self.suite().id)
    }
}

/// The longest payload that a first message may carry.
//= protocol/security.md#key-exchange
pub(super) const fn first_payload_max(suite: &Suite) -> usize {
    match suite.pattern {
        Pattern::Xx => 0,
        Pattern::Ik | Pattern::IkPsk0 => FIRST_PAYLOAD_BYTES_MAX,
    }
}
