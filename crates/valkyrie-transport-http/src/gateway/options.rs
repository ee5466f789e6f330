//! The gateway and what can be chosen about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use valkyrie_transport::tls::Certificates;
use valkyrie_transport::{Locator, TransportError};

use super::serve::{self, GatewayServer};
use super::upstream::Upstream;

/// A gateway to be: options, and what it asks.
///
/// Callers are told apart by the token they show and by nothing else; what a caller without one may do is for the upstream
/// to say. A web page may call only if its origin is the gateway's own or was [allowed](Gateway::with_origins).
#[derive(Clone)]
#[must_use]
pub struct Gateway {
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) origins: Arc<[String]>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_time_max: Duration,
    pub(crate) head_time_max: Duration,
    pub(crate) idle_time_max: Duration,
    pub(crate) connections_max: usize,
}

impl Gateway {
    /// A gateway with the default options.
    pub fn new(upstream: impl Upstream) -> Self {
        Self {
            upstream: Arc::new(upstream),
            origins: Arc::default(),
            certificates: None,
            body_bytes_max: BODY_BYTES_MAX,
            body_time_max: BODY_TIME_MAX,
            head_time_max: HEAD_TIME_MAX,
            idle_time_max: IDLE_TIME_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }

    /// Which web pages may call besides those of the gateway's own origin: origins as browsers write them
    /// (`https://app.example.org`), or `*`. None unless told.
    pub fn with_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// What `https` places show. Without it they show one made for this process, which clients have to be told to take.
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// The longest body; see [`BODY_BYTES_MAX`].
    pub fn with_body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// How long a body may take to arrive; see [`BODY_TIME_MAX`].
    pub fn with_body_time_max(mut self, time: Duration) -> Self {
        self.body_time_max = time;
        self
    }

    /// How long a head may take to arrive; see [`HEAD_TIME_MAX`].
    pub fn with_head_time_max(mut self, time: Duration) -> Self {
        self.head_time_max = time;
        self
    }

    /// How long a connection may carry nothing; see [`IDLE_TIME_MAX`].
    pub fn with_idle_time_max(mut self, time: Duration) -> Self {
        self.idle_time_max = time;
        self
    }

    /// How many connections there may be, at least 1; see [`CONNECTIONS_MAX`].
    pub fn with_connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections.max(1);
        self
    }

    /// Listens at `http://host:port` or `https://host:port`. Clients may come as soon as this returns, and are served by
    /// [`GatewayServer::run`].
    ///
    /// # Errors
    ///
    /// A [`TransportError`] that names the locator and who is at fault; nothing is left bound.
    pub async fn listen(&self, locator: &Locator) -> Result<GatewayServer, TransportError> {
        serve::listen(self, locator).await
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// The longest body of a request: what a small service takes in one message. It is held whole.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive. The longest one needs 140 kB/s for it.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a head may take to arrive, and how long TLS may take before.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection may carry nothing: neither a byte either way nor a call under way. A client that does not take
/// its answer hangs that long.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// How many connections there may be. Further ones wait in the system, where slow clients leave them room within
/// [`IDLE_TIME_MAX`].
pub const CONNECTIONS_MAX: usize = 8192;

/// How many calls one HTTP/2 connection may have under way.
pub const STREAMS_MAX: u32 = 256;

/// How long calls that are under way may take once the gateway is asked to end.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
