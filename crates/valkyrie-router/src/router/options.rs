//! What may be said of a message before it is sent, whatever kind of message it is.
//!
//! The builders keep it as one [`Options`] and have the same setters, which [`options!`] writes for each of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_endpoint::{Priority, remaining};
use valkyrie_frame::Class;

use super::routing::Routing;
use crate::Needs;

/// How one message goes.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) needs: Needs,
    pub(super) priority: Option<Priority>,
    pub(super) timeout: Option<Duration>,
    pub(super) key: Option<Bytes>,
    pub(super) trace: Option<[u8; 26]>,
}

impl Options {
    /// Of the class that the routing says, and nothing else.
    pub(super) fn new(routing: &Routing) -> Self {
        let class: Class = routing.class;
        Self {
            needs: Needs::of(class),
            priority: None,
            timeout: None,
            key: None,
            trace: None,
        }
    }

    /// When the whole has to be over: what the caller said or what is left to the handler that this is begun in, the sooner.
    pub(super) fn deadline(&self, begun: Instant) -> Option<Instant> {
        let allowed = match (self.timeout, remaining()) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        };
        allowed.and_then(|allowed| begun.checked_add(allowed))
    }
}

/// The setters of a builder that has a field `options`: `message` are those of every message, `timed` those of what has an answer.
macro_rules! options {
    (message) => {
        /// The class of service it travels in. What else was asked of the link is forgotten.
        pub fn class(mut self, class: valkyrie_frame::Class) -> Self {
            self.options.needs = crate::Needs::of(class);
            self
        }

        /// What the link has to be able to do, the class included.
        pub fn needs(mut self, needs: crate::Needs) -> Self {
            self.options.needs = needs;
            self
        }

        /// Its priority within the class.
        pub fn priority(mut self, priority: valkyrie_endpoint::Priority) -> Self {
            self.options.priority = Some(priority);
            self
        }

        /// What it is about. With [`Balance::ByKey`](crate::Balance::ByKey) equal keys go to the same peer.
        pub fn key(mut self, key: impl Into<bytes::Bytes>) -> Self {
            self.options.key = Some(key.into());
            self
        }
    };
    (timed) => {
        /// How long the whole may take, from the choice of a peer to the end of the answer, all attempts together. What is begun in a
        /// handler never outlives the handler's own deadline.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.timeout = Some(timeout);
            self
        }

        /// The trace it belongs to, as a W3C `traceparent` in binary.
        pub fn trace_context(mut self, context: &[u8; 26]) -> Self {
            self.options.trace = Some(*context);
            self
        }
    };
}

pub(super) use options;
