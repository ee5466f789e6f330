//! Valkyrie links over TCP: `tcp://host:port`.
//!
//! [`TcpTransport`] dials names and addresses (IPv4 and IPv6 racing, as RFC 8305 has it) and listens. Its links are
//! plain: nothing is encrypted, retried or reconnected here.
//!
//! ```
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_tcp::TcpTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = TcpTransport::new();
//! let mut listener = transport.listen(&"tcp://127.0.0.1:0".parse()?).await?;
//! let dialled = transport.dial(listener.locator()).await?;
//! let accepted = accept(&mut *listener).await?;
//! assert_eq!(dialled.peer(), listener.locator().to_string().replace("://", " "));
//! # drop(accepted); Ok(())
//! # }
//! ```
//!
//! Read [`TcpTransport`] first, for its options.

mod dial;
mod eyeballs;
mod link;
mod listener;
mod options;

pub use dial::{DialFailure, DialFailures};
pub use options::{
    ATTEMPT_DELAY, BACKLOG, CONNECT_TIMEOUT, DIAL_ADDRESSES_MAX, KEEPALIVE, Keepalive, NOTSENT_LOWAT_BYTES,
    TcpTransport,
};
