//! Valkyrie links over QUIC: `quic://host:port`.
//!
//! [`QuicTransport`] dials and listens over UDP. A link has five lanes, each a QUIC stream of its own, so that a packet
//! that was lost from one lane holds up no other. Links are encrypted by TLS 1.3 and give the handshake above them
//! something to be bound to.
//!
//! What it is not: nothing is retried, reconnected or moved to another network path here, there is no early data, and
//! no datagrams are carried.
//!
//! ```
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_quic::QuicTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = QuicTransport::new();
//! let mut listener = transport.listen(&"quic://127.0.0.1:0".parse()?).await?;
//! let dialled = transport.dial(listener.locator()).await?;
//! let accepted = accept(&mut *listener).await?;
//! assert_eq!(dialled.capabilities().lanes, 5);
//! assert_eq!(dialled.channel_binding(), accepted.channel_binding());
//! # Ok(())
//! # }
//! ```
//!
//! Read [`QuicTransport`] first, for its options. What is on the wire is in `docs/protocol/transports.md`.

mod accept;
mod config;
mod dial;
mod error;
mod lanes;
mod link;
mod listener;
mod options;
mod place;
mod socket;
mod waiter;

pub use accept::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, RETRY_ABOVE, WAITING_LINKS_MAX};
pub use config::{PACKET_BYTES_MAX, UDP_BUFFER_BYTES};
pub use dial::{ATTEMPT_DELAY, DIAL_ADDRESSES_MAX};
pub use error::QuicError;
pub use lanes::{ALPN, LANES};
pub use link::{CLOSE_TIMEOUT, FIRST_LANE_RESERVE_BYTES, FIRST_RECEIVE_WINDOW_BYTES};
pub use options::{CONNECT_TIMEOUT, IDLE_TIMEOUT, QuicTransport, RECEIVE_WINDOW_BYTES, SEND_WINDOW_BYTES};
