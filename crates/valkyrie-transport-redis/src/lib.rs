//! A Valkyrie bus, and Valkyrie links between named nodes, through a Redis server of version 6 or later.
//!
//! Two things for two uses. [`RedisBus`] publishes and subscribes whole messages by topic, many to many; what is lost is
//! counted. [`RedisTransport`] makes links: a node listens at `redis://host:port/node` and others dial the same locator, so
//! that both only need a way out to the broker. Nothing is retried or sealed here, and a bus or a link whose broker is gone is
//! over.
//!
//! ```no_run
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_redis::RedisTransport;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = RedisTransport::new();
//! let place = "redis://127.0.0.1:6379/kitchen".parse()?;
//! let mut listener = transport.listen(&place).await?;
//! let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
//! assert_eq!(dialled?.peer(), "redis 127.0.0.1:6379/kitchen");
//! # drop(accepted); Ok(())
//! # }
//! ```
//!
//! The wire is specified in `docs/protocol/transports.md`, section `redis`. Read [`RedisTransport`] first, for its options.

mod broker;
mod bus;
mod dial;
mod error;
mod link;
mod listener;
mod options;
mod packet;
mod place;
mod wire;

pub use bus::{DEFAULT_SPACE, PACKET_BYTES_MAX, PACKET_MESSAGES_MAX, RedisBus, SOURCES_MAX, TOPICS_MAX};
pub use error::{BrokerFault, LinkFault};
pub use link::{OUTBOX_BYTES_MAX, WINDOW_BYTES};
pub use listener::{CLAIM_TIME_MAX, OPENINGS_MAX, RETURN_INTERVAL, WAITING_LINKS_MAX};
pub use options::{
    ANSWER_TIME_MAX, CONNECT_TIMEOUT, DIAL_ADDRESSES_MAX, HEARTBEAT_INTERVAL, KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL, RedisTransport, SILENT_HEARTBEATS_MAX,
};
pub use place::NAME_BYTES_MAX;
