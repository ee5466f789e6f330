//! The transport and what can be chosen about its links.

use std::net::IpAddr;
use std::time::Duration;

use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::dial::dial;
use crate::listener::listen;

/// The transport of `quic://host:port` locators.
///
/// The host is a name, an IPv4 address, or an IPv6 address in brackets. Port 0 listens on any free port, and the
/// listener's locator says which. `[::]` listens on every address of both families.
///
/// The defaults are those the session wants; each `with_*` method says what changing one costs.
#[derive(Clone, Debug)]
#[must_use]
pub struct QuicTransport {
    pub(crate) certificates: Certificates,
    pub(crate) roots: Roots,
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) send_window_bytes: u32,
    pub(crate) receive_window_bytes: u32,
}

impl QuicTransport {
    /// A transport with the default options.
    pub fn new() -> Self {
        Self {
            certificates: Certificates::self_signed(),
            roots: Roots::Any,
            source: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            keepalive: None,
            send_window_bytes: SEND_WINDOW_BYTES,
            receive_window_bytes: RECEIVE_WINDOW_BYTES,
        }
    }

    /// What listeners show; by default a certificate that the process makes for itself.
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = certificates;
        self
    }

    /// Whose certificates a dial takes. By default anyone's: see [`Roots::Any`] for why that is enough under
    /// Valkyrie's handshake, and not without it.
    pub fn with_roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// Dials from this local address. Peers of the other family cannot be reached then.
    pub fn with_source(mut self, source: Option<IpAddr>) -> Self {
        self.source = source;
        self
    }

    /// How long a dial may take in all: resolving the name, and trying its addresses to the end of a handshake.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a link on which nothing arrives lives. The shorter of what both ends want holds.
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sends something on a link that has been idle for this long; by default nothing is sent, because the session
    /// asks silent peers itself, every 20 seconds. Whoever turns that off, or uses links without a session, needs this
    /// for links that idle past [`IDLE_TIMEOUT`]. Less than half of the idle timeout is sensible.
    pub fn with_keepalive(mut self, keepalive: Option<Duration>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// How many bytes a link takes, over all of its lanes together, that the peer has not acknowledged.
    ///
    /// See [`SEND_WINDOW_BYTES`]. A link moves at most this much in a round trip; more makes what is written to one
    /// lane wait longer behind what was taken from others.
    pub fn with_send_window_bytes(mut self, bytes: u32) -> Self {
        self.send_window_bytes = bytes.max(1);
        self
    }

    /// How many unread bytes a link holds for each lane. A peer can make a link hold five times this.
    ///
    /// See [`RECEIVE_WINDOW_BYTES`]. It should be more than the peer's send window, so that a peer is held up by what is
    /// under way and not by a lane.
    pub fn with_receive_window_bytes(mut self, bytes: u32) -> Self {
        self.receive_window_bytes = bytes.max(1);
        self
    }
}

impl Default for QuicTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for QuicTransport {
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

pub(crate) const SCHEME: &str = "quic";

/// The default time for a dial in all. A lost first packet is sent again after 1 and 3 seconds; a network that drops UDP
/// is found out soon enough for another transport to be tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The default time after which a link on which nothing arrives is dead. It is when the session, which asks after
/// 20 seconds of silence and waits 10 for an answer, would end too.
//= protocol/session.md#keepalive
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The default bound on what a link has taken and the peer has not acknowledged, over all lanes: 1 MiB.
///
/// One bound for all lanes, and not one for each: what holds up a writer then is the wire, and the session, which is
/// asked only when there is room, decides whose bytes are next. 1 MiB fills 1 Gbit/s at a round trip of 8 ms and
/// 100 Mbit/s at 80 ms.
pub const SEND_WINDOW_BYTES: u32 = 1024 * 1024;

/// The default bound on unread bytes of one lane: twice the send window of a peer with default options, so that its
/// send window holds it up first.
pub const RECEIVE_WINDOW_BYTES: u32 = 2 * SEND_WINDOW_BYTES;
