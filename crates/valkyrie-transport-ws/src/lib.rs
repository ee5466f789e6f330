//! Valkyrie links over WebSocket (RFC 6455): `ws://host:port/path`, and `wss://host:port/path` over TLS.
//!
//! [`WsTransport`] dials and listens. What a link carries is a stream of bytes in binary messages, whose boundaries mean
//! nothing; an empty binary message ends the direction it was sent in. Proxies that speak WebSocket pass it, and
//! browsers can dial it. Nothing is retried, reconnected or compressed here.
//!
//! ```
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_ws::WsTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = WsTransport::new();
//! let mut listener = transport.listen(&"ws://127.0.0.1:0/valkyrie".parse()?).await?;
//! let locator = listener.locator().clone();
//! let (dialled, accepted) = tokio::join!(transport.dial(&locator), accept(&mut *listener));
//! assert_eq!(dialled?.peer(), locator.to_string().replace("://", " "));
//! # drop(accepted); Ok(())
//! # }
//! ```
//!
//! The wire is specified in `docs/protocol/transports.md`, section `ws`. Read [`WsTransport`] first, for its options;
//! [`frame`] is the layer of WebSocket frames by itself.

mod dial;
mod error;
pub mod frame;
mod link;
mod listener;
mod options;
mod origin;
mod place;
mod stream;
mod upgrade;
mod wire;

pub use error::{LinkFault, UpgradeError};
pub use link::{BARREN_READS_MAX, OUT_FRAME_BYTES_MAX};
pub use options::{
    BACKLOG, CONNECT_TIMEOUT, DIAL_ADDRESSES_MAX, HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, NOTSENT_LOWAT_BYTES,
    WsTransport,
};
pub use upgrade::{HEAD_BYTES_MAX, HEADERS_MAX, SUBPROTOCOL};
