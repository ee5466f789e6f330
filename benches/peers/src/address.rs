//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// The kind of socket between the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Socket {
    Uds,
    Tcp,
}

impl Socket {
    pub(crate) const ALL: [Self; 2] = [Self::Uds, Self::Tcp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uds => "uds",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a server listens, in the form of a locator: `tcp://127.0.0.1:4000` or `uds:///tmp/a.sock`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Uds(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Uds(path) => write!(f, "uds://{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let unreadable = || Failure::Control(format!("`{text}` is not an address"));
        if let Some(path) = text.strip_prefix("uds://") {
            Ok(Self::Uds(path.into()))
        } else if let Some(address) = text.strip_prefix("tcp://") {
            address.parse().map(Self::Tcp).map_err(|_| unreadable())
        } else {
            Err(unreadable())
        }
    }
}
