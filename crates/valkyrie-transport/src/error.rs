//! Why a dial, a listen or an accept failed, and what to do about it.
//!
//! Errors of an established link are [`std::io::Error`]s; this is about getting one.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::time::Duration;

use crate::{Locator, LocatorError};

/// Why there is no link or no listener. Nothing is left bound or half open on any of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The caller gave the locator to a transport of another scheme.
    #[error("{locator} was given to the {expected} transport; give it to the transport of its own scheme")]
    UnsupportedScheme {
        /// The locator.
        locator: Locator,
        /// The scheme of the transport it was given to.
        expected: &'static str,
    },
    /// The caller's locator makes no sense to its transport.
    #[error("{locator} cannot be used: {source}")]
    BadLocator {
        /// The locator.
        locator: Locator,
        /// What is wrong with it.
        #[source]
        source: LocatorError,
    },
    /// The caller's locator or option is well formed but the system cannot honour it.
    #[error("{locator} cannot be used: {reason}")]
    Unusable {
        /// The locator.
        locator: Locator,
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
    /// Whoever answered shows a certificate that the caller's options do not take. It is no use to try again until somebody changes the
    /// roots, the name or the certificate.
    #[error("{locator} cannot be used: {reason}")]
    Untrusted {
        /// The locator.
        locator: Locator,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The host has no address.
    #[error("the name in {locator} has no address; check the spelling and the name service")]
    NameNotFound {
        /// The locator.
        locator: Locator,
        /// What the name service said.
        #[source]
        source: io::Error,
    },
    /// The place exists and nobody listens there.
    #[error("nobody listens at {locator}; start the peer, or check the address")]
    Refused {
        /// The locator.
        locator: Locator,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error("{locator} is in use by another listener; stop it, or choose another address")]
    AddressInUse {
        /// The locator.
        locator: Locator,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address is not one of this machine's.
    #[error("{locator} is not an address of this machine; listen on one that is, or on every address")]
    AddressNotAvailable {
        /// The locator.
        locator: Locator,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system forbids it to this user.
    #[error("this user may not {action} {locator}; change the permissions, the port or the user")]
    PermissionDenied {
        /// The locator.
        locator: Locator,
        /// What was attempted.
        action: Action,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The network has no way there.
    #[error("there is no way to {locator}; check the network and the address")]
    Unreachable {
        /// The locator.
        locator: Locator,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The peer did not answer in time.
    #[error(
        "{locator} did not answer within {after:?}; check the network and any firewall, or allow more time"
    )]
    TimedOut {
        /// The locator.
        locator: Locator,
        /// How long the dial waited.
        after: Duration,
    },
    /// The peer, or the network between, ended the connection before it was established.
    #[error("a connection at {locator} was ended by the peer before it was established")]
    Aborted {
        /// The locator.
        locator: Locator,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The peer has as many connections waiting as it allows.
    #[error("the listener at {locator} has no room for another connection; try again later")]
    Busy {
        /// The locator.
        locator: Locator,
    },
    /// This machine is short of file descriptors, ports or memory.
    #[error(
        "this machine is short of resources to {action} {locator} ({source}); raise the limit or close connections"
    )]
    Exhausted {
        /// The locator.
        locator: Locator,
        /// What was attempted.
        action: Action,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else the system reported.
    #[error("the system could not {action} {locator}: {source}")]
    Io {
        /// The locator.
        locator: Locator,
        /// What was attempted.
        action: Action,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl TransportError {
    /// Sorts what the system said into the variant that says what to do about it.
    #[must_use]
    pub fn from_io(action: Action, locator: &Locator, source: io::Error) -> Self {
        let locator = locator.clone();
        if is_exhaustion(&source) {
            return Self::Exhausted {
                locator,
                action,
                source,
            };
        }
        match (source.kind(), action) {
            (io::ErrorKind::ConnectionRefused, _) => Self::Refused { locator, source },
            (io::ErrorKind::AddrInUse, Action::Listen) => Self::AddressInUse { locator, source },
            // Dialling runs out of local ports with the same two kinds: that is a shortage, not a wrong address.
            (io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable, Action::Dial) => Self::Exhausted {
                locator,
                action,
                source,
            },
            (io::ErrorKind::AddrNotAvailable, _) => Self::AddressNotAvailable { locator, source },
            (io::ErrorKind::PermissionDenied, _) => Self::PermissionDenied {
                locator,
                action,
                source,
            },
            (
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown,
                _,
            ) => Self::Unreachable { locator, source },
            (io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset, _) => {
                Self::Aborted { locator, source }
            }
            _ => Self::Io {
                locator,
                action,
                source,
            },
        }
    }

    /// Refuses a locator whose scheme is not `expected`.
    ///
    /// # Errors
    ///
    /// [`TransportError::UnsupportedScheme`].
    pub fn check_scheme(locator: &Locator, expected: &'static str) -> Result<(), Self> {
        if locator.scheme() == expected {
            return Ok(());
        }
        Err(Self::UnsupportedScheme {
            locator: locator.clone(),
            expected,
        })
    }

    /// The locator this is about.
    #[must_use]
    pub fn locator(&self) -> &Locator {
        match self {
            Self::UnsupportedScheme { locator, .. }
            | Self::BadLocator { locator, .. }
            | Self::Unusable { locator, .. }
            | Self::Untrusted { locator, .. }
            | Self::NameNotFound { locator, .. }
            | Self::Refused { locator, .. }
            | Self::AddressInUse { locator, .. }
            | Self::AddressNotAvailable { locator, .. }
            | Self::PermissionDenied { locator, .. }
            | Self::Unreachable { locator, .. }
            | Self::TimedOut { locator, .. }
            | Self::Aborted { locator, .. }
            | Self::Busy { locator }
            | Self::Exhausted { locator, .. }
            | Self::Io { locator, .. } => locator,
        }
    }

    /// Who is at fault, as far as can be told from here.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnsupportedScheme { .. }
            | Self::BadLocator { .. }
            | Self::Unusable { .. }
            | Self::Untrusted { .. }
            | Self::AddressInUse { .. }
            | Self::AddressNotAvailable { .. }
            | Self::PermissionDenied { .. } => Fault::Caller,
            Self::Refused { .. } | Self::Aborted { .. } | Self::Busy { .. } => Fault::Peer,
            Self::NameNotFound { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => Fault::Network,
            Self::Exhausted { .. } | Self::Io { .. } => Fault::Machine,
        }
    }

    /// Whether the same attempt may succeed later with nothing changed by the caller.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        // A failing name service and a missing name cannot be told apart reliably, so a name is worth asking again.
        !matches!(self.fault(), Fault::Caller)
    }
}

/// What was attempted when a [`TransportError`] arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Connecting to a listener.
    Dial,
    /// Binding an address.
    Listen,
    /// Taking one connection from a bound address.
    Accept,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Listen => "listen on",
            Self::Accept => "accept a connection on",
        })
    }
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The locator, an option or the rights of the process: it fails again until the caller changes something.
    Caller,
    /// The process at the other end.
    Peer,
    /// What lies between, the name service included.
    Network,
    /// This machine.
    Machine,
}

fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || cfg!(unix)
            && error
                .raw_os_error()
                .is_some_and(|code| EXHAUSTION_CODES.contains(&code))
}

/// The process's table of descriptors is full (EMFILE), the system's is (ENFILE), or a socket buffer was not to be had
/// (ENOBUFS). `std` has no kinds for these. The first two are the same number on every Unix.
const EXHAUSTION_CODES: [i32; 3] = [
    24,
    23,
    if cfg!(any(target_os = "linux", target_os = "android")) {
        105
    } else {
        55
    },
];
