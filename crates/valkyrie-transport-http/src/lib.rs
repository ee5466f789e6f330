//! Valkyrie links over HTTP/2: `http://host:port`, and `https://host:port` over TLS.
//!
//! [`HttpTransport`] dials and listens. A link is one request, `POST /v2/link`, whose body and whose answer's body are the
//! two directions of bytes; they flow at once, and proxies that speak HTTP/2 pass them. A link has a connection of its
//! own. Nothing is retried or reconnected here.
//!
//! ```
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_http::HttpTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = HttpTransport::new();
//! let mut listener = transport.listen(&"http://127.0.0.1:0".parse()?).await?;
//! let locator = listener.locator().clone();
//! let (dialled, accepted) = tokio::join!(transport.dial(&locator), accept(&mut *listener));
//! assert_eq!(dialled?.peer(), locator.to_string().replace("://", " "));
//! # drop(accepted); Ok(())
//! # }
//! ```
//!
//! The module `gateway`, a feature of the same name, is for plain HTTP clients of services; it shares no port with links.
//!
//! The wire is specified in `docs/protocol/transports.md`, section `http`. Read [`HttpTransport`] first, for its options.

mod conn;
mod dial;
mod error;
#[cfg(feature = "gateway")]
pub mod gateway;
mod io;
mod link;
mod listener;
mod open;
mod options;
mod place;
mod plain;
mod problem;
mod relay;
mod state;
mod stream;

pub use conn::{
    DATA_FRAME_BUDGET, FRAME_BYTES_MAX, HEAD_BYTES_MAX, OUT_BYTES_MAX, READ_QUANTUM_BYTES, RESETS_MAX,
    WIDEN_AFTER_BYTES, WINDOW_BYTES, WINDOW_FIRST_BYTES,
};
pub use error::{LinkFault, OpenError};
pub use link::LINGER_TIME_MAX;
pub use open::{CONTENT_TYPE, LINK_PATH};
pub use options::{
    BACKLOG, CONNECT_TIMEOUT, DIAL_ADDRESSES_MAX, HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, HttpTransport,
    NOTSENT_LOWAT_BYTES,
};
pub use plain::HEADERS_MAX;
