//! Which end of the link a side is. It decides who speaks first in the handshake and which keys of the channel seal.

use std::fmt;

/// An end of a link: the one that dialled it or the one that accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that dialled: the Noise initiator.
    Dialler,
    /// The side that accepted: the Noise responder.
    Acceptor,
}

impl Role {
    /// The role of the other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }

    /// The byte that stands for it in what is signed.
    //= protocol/security.md#credentials
    pub const fn wire(self) -> u8 {
        match self {
            Self::Dialler => 1,
            Self::Acceptor => 2,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialler => "dialler",
            Self::Acceptor => "acceptor",
        })
    }
}
