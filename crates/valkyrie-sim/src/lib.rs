//! Virtual time and lossy, slow, reordering links for testing Valkyrie sessions.
//!
//! Nothing here sleeps, opens a socket or reads a clock while it runs: time moves when a test moves
//! it, and every random choice comes from a seed, so a run that failed fails again.
//!
//! It is no model of one network. A [`Pipe`] is an ordered byte stream over packets that get lost
//! and overtake each other, which a session sees as stalls; [`Datagrams`] really lose and reorder.
//! Read [`Pair`] first: two sessions and the two pipes between them.

mod chaos;
mod clock;
mod datagrams;
mod pair;
mod pipe;
mod rng;
mod roaming;
mod world;

pub use chaos::{Chaos, Counts};
pub use clock::Clock;
pub use datagrams::{DatagramPath, Datagrams};
pub use pair::{Node, Pair};
pub use pipe::{Path, Pipe};
pub use rng::Rng;
pub use roaming::{Roaming, Sign, Tally};
pub use world::World;
