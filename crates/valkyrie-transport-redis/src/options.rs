//! The transport and what can be chosen about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use valkyrie_transport::tls::Roots;
use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};
use zeroize::Zeroizing;

use crate::RedisBus;
use crate::dial::dial;
use crate::listener::listen;

/// The transport of `redis://host:port/node`, or of `rediss://host:port/node`: links between named nodes through a broker
/// that both reach. The same options make a [bus](RedisTransport::bus).
///
/// The broker is trusted with nothing: it sees who talks to whom and how much, and may delay and drop; what the bytes say
/// is for the handshake above to seal, which it does, because these links say that they are not secure.
///
/// A locator may say `user:password@` before the host. Better is [`RedisTransport::with_credentials`]: locators are
/// printed, by whoever has them. Nothing of this crate prints the password, and what it reports about a locator leaves it
/// out.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisTransport {
    pub(crate) roots: Option<Roots>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) connect_timeout: Duration,
    pub(crate) heartbeat: Duration,
}

/// Who we are to the broker.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Arc<Zeroizing<String>>,
}

impl Credentials {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Arc::new(Zeroizing::new(password.to_owned())),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl RedisTransport {
    /// A transport for `redis`, with the default options: no TLS, no credentials.
    pub fn new() -> Self {
        Self {
            roots: None,
            credentials: None,
            connect_timeout: CONNECT_TIMEOUT,
            heartbeat: HEARTBEAT_INTERVAL,
        }
    }

    /// A transport for `rediss`: the broker shows a certificate that `roots` take.
    ///
    /// TLS keeps the credentials and the names of channels from those between; what links carry is sealed end to end
    /// regardless. With [`Roots::Any`] no password is sent: whoever answers would have it.
    pub fn secure(roots: Roots) -> Self {
        Self {
            roots: Some(roots),
            ..Self::new()
        }
    }

    /// Logs in to the broker as `user`, an ACL user; `default` is the one that a bare password belongs to. What the
    /// locator says goes before this.
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials::new(user, password));
        self
    }

    /// How long a dial may take in all, and how long connecting to the broker may.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often an end that has nothing to say shows that it lives. A peer that is heard nothing of for
    /// [`SILENT_HEARTBEATS_MAX`] times as long is dead, so both ends want about the same.
    pub fn with_heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Connects to the bus at `redis://host:port/space`. Buses of different spaces do not hear each other; without one the
    /// space is [`DEFAULT_SPACE`](crate::DEFAULT_SPACE).
    ///
    /// # Errors
    ///
    /// As for [`Transport::dial`].
    pub async fn bus(&self, locator: &Locator) -> Result<RedisBus, TransportError> {
        RedisBus::open(self, locator).await
    }

    pub(crate) fn scheme_name(&self) -> &'static str {
        match self.roots {
            None => "redis",
            Some(_) => "rediss",
        }
    }

    pub(crate) fn silence_max(&self) -> Duration {
        self.heartbeat * SILENT_HEARTBEATS_MAX
    }
}

impl Default for RedisTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for RedisTransport {
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

/// The default time for a dial in all. A lost SYN is sent again after 1, 3 and 7 seconds; this gives it those chances.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many addresses of a name are tried, one after the other.
pub const DIAL_ADDRESSES_MAX: usize = 16;

/// How long the broker may take to answer one command. One that takes longer is as good as gone.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection to the broker is quiet before the system asks whether the broker is still there: as long as a
/// command may go unanswered.
pub const KEEPALIVE_IDLE: Duration = ANSWER_TIME_MAX;

/// How often it asks again. After the system's own number of questions, commonly nine, the broker is gone.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How often an idle end publishes that it lives, unless told otherwise. The broker says with each how many heard it, so
/// this is also how soon a peer whose process ended is missed.
//= protocol/transports.md#redis-presence
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// After how many heartbeats' time without a word a peer is dead, although the broker still counts it: its machine may be
/// gone without a farewell. Several, because a busy machine skips one.
//= protocol/transports.md#redis-presence
pub const SILENT_HEARTBEATS_MAX: u32 = 5;
