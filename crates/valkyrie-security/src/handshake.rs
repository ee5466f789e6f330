//! The handshake as two state machines, one for each end: bytes of the link in, bytes for the link out, and in the end who
//! the peer is and the channel to it.
//!
//! It does not dial, wait or retry; what follows a failure is for who drives it. Read [`DiallerHandshake`] first, and the
//! protocol's page on security for what travels.

mod acceptor;
mod admission;
mod cookie;
mod dialler;
pub(crate) mod envelope;
mod error;
mod gate;
mod keyed;
mod replay;
mod rules;
#[cfg(test)]
mod tests;
mod ticket;

pub use acceptor::{AcceptorHandshake, Arrival};
pub use admission::{AdmissionStats, HalfOpenId, HandshakeLimits, Rate};
pub use cookie::Cookies;
pub use dialler::{Dial, DiallerHandshake};
pub use envelope::{Protection, Refusal};
pub use error::{Culprit, HandshakeError};
pub use gate::{Gate, LetIn};
pub use keyed::{After, Aftermath, Established, Wire};
pub use rules::{Known, Suites, Ticket};
