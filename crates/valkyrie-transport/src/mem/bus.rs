//! The in-process bus: a table of who subscribes to what.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{
    BoxFuture, Bus, BusError, BusMessage, Capabilities, Locator, MESSAGE_BYTES_MAX, Mailbox, MailboxBounds,
    Subscription, TopicPattern, check_topic,
};

/// A bus within one process, the default where nothing is to leave it. Clones are the same bus.
///
/// A message goes from the publisher straight into the mailbox of each subscriber; its payload is shared, not copied. It is
/// not reliable: a subscriber that is slow misses the oldest messages, and knows how many.
///
/// ```
/// use std::future::poll_fn;
/// use valkyrie_transport::{Bus, BusMessage, mem::MemBus};
///
/// # async fn example() -> Result<(), valkyrie_transport::BusError> {
/// let bus = MemBus::new();
/// let mut logs = bus.subscribe(&["jobs.*.log".into()]).await?;
/// let message = BusMessage { topic: "jobs.7.log".into(), payload: "it compiles".into() };
/// bus.publish(&[message.clone()]).await?;
///
/// let mut batch = Vec::new();
/// poll_fn(|cx| logs.poll_batch(cx, 100, &mut batch)).await?;
/// assert_eq!(batch, [message]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemBus {
    table: Arc<RwLock<Table>>,
    locator: Locator,
    bounds: MailboxBounds,
}

/// Each place is in one of the two: a message meets it once.
#[derive(Debug, Default)]
struct Table {
    /// Places that name single topics only, by each of them.
    by_topic: HashMap<Bytes, Vec<Arc<Place>>>,
    /// Places of which some pattern is wild.
    wild: Vec<Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    patterns: Vec<TopicPattern>,
    mailbox: Mailbox,
}

impl Table {
    fn find(&self, topic: &Bytes, into: &mut Vec<Arc<Place>>) {
        let named = self.by_topic.get(topic).map_or(&[][..], Vec::as_slice);
        let wild = self.wild.iter().filter(|place| {
            let mut patterns = place.patterns.iter();
            patterns.any(|pattern| pattern.matches(topic))
        });
        into.extend(named.iter().chain(wild).cloned());
    }
}

impl MemBus {
    /// A bus of its own.
    #[must_use]
    pub fn new() -> Self {
        static LOCATOR: LazyLock<Locator> = LazyLock::new(|| match Locator::new("mem", "bus") {
            Ok(locator) => locator,
            Err(error) => unreachable!("mem://bus is a locator, whatever else is: {error}"),
        });
        Self {
            table: Arc::default(),
            locator: LOCATOR.clone(),
            bounds: MailboxBounds::default(),
        }
    }

    /// With mailboxes of other bounds for those who subscribe through this value.
    #[must_use]
    pub fn with_mailboxes(mut self, bounds: MailboxBounds) -> Self {
        self.bounds = bounds;
        self
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Every change under this lock is made of insertions and removals: a poisoned lock is as good as another.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, message: &BusMessage) -> Result<(), BusError> {
        check_topic(&message.topic)?;
        match message.payload.len() {
            ..=MESSAGE_BYTES_MAX => Ok(()),
            length => Err(BusError::TooLarge {
                locator: self.locator.clone(),
                length,
                length_max: MESSAGE_BYTES_MAX,
            }),
        }
    }

    fn add(&self, patterns: Vec<TopicPattern>) -> MemSubscription {
        let place = Arc::new(Place {
            patterns,
            mailbox: Mailbox::new(self.bounds),
        });
        let mut table = self.write();
        if place.patterns.iter().all(TopicPattern::is_literal) {
            for pattern in &place.patterns {
                let places = table.by_topic.entry(pattern.as_bytes().clone()).or_default();
                // A topic that is named twice is still one.
                if !places.last().is_some_and(|last| Arc::ptr_eq(last, &place)) {
                    places.push(Arc::clone(&place));
                }
            }
        } else {
            table.wild.push(Arc::clone(&place));
        }
        drop(table);
        MemSubscription {
            bus: self.clone(),
            place,
        }
    }

    fn remove(&self, place: &Arc<Place>) {
        let mut table = self.write();
        for pattern in &place.patterns {
            if let Some(places) = table.by_topic.get_mut(pattern.as_bytes()) {
                places.retain(|other| !Arc::ptr_eq(other, place));
                if places.is_empty() {
                    table.by_topic.remove(pattern.as_bytes());
                }
            }
        }
        table.wild.retain(|other| !Arc::ptr_eq(other, place));
    }
}

impl Default for MemBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for MemBus {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_reliable(false).with_local(true)
    }

    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn publish<'a>(&'a self, batch: &'a [BusMessage]) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            batch.iter().try_for_each(|message| self.check(message))?;
            let mut places = Vec::new();
            for message in batch {
                self.read().find(&message.topic, &mut places);
                // Outside the lock, because a waker may run anything, the end of a subscription included.
                for place in places.drain(..) {
                    place.mailbox.put([message.clone()]);
                }
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        patterns: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>> {
        Box::pin(async move {
            let patterns = TopicPattern::parse_all(patterns)?;
            Ok(Box::new(self.add(patterns)) as Box<dyn Subscription>)
        })
    }
}

#[derive(Debug)]
struct MemSubscription {
    bus: MemBus,
    place: Arc<Place>,
}

impl Subscription for MemSubscription {
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        into: &mut Vec<BusMessage>,
    ) -> Poll<Result<usize, BusError>> {
        let polled = self.place.mailbox.poll_batch(cx, max, into);
        polled.map_err(|source| BusError::Disconnected {
            locator: self.bus.locator.clone(),
            source,
        })
    }

    fn missed(&self) -> u64 {
        self.place.mailbox.missed()
    }
}

impl Drop for MemSubscription {
    fn drop(&mut self) {
        self.bus.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    //! What a bus keeps of those who are gone.

    use super::*;
    use std::task::Waker;

    #[test]
    fn nothing_is_left_of_a_subscription_that_is_dropped() {
        let bus = MemBus::new();
        let patterns = |texts: &[&'static str]| texts.iter().map(|&text| text.into()).collect::<Vec<Bytes>>();
        for texts in [&["a", "b", "a"][..], &["a.*", "a.b"]] {
            let subscribed = patterns(texts);
            let mut subscribing = bus.subscribe(&subscribed);
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(subscription)) = subscribing.as_mut().poll(&mut cx) else {
                panic!("subscribing in memory waits for nobody");
            };
            drop(subscribing);
            drop(subscription);
            let table = bus.read();
            assert!(table.by_topic.is_empty() && table.wild.is_empty(), "{table:?}");
        }
    }
}
