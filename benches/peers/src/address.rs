//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// What carries the messages between the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Socket {
    Uds,
    Tcp,
    Quic,
    Ws,
    Http,
    /// Through a redis-server that is a third process.
    Redis,
}

impl Socket {
    pub(crate) const ALL: [Self; 6] = [
        Self::Uds,
        Self::Tcp,
        Self::Quic,
        Self::Ws,
        Self::Http,
        Self::Redis,
    ];
    /// Those of the system itself.
    pub(crate) const BARE: [Self; 2] = [Self::Uds, Self::Tcp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uds => "uds",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Ws => "ws",
            Self::Http => "http",
            Self::Redis => "redis",
        }
    }

    pub(crate) fn is_bare(self) -> bool {
        Self::BARE.contains(&self)
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a server is told about where it is to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) socket: Socket,
    /// The redis-server, where there is one.
    pub(crate) broker: Option<SocketAddr>,
}

impl Site {
    /// The redis-server, for those who cannot do without.
    pub(crate) fn broker(self) -> Result<SocketAddr, Failure> {
        self.broker
            .ok_or_else(|| Failure::Control("was told of no redis-server".to_owned()))
    }
}

/// Where a server listens, in the form of a locator: `tcp://127.0.0.1:4000` or `uds:///tmp/a.sock`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Uds(PathBuf),
    Port(Socket, SocketAddr),
    /// A name at a redis-server.
    Broker(SocketAddr, String),
}

impl Address {
    /// For those who speak nothing but TCP and what runs on it.
    pub(crate) fn port(&self) -> Result<SocketAddr, Failure> {
        match self {
            Self::Port(_, address) => Ok(*address),
            other => Err(Failure::Control(format!("`{other}` has no port to connect to"))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uds(path) => write!(f, "uds://{}", path.display()),
            Self::Port(socket, address) => write!(f, "{socket}://{address}"),
            Self::Broker(address, name) => write!(f, "redis://{address}/{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let unreadable = || Failure::Control(format!("`{text}` is not an address"));
        let (scheme, rest) = text.split_once("://").ok_or_else(unreadable)?;
        let port = |address: &str| address.parse().map_err(|_| unreadable());
        let socket = Socket::ALL.into_iter().find(|socket| socket.name() == scheme);
        match socket.ok_or_else(unreadable)? {
            Socket::Uds => Ok(Self::Uds(rest.into())),
            Socket::Redis => {
                let (address, name) = rest.split_once('/').ok_or_else(unreadable)?;
                Ok(Self::Broker(port(address)?, name.to_owned()))
            }
            socket => Ok(Self::Port(socket, port(rest.trim_end_matches('/'))?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_survive_the_pipe() {
        for text in [
            "uds:///tmp/a.sock",
            "tcp://127.0.0.1:1",
            "quic://[::1]:2",
            "ws://127.0.0.1:3",
            "redis://127.0.0.1:4/peers",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(
            "ws://127.0.0.1:3/".parse::<Address>().unwrap().to_string(),
            "ws://127.0.0.1:3"
        );
        for text in ["", "tcp://", "nfs://127.0.0.1:1", "redis://127.0.0.1:4"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
