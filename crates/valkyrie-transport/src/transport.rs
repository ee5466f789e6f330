//! The contract of a transport: a locator becomes a link or a listener.
//!
//! Read [`Link`] first; this is only the way to one.

use std::future::Future;
use std::pin::Pin;

use crate::{Link, Listener, Locator, TransportError};

/// A boxed future, as `dyn` traits return it. One is paid for each dial and each listen, never for a message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to reach peers, named by the scheme of its locators.
///
/// A transport dials once and reports what happened. It never retries, reconnects, falls back or encrypts.
pub trait Transport: Send + Sync + 'static {
    /// The scheme of the locators this transport understands, in lower case: `tcp`, `uds`, `mem`.
    fn scheme(&self) -> &'static str;

    /// Connects to the peer that listens at `locator`.
    ///
    /// Dropping the future abandons the attempt and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// A [`TransportError`] that names the locator and who is at fault. A locator of another scheme is
    /// [`TransportError::UnsupportedScheme`].
    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>>;

    /// Starts listening at `locator`.
    ///
    /// Peers may dial as soon as the future is ready, whether or not the listener is being polled; how many may wait
    /// is bounded by the transport. Dropping the listener stops listening and leaves accepted links alone.
    ///
    /// # Errors
    ///
    /// As for [`Transport::dial`]. Nothing is left bound on an error.
    fn listen<'a>(&'a self, locator: &'a Locator)
    -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>>;
}
