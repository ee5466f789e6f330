//! What ended a link over RDMA, or kept one from being.

use std::io;

use crate::wire::{HelloError, MessageError};

/// What ended a link over RDMA, or kept one from being. It is the source of the [`io::Error`]s of a link and of the
/// transport's errors. The link is gone on all of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RdmaError {
    /// The program was built without the binding.
    #[error(
        "this program was built without RDMA; build it with the feature `verbs` of valkyrie-transport-rdma, which wants CMake and libclang"
    )]
    NoBinding,
    /// A library of the system is not there.
    #[error("{library} is missing; on Debian it comes with {packages}")]
    MissingLibrary {
        /// The file that could not be opened.
        library: &'static str,
        /// The Debian packages that bring it.
        packages: &'static str,
    },
    /// The machine has no RDMA device.
    #[error(
        "this machine has no RDMA device that can be used; `rdma link` shows those there are, and `rdma link add rxe0 type rxe netdev DEVICE` \
         makes one in software"
    )]
    NoDevice,
    /// The address belongs to no RDMA device.
    #[error(
        "no RDMA device of this machine has or reaches that address; `rdma link` shows which network devices have one"
    )]
    NotOnRdma,
    /// What the peer says of itself makes no sense.
    #[error("{0}; the peer is at fault")]
    Hello(#[from] HelloError),
    /// The acceptor has no room.
    #[error("the peer takes no more connections at present")]
    TurnedAway,
    /// The acceptor says that what this side said of itself makes no sense.
    #[error(
        "the peer says that it was asked in a way it does not understand, and turned the connection away"
    )]
    Disputed,
    /// The acceptor speaks another version.
    #[error(
        "the peer speaks version {theirs} of Valkyrie over RDMA, this side another; it turned the connection away"
    )]
    DisputedVersion {
        /// The peer's version.
        theirs: u8,
    },
    /// The peer, or the manager of connections on its machine, turned the connection away.
    #[error("the peer's machine turned the connection away (reason {reason} of the connection manager)")]
    Rejected {
        /// The number, as the InfiniBand specification has it.
        reason: i32,
    },
    /// A message broke the rules of the protocol.
    #[error("{0}; the peer is at fault, and the link was ended")]
    Message(#[from] MessageError),
    /// The peer dropped the link in the middle.
    #[error("the peer dropped the link; what was under way may be lost")]
    Dropped,
    /// The peer's machine does not acknowledge any more.
    #[error("the peer's machine acknowledges nothing any more; it or the network is gone")]
    Silent,
    /// The peer has no receive for a message that it gave credit for.
    #[error(
        "the peer was not ready for a message that it gave credit for; it is at fault, and the link is over"
    )]
    NotReady,
    /// The peer refused a write to the ring that it offered.
    #[error(
        "the peer's device refused a write to the ring that the peer offered; the peer is at fault, and the link is over"
    )]
    AccessRefused,
    /// The peer sent something that did not fit.
    #[error("the peer sent a message larger than a receive; it is at fault, and the link is over")]
    TooLarge,
    /// Work that was under way was given up, because the connection is over.
    #[error("the connection is over, and what was under way was given up")]
    Flushed,
    /// The device was taken away.
    #[error("the RDMA device was taken out of the machine or its driver was stopped")]
    DeviceGone,
    /// The device failed at something.
    #[error("the RDMA device of this machine failed at a piece of work (status {status} of the verbs)")]
    Device {
        /// The number, as `ibv_wc_status` has it.
        status: u32,
    },
    /// A call of the system failed on an established link.
    #[error("the system failed at {call}: {kind}")]
    System {
        /// What was called.
        call: &'static str,
        /// What the system said.
        kind: io::ErrorKind,
    },
}

impl RdmaError {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NoBinding | Self::MissingLibrary { .. } | Self::NoDevice | Self::NotOnRdma => {
                io::ErrorKind::Unsupported
            }
            Self::Hello(_) | Self::Message(_) | Self::TooLarge | Self::AccessRefused | Self::NotReady => {
                io::ErrorKind::InvalidData
            }
            Self::TurnedAway => io::ErrorKind::ConnectionRefused,
            Self::Disputed | Self::DisputedVersion { .. } | Self::Rejected { .. } => {
                io::ErrorKind::ConnectionAborted
            }
            Self::Dropped | Self::Flushed => io::ErrorKind::ConnectionReset,
            Self::Silent => io::ErrorKind::TimedOut,
            Self::DeviceGone | Self::Device { .. } => io::ErrorKind::NotConnected,
            Self::System { kind, .. } => *kind,
        }
    }
}

impl From<RdmaError> for io::Error {
    fn from(error: RdmaError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl RdmaError {
    /// What it means to whoever wanted a link or a listener.
    #[cfg(feature = "verbs")]
    pub(crate) fn into_transport(
        self,
        action: valkyrie_transport::Action,
        locator: &valkyrie_transport::Locator,
    ) -> valkyrie_transport::TransportError {
        use valkyrie_transport::TransportError;
        let locator = locator.clone();
        match self {
            Self::NoBinding | Self::MissingLibrary { .. } | Self::NoDevice | Self::NotOnRdma => {
                TransportError::Unusable {
                    locator,
                    reason: self.to_string(),
                }
            }
            Self::TurnedAway => TransportError::Busy { locator },
            Self::DeviceGone | Self::Device { .. } | Self::System { .. } => TransportError::Io {
                locator,
                action,
                source: self.into(),
            },
            _ => TransportError::Aborted {
                locator,
                source: self.into(),
            },
        }
    }
}
