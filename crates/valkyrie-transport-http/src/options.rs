//! The transport and what can be chosen about it.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::dial::dial;
use crate::listener::listen;

/// The transport of `http://host:port`, or of `https://host:port`.
///
/// [`HttpTransport::new`] is for `http` and [`HttpTransport::secure`] for `https`; an endpoint that knows both has two
/// transports. The host is a name, an IPv4 address, or an IPv6 address in brackets. Port 0 listens on any free port, and
/// the listener's locator says which.
///
/// Behind a proxy that speaks TLS itself the two ends are on different TLS connections. Listen there with `http`, dial
/// with `https` and [`HttpTransport::without_binding`].
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpTransport {
    pub(crate) tls: Option<Tls>,
    pub(crate) bind: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) backlog: u32,
    pub(crate) handshakes_max: usize,
}

/// What TLS is run with.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificates: Certificates,
    pub(crate) roots: Roots,
}

impl HttpTransport {
    /// A transport for `http`, with the default options.
    pub fn new() -> Self {
        Self {
            tls: None,
            bind: true,
            connect_timeout: CONNECT_TIMEOUT,
            backlog: BACKLOG,
            handshakes_max: HANDSHAKES_MAX,
        }
    }

    /// A transport for `https`: listeners show `certificates`, diallers accept what `roots` say.
    pub fn secure(certificates: Certificates, roots: Roots) -> Self {
        Self {
            tls: Some(Tls { certificates, roots }),
            ..Self::new()
        }
    }

    /// For `https` through a proxy that ends TLS and begins another, or none: links say that they are not secure, so that
    /// records are sealed from end to end, which they are not where TLS reaches that far.
    ///
    /// Without it a dialler offers what only ends of one TLS connection can agree on, and is refused.
    //= protocol/security.md#bound-channels
    pub fn without_binding(mut self) -> Self {
        self.bind = false;
        self
    }

    /// How long a dial may take in all: resolving the name, trying its addresses, and the opening.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections may wait in the system to be taken. It has a bound of its own and takes the lesser.
    pub fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// How many connections of one listener may be in their opening at once, at least 1; see [`HANDSHAKES_MAX`].
    pub fn with_handshakes_max(mut self, count: usize) -> Self {
        self.handshakes_max = count.max(1);
        self
    }

    pub(crate) fn scheme_name(&self) -> &'static str {
        match self.tls {
            None => "http",
            Some(_) => "https",
        }
    }

    /// Sets what links need of a connection, dialled or accepted.
    pub(crate) fn apply(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        set_notsent_lowat(stream, NOTSENT_LOWAT_BYTES)
    }
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for HttpTransport {
    fn scheme(&self) -> &'static str {
        self.scheme_name()
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

/// Bounds what the system takes that it has not sent, where it can.
pub(crate) fn set_notsent_lowat(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_notsent_lowat(bytes)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, bytes);
    Ok(())
}

/// The default time for a dial in all. A lost SYN is sent again after 1, 3 and 7 seconds; this gives it those chances.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default number of connections that may wait to be taken. Fleets reconnect all at once after an outage.
pub const BACKLOG: u32 = 1024;

/// How many addresses of a name are tried, one after the other.
pub const DIAL_ADDRESSES_MAX: usize = 16;

/// How long a dialler may take from its first byte to the end of the opening, TLS included, before a listener hangs up.
/// An honest one takes a few round trips.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// How many connections of one listener may be in their opening at once. When one more comes the oldest gives way: honest
/// diallers are done long before, and those who dawdle cannot keep others out. Each holds at most
/// [`HEAD_BYTES_MAX`](crate::HEAD_BYTES_MAX), the buffers of the HTTP/2 library and what TLS needs.
pub const HANDSHAKES_MAX: usize = 1024;

/// The bound on bytes in the system that are not on the wire yet: what is there cannot be overtaken by urgent frames.
/// It is one write of a link, so that a writer is woken when there is room for a full one. Where the wire is slower the bound is what it
/// carries in 2 ms ([`Pace`](valkyrie_transport::Pace)), and writes are no longer than that.
pub const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;
