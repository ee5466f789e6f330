//! What clients and registries say to each other: the payloads of requests, answers and messages of streams, written and read.
//!
//! One thing that is said has one encoding, everything is bounded before memory is taken for it, and nothing may follow. This module
//! knows no connection. Read [`Request`] first, then [`Reply`].

#[cfg(fuzzing)]
pub mod fuzzing;
mod message;
mod parts;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use self::message::{ListMessage, WatchEnd, WatchMessage};
pub use self::reply::{Full, Refused, Reply};
pub use self::request::{KEEP_ALIVE_IDS_MAX, Method, Request};

use valkyrie_registry::store::TXN_BYTES_MAX;
pub use valkyrie_registry::wire::WireError;

/// The service that lets peers read, and write what is their own.
pub const SERVICE: &str = "registry";
/// The service that lets peers write everything: the same methods, but for those that read.
pub const OPERATOR_SERVICE: &str = "registry-operator";

/// Bytes of a request: a transaction of the largest size, and what its parts are wrapped in.
pub const REQUEST_BYTES_MAX: usize = TXN_BYTES_MAX + 64 * 1024;
/// Bytes of an answer, or of a message of a listing or a watch: a change that a transaction of the largest size made, and as much again for
/// stores that bound transactions otherwise.
pub const MESSAGE_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;
/// Bytes of a certificate: the signatures of a few replicas, of the longest kind there is.
pub const CERTIFICATE_BYTES_MAX: usize = 32 * 1024;
/// Bytes past which a message of a listing or a watch takes nothing more: enough that its head is no matter, little enough that many
/// clients can be slow at once.
pub const MESSAGE_BYTES_AIM: usize = 64 * 1024;
