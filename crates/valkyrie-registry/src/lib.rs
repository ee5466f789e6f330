//! Who is here and are they well: agents under leases in a store, signed by themselves, watched and queried by everybody else.
//!
//! The parts, from the store up:
//!
//! - [`ledger`] is what a store is at heart: entries, leases, revisions and history as a state machine without I/O.
//! - [`store`] is the contract of a store.
//! - [`agent`] and [`record`] are what an agent says about itself, and the signature that makes a store unable to lie about it.
//! - [`directory`] is what a reader makes of a store: verified, indexed, asked by [`query`].
//! - [`mem`], [`embedded`] and `etcd` (a feature) are stores; [`registrar`] writes to one, [`presence`] keeps doing so, [`view`]
//!   follows one.
//! - [`health`] judges who is well, from what is heard of them.
//! - [`wire`] is what those who speak of all this write their payloads in.
//!
//! What this crate is not: it dials nobody and probes nobody. `valkyrie-registry-remote` serves a store to other machines.
//!
//! Read [`store`] first.

pub mod agent;
mod board;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod directory;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod health;
mod key;
pub mod ledger;
pub mod mem;
mod moment;
pub mod presence;
pub mod query;
pub mod record;
pub mod registrar;
pub mod store;
pub mod view;
pub mod wire;

#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
#[cfg(feature = "etcd")]
pub use etcd::EtcdStore;
pub use key::{KEY_BYTES_MAX, Key, KeyError, Prefix};
pub use mem::MemStore;
pub use moment::Moment;
pub use presence::Presence;
pub use registrar::{Registrar, Registration};
pub use store::Store;
pub use view::View;
