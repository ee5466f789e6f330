//! The transport and what can be chosen about its links.

use std::net::IpAddr;
use std::time::Duration;

use valkyrie_transport::{BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::wire::{RING_BYTES_RANGE, SLOT_BYTES_RANGE, SLOTS_RANGE};

/// The transport of `rdma://host:port` locators.
///
/// The host is a name, an IPv4 address, or an IPv6 address in brackets, of a network device that an RDMA device belongs to:
/// RoCE, iWARP, or IP over InfiniBand. Port 0 listens on any free port, and the listener's locator says which; ports are
/// those of the RDMA connection manager, and have nothing to do with TCP's. `0.0.0.0` and `[::]` listen on every device.
///
/// Without RDMA on the machine a transport can be made, and dialling and listening say what is missing.
///
/// A link holds registered memory for as long as it lives, about [`MEMORY_BYTES`] with the defaults; each `with_*` method
/// says what changing one costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RdmaTransport {
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) slots: u16,
    pub(crate) slot_bytes: u32,
    pub(crate) ring_bytes: u32,
    pub(crate) busy_polls: u32,
}

impl RdmaTransport {
    /// A transport with the default options.
    pub fn new() -> Self {
        Self {
            source: None,
            connect_timeout: CONNECT_TIMEOUT,
            slots: SLOTS,
            slot_bytes: SLOT_BYTES,
            ring_bytes: RING_BYTES,
            busy_polls: BUSY_POLLS,
        }
    }

    /// Dials from this local address. Peers of the other family cannot be reached then.
    pub fn with_source(mut self, source: Option<IpAddr>) -> Self {
        self.source = source;
        self
    }

    /// How long a dial may take in all: resolving the name, and trying its addresses.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many messages the peer may send before the first is read. More hide a slow reader for longer, and cost
    /// a [slot](RdmaTransport::with_slot_bytes) each, on either side. From 4 to 4,096; what is outside is brought inside.
    pub fn with_slots(mut self, slots: u16) -> Self {
        self.slots = slots.clamp(*SLOTS_RANGE.start(), *SLOTS_RANGE.end());
        self
    }

    /// How long a message may be that the peer sends, and that this side sends; what is longer is written to the ring. From
    /// 256 bytes to 1 MiB; what is outside is brought inside.
    pub fn with_slot_bytes(mut self, bytes: u32) -> Self {
        self.slot_bytes = bytes.clamp(*SLOT_BYTES_RANGE.start(), *SLOT_BYTES_RANGE.end());
        self
    }

    /// How many bytes the peer may write that have not been read. 0 offers no ring, and then all comes in messages. From
    /// 8 KiB to 64 MiB otherwise; what is outside is brought inside.
    pub fn with_ring_bytes(mut self, bytes: u32) -> Self {
        self.ring_bytes = match bytes {
            0 => 0,
            bytes => bytes.clamp(*RING_BYTES_RANGE.start(), *RING_BYTES_RANGE.end()),
        };
        self
    }

    /// How often a reader or writer that waits looks for completions before it lets its thread go. 0 never keeps a thread
    /// busy.
    pub fn with_busy_polls(mut self, looks: u32) -> Self {
        self.busy_polls = looks;
        self
    }
}

impl Default for RdmaTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for RdmaTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            TransportError::check_scheme(locator, SCHEME)?;
            dial(self, locator).await
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            TransportError::check_scheme(locator, SCHEME)?;
            listen(self, locator).await
        })
    }
}

#[cfg(feature = "verbs")]
async fn dial(options: &RdmaTransport, locator: &Locator) -> Result<Box<dyn Link>, TransportError> {
    let link = crate::dial::dial(options, locator).await?;
    Ok(Box::new(link))
}

#[cfg(feature = "verbs")]
async fn listen(options: &RdmaTransport, locator: &Locator) -> Result<Box<dyn Listener>, TransportError> {
    let listener = crate::listener::listen(options, locator).await?;
    Ok(Box::new(listener))
}

#[cfg(not(feature = "verbs"))]
async fn dial(_: &RdmaTransport, locator: &Locator) -> Result<Box<dyn Link>, TransportError> {
    Err(no_binding(locator))
}

#[cfg(not(feature = "verbs"))]
async fn listen(_: &RdmaTransport, locator: &Locator) -> Result<Box<dyn Listener>, TransportError> {
    Err(no_binding(locator))
}

#[cfg(not(feature = "verbs"))]
fn no_binding(locator: &Locator) -> TransportError {
    TransportError::Unusable {
        locator: locator.clone(),
        reason: crate::RdmaError::NoBinding.to_string(),
    }
}

pub(crate) const SCHEME: &str = "rdma";

/// The default time for a dial in all. The connection manager asks again by itself meanwhile.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default number of messages that the peer may send before the first is read.
pub const SLOTS: u16 = 32;

/// The default length of a message: a page, which is a batch of dozens of small frames.
pub const SLOT_BYTES: u32 = 4096;

/// The default length of the ring: sixteen of the largest default frames.
pub const RING_BYTES: u32 = 256 * 1024;

/// The default number of looks before a thread is let go. On a device of today a look takes about a tenth of a microsecond, so
/// this is a few microseconds, about what being woken costs.
pub const BUSY_POLLS: u32 = 32;

/// About what a link holds with the defaults: receives, ring, slots to send from and a place to write from.
pub const MEMORY_BYTES: usize = 2 * (SLOTS as usize * SLOT_BYTES as usize + RING_BYTES as usize);
