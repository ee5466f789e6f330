//! The contracts that every Valkyrie transport implements.
//!
//! A [`Transport`] turns a [`Locator`] into a [`Link`] (by dialling) or a [`Listener`] (by listening). A link is bytes
//! between exactly two peers, in order, on one or more [`Lane`]s. A [`Bus`] is whole messages to many.
//!
//! What this crate is not: it does no network I/O, reads no clock, spawns nothing and depends on no runtime. It does
//! not retry, reconnect, fall back or encrypt, and neither does any transport; those live once, in the endpoint.
//! The feature `tls` is for transports that run on TLS and want the same configuration of it. [`Pace`] is for those that run over TCP.
//!
//! A new transport implements [`Transport`], [`Listener`] and [`Link`] in a crate of its own and runs the suite in
//! `conformance` (feature `conformance`). There is no list of transports to edit.
//!
//! The memory transport and the in-process bus ([`mem`]) are the implementations here, because they need nothing but
//! memory.
//!
//! Read [`Link`] first.

mod bus;
mod capabilities;
mod error;
mod link;
mod listener;
mod locator;
pub mod mem;
mod pace;
mod transport;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "tls")]
pub mod tls;

pub use bus::{
    Bus, BusAction, BusError, BusMessage, MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX, MESSAGE_BYTES_MAX,
    Mailbox, MailboxBounds, PATTERNS_MAX, Subscription, TOPIC_BYTES_MAX, TopicError, TopicPattern,
    check_topic,
};
pub use capabilities::{Capabilities, PeerCredentials};
pub use error::{Action, Fault, TransportError};
pub use link::{Lane, Link, NoSuchLane, READ_CHUNK_BYTES, READ_SPARE_BYTES_MIN, reserve_for_read};
pub use listener::{Listener, accept};
pub use locator::{HostPort, LOCATOR_BYTES_MAX, Locator, LocatorError, SCHEME_BYTES_MAX};
pub use pace::{PACE_BYTES_MIN, PACE_TIME, Pace};
pub use transport::{BoxFuture, Transport};
