//! Why a handshake ended. Whatever the reason, its state is gone.

use crate::suite::SuiteId;

/// Why a handshake ended before its time. Its state is dropped; a new attempt begins with a new ephemeral key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The caller is at fault.
    #[error("no provider supplies what {suite} is made of; nothing was sent")]
    Unsupported {
        /// The suite that was asked for.
        suite: SuiteId,
    },
    /// The caller is at fault.
    #[error("{suite} needs the static key of the acceptor before it begins; nothing was sent")]
    PeerKeyMissing {
        /// The suite that was asked for.
        suite: SuiteId,
    },
    /// The caller is at fault.
    #[error("{suite} needs a pre-shared key and was given none; nothing was sent")]
    PskMissing {
        /// The suite that was asked for.
        suite: SuiteId,
    },
    /// The caller is at fault.
    #[error("{suite} would ignore the pre-shared key it was given; nothing was sent")]
    PskUnused {
        /// The suite that was asked for.
        suite: SuiteId,
    },
    /// The caller is at fault.
    #[error("a first message of {suite} cannot carry {bytes} bytes of payload; nothing was sent")]
    PayloadToSend {
        /// The suite that was asked for.
        suite: SuiteId,
        /// Bytes that were to be sent.
        bytes: usize,
    },
    /// The peer is at fault.
    #[error(
        "message {step} of the handshake has {bytes} bytes, which no such message has; the handshake is over"
    )]
    Length {
        /// Which message, from 1.
        step: u8,
        /// Bytes it has.
        bytes: usize,
    },
    /// The peer is at fault.
    #[error(
        "the peer sent an X25519 key that agrees on the same secret with every key; the handshake is over"
    )]
    PeerPoint,
    /// The peer is at fault.
    #[error("the peer sent an encapsulation key or a ciphertext that is none; the handshake is over")]
    PeerKem,
    /// The peer, or somebody between, is at fault; which of the two cannot be told.
    #[error(
        "message {step} of the handshake does not open: it was altered or replayed, or the peer holds other keys or \
         was offered something else; the handshake is over"
    )]
    Unauthentic {
        /// Which message, from 1.
        step: u8,
    },
    /// The peer is at fault.
    #[error("the acceptor proved another static key than the one asked for; it was not told who dialled")]
    OtherPeer,
    /// This machine is at fault.
    #[error("this machine gave no randomness or no memory; the handshake is over")]
    System,
    /// This program is at fault.
    #[error("the handshake came to a state that it cannot be in; it is over")]
    Internal,
}
