//! Links within one process, `mem://name`: for tests, and for the two ends of a program that talks to itself.
//!
//! The memory link is what every other link is measured by: it has several lanes, bounded pipes, half-close and
//! abrupt close, and it never loses, delays or reorders a byte. It is not a simulator of bad networks. It works under
//! any executor.

mod bus;
mod link;
mod listener;
mod pipe;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use crate::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

pub use self::bus::MemBus;
use self::link::pair;
use self::listener::{MemListener, Names};

/// The transport of `mem://name` locators.
///
/// Names belong to a table. [`MemTransport::new`] makes a table of its own, so that tests running side by side cannot
/// meet; clones share it. [`MemTransport::process_wide`] is the one table of the process.
///
/// ```
/// use valkyrie_transport::{Locator, Transport, mem::MemTransport};
///
/// # async fn example() -> Result<(), valkyrie_transport::TransportError> {
/// let transport = MemTransport::new().with_lanes(5);
/// let place: Locator = "mem://parlour".parse().unwrap();
/// let mut listener = transport.listen(&place).await?;
/// let dialled = transport.dial(&place).await?;
/// let accepted = valkyrie_transport::accept(&mut *listener).await?;
/// assert_eq!(dialled.capabilities().lanes, 5);
/// # drop(accepted); Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemTransport {
    names: Arc<Names>,
    lanes: u8,
    pipe_bytes: usize,
}

impl MemTransport {
    /// A transport with a table of names of its own, one lane and pipes of [`PIPE_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            names: Arc::default(),
            lanes: 1,
            pipe_bytes: PIPE_BYTES,
        }
    }

    /// A transport whose names are seen by the whole process.
    #[must_use]
    pub fn process_wide() -> Self {
        static NAMES: LazyLock<Arc<Names>> = LazyLock::new(Arc::default);
        Self {
            names: Arc::clone(&NAMES),
            ..Self::new()
        }
    }

    /// Links dialled through this value have `lanes` lanes; zero is read as one.
    #[must_use]
    pub fn with_lanes(mut self, lanes: u8) -> Self {
        self.lanes = lanes.max(1);
        self
    }

    /// Links dialled through this value hold at most `pipe_bytes` unread bytes per lane and direction; zero is read
    /// as one, because a pipe without room moves nothing.
    #[must_use]
    pub fn with_pipe_bytes(mut self, pipe_bytes: usize) -> Self {
        self.pipe_bytes = pipe_bytes.max(1);
        self
    }
}

impl Default for MemTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for MemTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            TransportError::check_scheme(locator, SCHEME)?;
            let (dialled, accepted) = pair(locator, self.lanes, self.pipe_bytes);
            self.names.offer(locator, accepted)?;
            Ok(Box::new(dialled) as Box<dyn Link>)
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            TransportError::check_scheme(locator, SCHEME)?;
            Ok(Box::new(MemListener::bind(&self.names, locator)?) as Box<dyn Listener>)
        })
    }
}

const SCHEME: &str = "mem";

/// How many unread bytes a pipe holds: the same 64 KiB that one read takes, so that a reader empties a full pipe in
/// one poll and a slow reader holds its writer up soon.
pub const PIPE_BYTES: usize = crate::READ_CHUNK_BYTES;

/// How many links may wait to be accepted at one name. It is what a busy TCP listener is commonly given.
pub const WAITING_LINKS_MAX: usize = 1024;
