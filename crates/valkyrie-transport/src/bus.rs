//! The contract of a bus: whole messages, by topic, to many.
//!
//! Unlike a [`Link`](crate::Link), a bus has no peer, no order across publishers and no end of input. It is called once
//! for a batch.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{BoxFuture, Capabilities, Locator};

/// Publishes and subscribes whole messages by topic.
///
/// An implementation says through [`Bus::capabilities`] what it promises. A bus that is not `reliable` may lose
/// messages; it counts what it knows it lost in [`Subscription::missed`].
pub trait Bus: Send + Sync + 'static {
    /// What this bus promises. `lanes` is 1 and `peer_credentials` is `None`: a bus has no single peer.
    fn capabilities(&self) -> Capabilities;

    /// Where this bus is.
    fn locator(&self) -> &Locator;

    /// Publishes a batch, in order.
    ///
    /// # Errors
    ///
    /// [`BusError::Partial`] says how many messages of the front of the batch were taken; any other error means that
    /// none was.
    fn publish<'a>(&'a self, batch: &'a [BusMessage]) -> BoxFuture<'a, Result<(), BusError>>;

    /// Subscribes to exactly these topics. Messages published after the future is ready are received.
    ///
    /// # Errors
    ///
    /// The subscription is all or nothing: on an error none of the topics is subscribed.
    fn subscribe<'a>(&'a self, topics: &'a [Bytes])
    -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>>;
}

/// One subscriber's place at a [`Bus`]. Dropping it unsubscribes.
pub trait Subscription: Send {
    /// Appends the messages that are waiting to `into`, at most `max`, and says how many; at least 1.
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
    /// The topic, at most [`TOPIC_BYTES_MAX`] bytes.
    pub topic: Bytes,
    /// The content.
    pub payload: Bytes,
}

/// Why a bus operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The caller's topic is too long or empty. Nothing was published or subscribed.
    #[error("the topic has {length} bytes, and the caller may use 1 to {TOPIC_BYTES_MAX}; nothing was sent")]
    BadTopic {
        /// The length of the topic that was refused.
        length: usize,
    },
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
    /// The bus is gone. Nothing was published, and subscriptions are dead.
    #[error("the bus at {locator} is gone; subscribe again once it is back")]
    Disconnected {
        /// Where the bus is.
        locator: Locator,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

/// The longest topic: a table of topics is bounded in bytes only if its keys are.
pub const TOPIC_BYTES_MAX: usize = 255;
