//! The contract of a listener, and an `async` way to call it.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::{Link, Locator, TransportError};

/// A bound address that hands out one [`Link`] for each peer that dials it.
pub trait Listener: Send {
    /// The locator peers can dial, with what the transport chose filled in: `tcp://127.0.0.1:0` was asked for, and
    /// `tcp://127.0.0.1:41234` is reported.
    fn locator(&self) -> &Locator;

    /// The next link.
    ///
    /// An error speaks of one connection, or of a passing shortage; the listener lives on and the caller polls again.
    /// After a shortage of the machine (file descriptors, memory) the listener itself waits before its next attempt,
    /// so a caller that polls in a loop does not spin.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>>;
}

/// Waits for the next link of `listener`.
///
/// Cancelling (dropping the future) loses no connection.
///
/// # Errors
///
/// What [`Listener::poll_accept`] reports; the listener is still usable.
pub async fn accept(listener: &mut dyn Listener) -> Result<Box<dyn Link>, TransportError> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}
