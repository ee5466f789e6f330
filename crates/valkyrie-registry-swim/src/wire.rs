//! What members say to each other: packets, written and read.
//!
//! One packet has one encoding, everything is bounded before memory is taken for it, and nothing may follow. What a packet says is believed
//! by nobody because of how it is written: whose it is says the connection it came on, and what it says of agents says their signatures.
//! `docs/protocol/membership.md` is the specification.
//!
//! Read [`Packet`] first.

#[cfg(fuzzing)]
pub mod fuzzing;
mod packet;
#[cfg(test)]
mod tests;

pub use valkyrie_registry::wire::WireError;

pub use self::packet::{Kind, Packet, Probe, Source, Standing, Statement, Update};

/// The service that members offer each other.
pub const SERVICE: &str = "swim";
/// Its one method, a notification.
pub const METHOD: &str = "packet";

/// Members that one knows, itself included. Every member talks to every other in turn and lists all of them now and then, so a larger fleet
/// is better served by a store.
pub const MEMBERS_MAX: usize = 1024;
/// Updates of a packet: all who are here, and as many who are gone.
pub const UPDATES_MAX: usize = 2 * MEMBERS_MAX;
/// Agents that a packet asks about: what one packet of answers could have.
pub const WANTED_MAX: usize = 64;
/// Statements of a packet.
pub const STATEMENTS_MAX: usize = 64;
/// Bytes of a packet: the longest list there is, and one statement of the longest kind.
pub const PACKET_BYTES_MAX: usize = 280 * 1024;
/// Bytes past which a packet takes no further statement: a few frames, so that what is urgent does not wait long behind it.
pub const PACKET_BYTES_AIM: usize = 32 * 1024;

/// An update: an id of the longest kind, two numbers and a standing.
const UPDATE_BYTES_MAX: usize = 32 + 1 + valkyrie_registry::agent::WORD_BYTES_MAX + 8 + 8 + 1;
const _: () = assert!(
    UPDATES_MAX * UPDATE_BYTES_MAX + PACKET_BYTES_AIM + valkyrie_registry::record::RECORD_BYTES_MAX
        < PACKET_BYTES_MAX
);
