//! A gateway that gives services to plain HTTP clients: `POST /v2/call/{service}/{method}`.
//!
//! [`Gateway`] serves HTTP/1.1 and HTTP/2 and asks an [`Upstream`], which is whatever answers calls: this crate knows no
//! sessions, and any service can stand behind it. Bodies are handed on as they are. Failures become the status that
//! `docs/protocol/errors.md` gives their code, with a body of `application/problem+json` (RFC 9457).
//!
//! ```
//! use bytes::Bytes;
//! use valkyrie_transport::BoxFuture;
//! use valkyrie_transport_http::gateway::{Asked, Failure, Gateway, Replies, Upstream};
//!
//! struct Greeter;
//!
//! impl Upstream for Greeter {
//!     fn call(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Failure>> {
//!         Box::pin(async move { Ok([b"Hello, ", &asked.body[..]].concat().into()) })
//!     }
//!
//!     fn stream(&self, _: Asked) -> BoxFuture<'_, Result<Box<dyn Replies>, Failure>> {
//!         Box::pin(async { Err(Failure::not_found("nothing here streams")) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Gateway::new(Greeter).listen(&"http://127.0.0.1:0".parse()?).await?;
//! let place = server.locator().clone();
//! # assert!(place.rest().starts_with("127.0.0.1:"));
//! server.run(async {}).await;
//! # Ok(()) }
//! ```
//!
//! The wire is specified in `docs/protocol/transports.md`, section `gateway`. Read [`Upstream`] first.

mod answer;
mod ask;
mod body;
mod events;
mod openapi;
mod options;
mod origin;
mod routes;
mod serve;
mod upstream;
mod watch;

pub use ask::{TIMEOUT_DEFAULT, TIMEOUT_MAX};
pub use events::KEEPALIVE_INTERVAL;
pub use options::{
    BODY_BYTES_MAX, BODY_TIME_MAX, CONNECTIONS_MAX, DRAIN_TIME_MAX, Gateway, HEAD_TIME_MAX, IDLE_TIME_MAX,
    STREAMS_MAX,
};
pub use serve::GatewayServer;
pub use upstream::{Asked, BearerToken, Failure, Metadata, Offer, Replies, Shape, Upstream};
