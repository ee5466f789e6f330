//! The contract of a bus: whole messages, by topic, to many.
//!
//! Unlike a [`Link`](crate::Link), a bus has no peer, no order across publishers and no end of input. It is called once
//! for a batch.
//!
//! A topic is segments separated by dots, and a subscription names topics by [patterns](TopicPattern). The suite in
//! `conformance::bus` (feature `conformance`) says what every bus does; [`Mailbox`] is the bounded buffer that a bus
//! needs for each subscriber.

mod mailbox;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{BoxFuture, Capabilities, Locator};

pub use self::mailbox::{MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX, Mailbox, MailboxBounds};
pub use self::topic::{PATTERNS_MAX, TOPIC_BYTES_MAX, TopicError, TopicPattern, check_topic};

/// Publishes and subscribes whole messages by topic.
///
/// An implementation says through [`Bus::capabilities`] what it promises. What one publisher publishes arrives in that
/// order at each subscriber, whatever the topics. A bus that is not `reliable` may lose messages; it counts what it knows
/// it lost in [`Subscription::missed`]. A subscriber that is slow loses its oldest messages and holds up nobody.
pub trait Bus: Send + Sync + 'static {
    /// What this bus promises. `lanes` is 1 and `peer_credentials` is `None`: a bus has no single peer.
    fn capabilities(&self) -> Capabilities;

    /// Where this bus is.
    fn locator(&self) -> &Locator;

    /// Publishes a batch, in order. That nobody subscribes is no error.
    ///
    /// # Errors
    ///
    /// [`BusError::Partial`] says how many messages of the front of the batch were taken; any other error means that
    /// none was.
    fn publish<'a>(&'a self, batch: &'a [BusMessage]) -> BoxFuture<'a, Result<(), BusError>>;

    /// Subscribes to what matches any of these patterns; see [`TopicPattern`]. Messages published after the future is
    /// ready are received, each once however many of the patterns match it.
    ///
    /// # Errors
    ///
    /// The subscription is all or nothing: on an error none of the patterns is subscribed.
    fn subscribe<'a>(
        &'a self,
        patterns: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>>;
}

/// One subscriber's place at a [`Bus`]. Dropping it unsubscribes.
pub trait Subscription: Send {
    /// Appends the messages that are waiting to `into`, at most `max` (0 is read as 1), and says how many; at least 1.
    ///
    /// # Errors
    ///
    /// After [`BusError::Disconnected`] the subscription is dead and is to be dropped; messages appended by earlier
    /// calls are unaffected.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        into: &mut Vec<BusMessage>,
    ) -> Poll<Result<usize, BusError>>;

    /// How many messages this subscriber has missed because it was slow or the bus lost them, as far as the bus knows.
    fn missed(&self) -> u64;
}

/// A whole message on a [`Bus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusMessage {
    /// The topic, as [`check_topic`] takes it.
    pub topic: Bytes,
    /// The content, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub payload: Bytes,
}

/// Why a bus operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The caller's topic or pattern is malformed. Nothing was published or subscribed.
    #[error("{0}; nothing was published or subscribed")]
    BadTopic(#[from] TopicError),
    /// The caller's message is larger than the bus carries. Nothing was published.
    #[error("the message has {length} bytes and {locator} carries at most {length_max}; nothing was sent")]
    TooLarge {
        /// Where the bus is.
        locator: Locator,
        /// The length of the message that was refused.
        length: usize,
        /// What the bus carries.
        length_max: usize,
    },
    /// The bus failed in the middle of a batch. The first `taken` messages were published, the others were not.
    #[error("{locator} took {taken} messages of the batch and then failed; the others were not sent")]
    Partial {
        /// Where the bus is.
        locator: Locator,
        /// How many messages of the front of the batch were taken.
        taken: usize,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The bus does not let this user do it. Nothing was published or subscribed.
    #[error("{locator} does not let this user {action}; change the user's rights or its credentials")]
    Denied {
        /// Where the bus is.
        locator: Locator,
        /// What was attempted.
        action: BusAction,
        /// What the bus said.
        #[source]
        source: std::io::Error,
    },
    /// The bus is gone. Nothing was published, and subscriptions are dead.
    #[error("the bus at {locator} is gone; connect and subscribe again once it is back")]
    Disconnected {
        /// Where the bus is.
        locator: Locator,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// What was attempted when a [`BusError`] arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusAction {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
}

impl fmt::Display for BusAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// The largest payload of one message: brokers cut off a subscriber to whom more than about this waits, and what is larger
/// is better off on a link.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
