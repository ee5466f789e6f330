//! Valkyrie links over RDMA: `rdma://host:port`.
//!
//! [`RdmaTransport`] dials and listens through the RDMA connection manager, over RoCE, InfiniBand or iWARP. A link is one
//! reliable-connected queue pair with registered memory of its own: small batches are sent, large ones are written
//! to a ring in the peer's memory, and credit sees to it that a receive is never missing.
//!
//! What it is not: nothing is encrypted, retried or reconnected here. A link says that it is not secure, and what it carries
//! is sealed above it. No speed is promised: it has been run on a device in software only.
//!
//! The libraries libibverbs and librdmacm are opened when the program runs. Without them, or without a device, dialling and
//! listening fail and say what is missing. The binding is behind the feature `verbs`, because building it wants CMake and
//! libclang; without that everything here builds, and says so when asked for a link:
//!
//! ```
//! use valkyrie_transport::{Transport, TransportError};
//! use valkyrie_transport_rdma::RdmaTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! match RdmaTransport::new().listen(&"rdma://0.0.0.0:0".parse()?).await {
//!     Ok(listener) => assert_eq!(listener.locator().scheme(), "rdma"),
//!     Err(TransportError::Unusable { reason, .. }) => assert!(!reason.is_empty()),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Read [`RdmaTransport`] first, for its options. What is on the wire is in `docs/protocol/transports.md`. `unsafe` is in
//! the modules `device` and `library`, and nowhere else.

mod error;
mod options;
// What has no use without a binding is still tested without one.
#[cfg_attr(not(feature = "verbs"), allow(dead_code))]
mod flow;
#[cfg_attr(not(feature = "verbs"), allow(dead_code))]
mod wire;

#[cfg(feature = "verbs")]
mod accept;
#[cfg(feature = "verbs")]
mod conn;
#[cfg(feature = "verbs")]
#[allow(unsafe_code)]
mod device;
#[cfg(feature = "verbs")]
mod dial;
#[cfg(feature = "verbs")]
mod ffi;
#[cfg(feature = "verbs")]
#[allow(unsafe_code)]
mod library;
#[cfg(feature = "verbs")]
mod link;
#[cfg(feature = "verbs")]
mod listener;
#[cfg(feature = "verbs")]
mod place;
#[cfg(feature = "verbs")]
mod relay;
#[cfg(all(test, feature = "verbs"))]
mod tests;

#[cfg(feature = "verbs")]
pub use accept::{OPENING_TIMEOUT, OPENINGS_MAX, WAITING_LINKS_MAX};
pub use error::RdmaError;
pub use options::{BUSY_POLLS, CONNECT_TIMEOUT, MEMORY_BYTES, RING_BYTES, RdmaTransport, SLOT_BYTES, SLOTS};
#[cfg(feature = "verbs")]
pub use place::DIAL_ADDRESSES_MAX;
pub use wire::{HelloError, MessageError};
