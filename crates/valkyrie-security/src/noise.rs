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
//! Keys come from [`Finished`] alone. An unfinished handshake has none to give:
//!
//! ```compile_fail,E0599
//! # use valkyrie_security::noise::Dialling;
//! fn too_early(dialling: &Dialling) {
//!     dialling.schedule();
//! }
//! ```
//!
//! and one that failed is gone:
//!
//! ```compile_fail,E0382
//! # use valkyrie_security::noise::{Accepting, Finished};
//! fn once_more(accepting: Accepting, message: &[u8]) -> Option<Finished> {
//!     accepting.third(message).or_else(|_| accepting.third(message)).ok()
//! }
//! ```
//!
//! A whole handshake between two peers:
//!
//! ```
//! use valkyrie_security::SuiteId;
//! use valkyrie_security::noise::{Accepted, Accepting, Dialling};
//! use valkyrie_security::provider::{Providers, StaticKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ada, bob) = (StaticKey::generate()?, StaticKey::generate()?);
//! let (suite, providers) = (SuiteId::XX_AES.suite().unwrap(), Providers::default());
//! let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
//!
//! let dialling = Dialling::start(suite, &providers, &ada, None, None, b"", b"", &mut first)?;
//! let opened = Accepting::read(suite, &providers, &bob, None, b"", &first)?;
//! let Accepted::Waiting(accepting) = opened.answer(&mut second)? else { unreachable!("XX has a third message") };
//! let dialled = dialling.second(&second, &mut third)?;
//! let accepted = accepting.third(&third)?;
//!
//! assert_eq!((dialled.peer(), accepted.peer()), (bob.public(), ada.public()));
//! assert_eq!(dialled.schedule().exporter(), accepted.schedule().exporter());
//! # Ok(())
//! # }
//! ```
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
pub(crate) mod tests;
