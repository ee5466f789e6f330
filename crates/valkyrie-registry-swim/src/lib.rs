//! Who is here, without a store: every node watches some others, and tells what each has signed of itself.
//!
//! - [`Swim`] is a member of a fleet as a state machine: SWIM's probes and gossip (by the crate foca), with proof for all that is good and time to
//!   answer for all that is bad.
//! - [`Node`] runs one over an endpoint, and gives the same [`View`](valkyrie_registry::View) that a registry's readers have, so that
//!   `valkyrie-router` and everything else that follows one does not know the difference.
//! - [`wire`] is what members say to each other; `docs/protocol/membership.md` specifies it.
//!
//! What this crate is not: a [`Store`](valkyrie_registry::Store). Each member believes what it has heard, and two may differ for a second;
//! where a decision needs one answer, it needs a store.
//!
//! Read [`Node`] first, then [`Swim`].

mod config;
mod detector;
mod life;
pub mod node;
mod roll;
mod swim;
pub mod wire;

pub use config::{ROUND_TRIP, SwimConfig, SwimConfigError};
pub use life::{Life, Numbers};
pub use node::{Members, Node, service};
pub use swim::{GoneWhy, Now, PacketError, Recipient, Swim, SwimEvent, SwimStats, Transmit};
