//! Valkyrie endpoints: links and sessions as an async API.
//!
//! An [`Endpoint`] listens on and dials any number of places. What it gets is a [`Connection`], which is the same on
//! both sides whoever dialled: either may [call](Connection::call), [notify](Connection::notify) and
//! [open streams](Connection::open), and either serves what its [`Services`] hold. Deadlines and cancellation pass
//! through handlers by themselves, a handler that panics hurts nobody else, and a [`Dialer`] keeps a connection up.
//!
//! Every connection is encrypted and both ends have proved who they are before it begins, unless both were told by name
//! to do [without](PlainRule). What a peer may call is decided by a [policy](EndpointBuilder::policy), which permits nothing
//! by itself, before a handler is looked for; handlers see the peer's [identity](Context::identity).
//!
//! It runs on tokio. It is not a transport (give it some) and decides nothing about the wire: order, credit and
//! limits are the session's, in `valkyrie-proto`.
//!
//! Read [`Endpoint`] first. Inside, `shared` says who writes when and why no wake-up is lost, `driver` is the one task
//! of a connection, and `core` is what they share; `secure` is what comes before a connection, `channel` what seals it, and
//! `guard` who decides about each call; `qos` is what can be replaced while connections live, `admission` who is refused when calls are too many, `shaping`
//! who waits when the link below is full.

mod accept;
mod admission;
mod audit;
mod auto;
mod builder;
mod call;
mod carried;
mod channel;
mod clock;
mod configs;
mod connection;
mod context;
mod continuity;
mod core;
mod dialer;
mod driver;
mod endpoint;
mod error;
mod greeting;
mod guard;
mod handler;
mod lanes;
mod local;
mod method;
mod mover;
mod notify;
mod qos;
mod redial;
mod resume;
mod roster;
mod secure;
mod services;
mod shaping;
mod shared;
mod stream;
mod sweep;
mod task;
mod wait;
mod worker;

pub use admission::{AdmissionError, AdmissionLimits};
pub use audit::{AuditSink, SecurityStats};
pub use builder::EndpointBuilder;
pub use call::Call;
pub use clock::remaining;
pub use connection::{Connection, ConnectionStats, LinkInfo};
pub use context::Context;
pub use dialer::Dialer;
pub use endpoint::{Endpoint, ToLocator};
pub use error::{
    BuildError, CallError, ConnectError, DialerError, ListenError, NotifyError, OpenError, PingError,
    Processed, RecvError, SendError, ServicesError,
};
pub use local::{LocalCall, LocalCaller};
pub use method::{Method, MethodError, ToMethod};
pub use notify::Notify;
pub use qos::{LimitChanges, Qos, QosClassStats, QosRefused, QosStats};
pub use redial::{Redial, WhileDown};
pub use secure::PlainRule;
pub use services::{Services, ServicesBuilder, Shape};
pub use stream::{IncomingStream, Open, RecvStream, SendStream};

pub use valkyrie_frame::{Class, ErrorCode, Extensions, Kind, Priority, Side};
pub use valkyrie_proto::{
    ApiMisuse, CloseReason, Config, ConfigError, CriticalRate, Culprit, DelayTarget, Failure, Keepalive,
    Limits, Message, Policy, Refusal, Shares, Stats,
};
/// Identities, trust, policies and suites.
pub use valkyrie_security as security;
pub use valkyrie_security::handshake::{HandshakeError, HandshakeLimits};
pub use valkyrie_security::policy::{Policy as AccessPolicy, PolicyHandle};
pub use valkyrie_security::trust::Expect;
pub use valkyrie_security::{Security, Verified};
pub use valkyrie_transport::{Link, Listener, Locator, Transport, TransportError};
