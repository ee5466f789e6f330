//! A registry for others: any [`Store`](valkyrie_registry::Store) served over Valkyrie, and the store that a client has of it.
//!
//! - [`service()`] gives a store to peers, each of whom may write what is its own.
//! - [`RemoteStore`] is that store at the other end of a connection, so that views, registrars and everything else that is built on a store
//!   works over a network as it does beside a file.
//! - [`wire`] is what they say to each other; `docs/protocol/registry.md` specifies it.
//!
//! What this crate is not: it keeps nothing, and it makes no store more available than it is. A registry that is served by one node is away
//! while that node is.
//!
//! Read [`service()`] first.

mod client;
mod fault;
mod policy;
mod service;
pub mod wire;

pub use client::{RemoteConfig, RemoteStore};
pub use policy::default_policy;
pub use service::{ServiceBounds, service};
