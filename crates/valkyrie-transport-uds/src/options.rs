//! The transport and what can be chosen about its sockets.

use std::time::Duration;

use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::dial::dial;
use crate::listener::listen;

/// The transport of `uds:///path` and `uds://@name` locators.
///
/// A path is absolute, because a listener removes its file at the end and the working directory may have changed by
/// then. A name after `@` is in Linux's abstract namespace: it has no file, no permissions, and is gone with its
/// listener.
///
/// Beside the socket file a listener keeps a lock file, the path with `.lock` after it, for as long as it listens.
/// Whoever can write to the directory can take the listener's place: keep it to the users that may.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct UdsTransport {
    pub(crate) mode: Option<u32>,
    pub(crate) backlog: u32,
    pub(crate) connect_timeout: Duration,
}

impl UdsTransport {
    /// A transport with the default options.
    pub fn new() -> Self {
        Self {
            mode: None,
            backlog: BACKLOG,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// The permissions of the socket file, `0o660` for example, whatever the umask; `None` (the default) leaves them
    /// to the umask. They are in force before the first peer can connect. Peers need the permission to write.
    ///
    /// A listener in the abstract namespace has no permissions: [`Transport::listen`] refuses the combination.
    pub fn with_mode(mut self, mode: Option<u32>) -> Self {
        self.mode = mode;
        self
    }

    /// How many connections may wait to be accepted. The kernel has a bound of its own and takes the lesser.
    pub fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// How long a dial waits for room when too many connections wait to be accepted.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }
}

impl Default for UdsTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for UdsTransport {
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
        // Binding is a handful of calls on local files: too little to be worth another thread.
        Box::pin(async move {
            let listener = listen(self, locator)?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

pub(crate) const SCHEME: &str = "uds";

/// The default number of connections that may wait to be accepted. Fleets reconnect all at once after an outage.
pub const BACKLOG: u32 = 1024;

/// The default time a dial waits for a listener with a full queue. A listener that accepts at all makes room within
/// milliseconds; one that has not after this long is stuck.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
