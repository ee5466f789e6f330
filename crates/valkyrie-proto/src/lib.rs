//! The Valkyrie session as a sans-IO state machine.
//!
//! A [`Session`] is one side of a conversation over one ordered byte pipe. It decides what every
//! frame means and in which order frames go out: the opening, exchanges (calls and their answers),
//! streams, credit on three levels, the five classes of service with their shares, fragments,
//! deadlines, cancellation, keepalive, drain, and budgets against abuse. It reads no clock, does
//! no I/O, spawns nothing and holds no waker: time is an argument, bytes come in through
//! [`Session::handle_input`] and go out through [`Session::poll_transmit`].
//!
//! It is not an async API (that is the endpoint's) and knows nothing of transports or security.
//!
//! After any call that changes the session, drain its polls: [`Session::poll_event`],
//! [`Session::poll_transmit`] when the wire is free, and [`Session::poll_timeout`] for when to call
//! [`Session::handle_timeout`]. Read [`Session`] first, then `docs/protocol/session.md`.

mod assembly;
mod config;
mod congestion;
mod control;
mod error;
mod event;
mod exchange;
mod flow;
mod guard;
mod inbox;
mod message;
mod resume;
mod rtt;
mod run;
mod scheduler;
mod session;
mod settings;
mod shaper;
mod stats;
mod stream;
mod timer;

pub use config::{
    Budgets, Config, ConfigError, CriticalRate, DelayTarget, Keepalive, Limits, Policy, Shares,
};
pub use error::{
    ApiMisuse, CallError, CloseReason, Culprit, OpenError, PeerMisbehaved, RecvError, Refusal, SendError,
    SessionError,
};
pub use event::{Event, ExchangeKey, Incoming, Opened, Peer, RequestId, StreamKey};
pub use inbox::Inbox;
pub use message::{Failure, Message};
pub use resume::{Counts, RESUME_TOKEN_LEN, Resume, SESSION_ID_LEN};
pub use session::{LaneSet, Offer, ResumeError, Session};
pub use settings::{MACHINE_LEN, PLACES_BYTES_MAX, RESUME_SECRET_LEN, ResumeKey, Settings, SettingsError};
pub use shaper::{ByClass, MemberKey, Shaper};
pub use stats::{ClassStats, Stats};
pub use valkyrie_frame::{Batch, Class, ErrorCode, Extensions, Kind, Priority, Side, StreamId};
