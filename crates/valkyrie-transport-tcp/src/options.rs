//! The transport and what can be chosen about its sockets.

#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::dial::dial;
use crate::listener::listen;

/// The transport of `tcp://host:port` locators.
///
/// The host is a name, an IPv4 address, or an IPv6 address in brackets. Port 0 listens on any free port, and the
/// listener's locator says which. `[::]` listens on every address of both families.
///
/// The defaults are those the session wants; each `with_*` method says what changing one costs.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TcpTransport {
    pub(crate) nodelay: bool,
    pub(crate) notsent_lowat_bytes: Option<u32>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) backlog: u32,
    pub(crate) reuse_address: bool,
}

impl TcpTransport {
    /// A transport with the default options.
    pub fn new() -> Self {
        Self {
            nodelay: true,
            notsent_lowat_bytes: Some(NOTSENT_LOWAT_BYTES),
            keepalive: Some(KEEPALIVE),
            source: None,
            connect_timeout: CONNECT_TIMEOUT,
            backlog: BACKLOG,
            // On Windows the option of this name lets another program take the port over.
            reuse_address: cfg!(unix),
        }
    }

    /// Sends small writes at once (the default) or lets the kernel gather them. The session gathers its own batches,
    /// so gathering again only adds the delay of an acknowledgement to every call.
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Bounds the bytes the kernel takes that it has not put on the wire yet; `None` leaves it to the kernel.
    ///
    /// See [`NOTSENT_LOWAT_BYTES`]. A connection that is found to be slow has less, what it carries in 2 ms. Less makes urgent frames overtake sooner; too little starves a fast wire. Systems
    /// other than Linux and Android ignore this.
    pub fn with_notsent_lowat_bytes(mut self, bytes: Option<u32>) -> Self {
        self.notsent_lowat_bytes = bytes;
        self
    }

    /// Probes peers that have been silent, below the session; `None` does not.
    pub fn with_keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Dials from this local address. Peers of the other family cannot be reached then.
    pub fn with_source(mut self, source: Option<IpAddr>) -> Self {
        self.source = source;
        self
    }

    /// How long a dial may take in all: resolving the name and trying its addresses.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections may wait to be accepted. The kernel has a bound of its own and takes the lesser.
    pub fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Listens on a port whose last connections are still winding down (the default on Unix), so that a server can
    /// be restarted at once. It never lets two servers share a port.
    pub fn with_reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = reuse;
        self
    }

    /// Sets what is chosen about an established connection, dialled or accepted.
    pub(crate) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.nodelay)?;
        let socket = SockRef::from(stream);
        if let Some(bytes) = self.notsent_lowat_bytes {
            set_notsent_lowat(stream, bytes)?;
        }
        if let Some(keepalive) = self.keepalive {
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(keepalive.idle)
                    .with_interval(keepalive.interval)
                    .with_retries(keepalive.probes),
            )?;
        }
        Ok(())
    }
}

impl Default for TcpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for TcpTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let link = dial(self, locator).await?;
            Ok(Box::new(link) as Box<dyn Link>)
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let listener = listen(self, locator).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

/// Bounds what the kernel takes that it has not sent, where it can.
pub(crate) fn set_notsent_lowat(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_notsent_lowat(bytes)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, bytes);
    Ok(())
}

/// How a silent peer is probed by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe, in whole seconds.
    pub idle: Duration,
    /// Time between probes, in whole seconds.
    pub interval: Duration,
    /// Probes without an answer after which the connection is dead.
    pub probes: u32,
}

pub(crate) const SCHEME: &str = "tcp";

/// The default bound on bytes in the kernel that are not on the wire yet: 128 KiB.
///
/// What the kernel holds cannot be overtaken, so this is the wait of a critical frame behind bulk data: 1 ms at 1 Gbit/s.
/// Without a bound the kernel takes megabytes. It is one batch of an endpoint, so that the writer is woken when there
/// is room for a full one. Where the wire is slower, the bound is what it carries in 2 ms and 16 KiB at least: it is measured whenever the
/// socket is full.
pub const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// The default probing of silent peers: dead within two minutes.
///
/// The session probes sooner and says so to its user; this is for connections that have no session yet or never get
/// one, and keeps the entry of a NAT router alive, which is commonly forgotten after some minutes.
pub const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(15),
    probes: 4,
};

/// The default time for a dial in all. A lost SYN is sent again after 1, 3 and 7 seconds; this gives it those chances.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default number of connections that may wait to be accepted. Fleets reconnect all at once after an outage, and a flood
/// must not fill what an honest peer has to come through; Linux has no more by itself (`net.core.somaxconn`).
pub const BACKLOG: u32 = 4096;

/// How long one address is tried before the next is tried beside it: the value RFC 8305, section 5 recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried. With [`ATTEMPT_DELAY`] between them, more would not be begun within a
/// patient user's time, and a name with a thousand addresses must not become a thousand sockets.
pub const DIAL_ADDRESSES_MAX: usize = 16;
