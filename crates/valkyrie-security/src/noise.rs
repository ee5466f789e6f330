//! The Noise handshake: messages in, messages out, at its end two keys and the proved static key of the peer.
//!
//! The phases are types, so what belongs to a later phase cannot be had in an earlier one:
//!
//! ```text
//! dialler     Dialling::start ── second ──────────────► Finished
//! acceptor    Accepting::read ─► Opened ── answer ──┬─► Finished                  IK
//!                                                   └─► Accepting ── third ──► Finished   XX
//! ```
//!
//! Every step takes the phase by value: after an error there is nothing left to go on with, or to go on with wrongly.
//!
//! `snow` orders the messages and hashes the transcript. It does so without the secrets, which stay in a vault of this module:
//! read `vault.rs` for why. It knows no ML-KEM either; read `resolver.rs` for how a suite gets its honest name.

mod accepting;
mod dialling;
mod error;
mod finished;
mod primitives;
mod resolver;
mod size;
mod state;
mod vault;

pub use accepting::{Accepted, Accepting, Opened};
pub use dialling::Dialling;
pub use error::NoiseError;
pub use finished::Finished;
pub use size::{FIRST_PAYLOAD_BYTES_MAX, message_bytes};

#[cfg(test)]
mod tests;
