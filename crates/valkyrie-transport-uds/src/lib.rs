//! Valkyrie links over Unix domain sockets: `uds:///path` and, on Linux, `uds://@name`.
//!
//! [`UdsTransport`] dials and listens. A link knows who its peer is, because the kernel says so. A listener at a path
//! takes the place of a socket file that a dead listener left behind, and of nothing else; it removes its own file when
//! it is dropped.
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use valkyrie_transport::{Transport, accept};
//! use valkyrie_transport_uds::UdsTransport;
//!
//! let transport = UdsTransport::new();
//! let mut listener = transport.listen(&"uds://@a-name-of-ours".parse()?).await?;
//! let _dialled = transport.dial(listener.locator()).await?;
//! let accepted = accept(&mut *listener).await?;
//! let peer = accepted.capabilities().peer_credentials.ok_or("the kernel did not say")?;
//! assert_eq!(peer.pid, Some(std::process::id() as i32));
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))] fn main() {}
//! ```
//!
//! Read [`UdsTransport`] first, for its options. On systems that are not Unix this crate is empty.
#![cfg(unix)]

mod address;
mod dial;
mod link;
mod listener;
mod lock_file;
mod options;
mod socket_file;

pub use address::NAME_BYTES_MAX;
pub use options::{BACKLOG, CONNECT_TIMEOUT, UdsTransport};
