//! What every [`Bus`] must do, as one function for each behaviour.
//!
//! A bus's own crate runs the suite with [`bus_conformance_tests!`](crate::bus_conformance_tests):
//!
//! ```no_run
//! use valkyrie_transport::conformance::bus::{BusHarness, MAILBOX};
//! use valkyrie_transport::{Bus, bus_conformance_tests, mem::MemBus};
//!
//! fn harness() -> BusHarness {
//!     let bus = MemBus::new().with_mailboxes(MAILBOX);
//!     BusHarness::new(move || {
//!         let bus = Box::new(bus.clone()) as Box<dyn Bus>;
//!         async { bus }
//!     })
//! }
//!
//! bus_conformance_tests!(harness());
//! # fn main() {}
//! ```
//!
//! Every behaviour panics when the bus does not show it, and when it takes longer than
//! [`BEHAVIOUR_TIME_MAX`](super::BEHAVIOUR_TIME_MAX).

mod delivery;
mod pressure;
mod topics;

use std::fmt;
use std::future::{Future, poll_fn};

use bytes::Bytes;

use crate::{BoxFuture, Bus, BusError, BusMessage, MailboxBounds, Subscription};

pub use self::delivery::{
    a_batch_keeps_its_order, a_bus_describes_itself, a_large_message_arrives,
    a_message_reaches_its_subscribers, a_subscriber_that_waits_is_woken, a_too_large_message_is_refused,
    many_subscribers_get_everything, order_holds_for_each_publisher,
};
pub use self::pressure::{
    a_slow_subscriber_holds_up_nobody, a_slow_subscriber_misses_the_oldest_and_counts_them,
    dropping_a_subscription_ends_it,
};
pub use self::topics::{
    a_message_comes_once_however_many_patterns_match, bad_topics_are_refused_whole,
    characters_that_mean_something_elsewhere_mean_nothing, patterns_match_segments,
    subscribing_is_all_or_nothing,
};

/// Makes one `#[test]` of each behaviour of the suite for buses. The argument is an expression that makes a fresh
/// [`BusHarness`](crate::conformance::bus::BusHarness).
#[macro_export]
macro_rules! bus_conformance_tests {
    ($harness:expr) => {
        $crate::bus_conformance_tests! { @each $harness;
            a_batch_keeps_its_order
            a_bus_describes_itself
            a_large_message_arrives
            a_message_comes_once_however_many_patterns_match
            a_message_reaches_its_subscribers
            a_slow_subscriber_holds_up_nobody
            a_slow_subscriber_misses_the_oldest_and_counts_them
            a_subscriber_that_waits_is_woken
            a_too_large_message_is_refused
            bad_topics_are_refused_whole
            characters_that_mean_something_elsewhere_mean_nothing
            dropping_a_subscription_ends_it
            many_subscribers_get_everything
            order_holds_for_each_publisher
            patterns_match_segments
            subscribing_is_all_or_nothing
        }
    };
    (@each $harness:expr; $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                $crate::conformance::run(
                    stringify!($behaviour),
                    || $harness,
                    $crate::conformance::bus::$behaviour,
                );
            }
        )*
    };
}

/// A bus under test.
pub struct BusHarness {
    connect: Box<dyn Fn() -> BoxFuture<'static, Box<dyn Bus>> + Send + Sync>,
}

impl BusHarness {
    /// A harness whose buses `connect` makes: handles to one and the same bus, such as two programs would have. They make
    /// mailboxes of the bounds [`MAILBOX`], and nobody but the harness publishes there.
    pub fn new<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Box<dyn Bus>> + Send + 'static,
    {
        Self {
            connect: Box::new(move || Box::pin(connect())),
        }
    }

    async fn connect(&self) -> Box<dyn Bus> {
        (self.connect)().await
    }
}

impl fmt::Debug for BusHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusHarness").finish_non_exhaustive()
    }
}

/// The bounds of mailboxes under test: small, so that a slow subscriber is soon a subscriber that misses something, and
/// large enough for a message of any size.
pub const MAILBOX: MailboxBounds = MailboxBounds {
    messages: 1000,
    bytes: crate::MAILBOX_BYTES_MAX,
};

fn message(topic: &str, payload: impl Into<Bytes>) -> BusMessage {
    BusMessage {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: payload.into(),
    }
}

/// A message that says who sent it and which it is.
fn numbered(topic: &str, publisher: usize, number: usize) -> BusMessage {
    message(topic, format!("{publisher} {number}"))
}

fn numbers(message: &BusMessage) -> (usize, usize) {
    let text = String::from_utf8_lossy(&message.payload);
    let (publisher, number) = text.split_once(' ').unwrap_or_else(|| panic!("not ours: {text}"));
    let number_of = |text: &str| {
        text.parse()
            .unwrap_or_else(|error| panic!("not ours: {text}, {error}"))
    };
    (number_of(publisher), number_of(number))
}

async fn subscribe(bus: &dyn Bus, patterns: &[&str]) -> Box<dyn Subscription> {
    let patterns: Vec<Bytes> = patterns
        .iter()
        .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        .collect();
    let subscription = bus.subscribe(&patterns).await;
    subscription.unwrap_or_else(|error| panic!("the suite cannot subscribe: {error}"))
}

async fn publish(bus: &dyn Bus, batch: &[BusMessage]) {
    bus.publish(batch)
        .await
        .unwrap_or_else(|error| panic!("the suite cannot publish: {error}"));
}

/// Reads until `enough` says so of everything that has been read.
async fn read_until(
    subscription: &mut dyn Subscription,
    mut enough: impl FnMut(&[BusMessage]) -> bool,
) -> Vec<BusMessage> {
    let mut read = Vec::new();
    while !enough(&read) {
        let before = read.len();
        match poll_fn(|cx| subscription.poll_batch(cx, READ_MAX, &mut read)).await {
            Ok(count) => {
                assert_eq!(
                    read.len(),
                    before + count,
                    "a batch says {count} and appends another number"
                );
                assert!(
                    0 < count && count <= READ_MAX,
                    "a batch of at most {READ_MAX} brought {count}"
                );
            }
            Err(error) => panic!("a subscription failed after {before} messages: {error}"),
        }
    }
    read
}

/// Reads `count` messages and expects no more of them to have come with the last.
async fn read(subscription: &mut dyn Subscription, count: usize) -> Vec<BusMessage> {
    let read = read_until(subscription, |read| read.len() >= count).await;
    assert_eq!(read.len(), count, "more arrived than was published: {read:?}");
    read
}

fn expect_bad_topic<T>(result: Result<T, BusError>, what: &str) {
    match result {
        Err(BusError::BadTopic(_)) => {}
        Err(error) => panic!("{what} gave {error:?}"),
        Ok(_) => panic!("{what} was taken"),
    }
}

/// A number that no other is a multiple of, so that batches end in the middle of what was published.
const READ_MAX: usize = 37;
