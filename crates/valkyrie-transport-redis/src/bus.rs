//! The bus: topics are channels, and several messages share one PUBLISH.

mod packet;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::Mutex;
use valkyrie_transport::{
    Action, BoxFuture, Bus, BusAction, BusError, BusMessage, Capabilities, Locator, MESSAGE_BYTES_MAX,
    MailboxBounds, Subscription, TopicPattern, TransportError, check_topic,
};

use self::packet::Packet;
use self::subscription::RedisSubscription;
use crate::broker::{Broker, Delivery};
use crate::error::BrokerFault;
use crate::options::RedisTransport;
use crate::place::Place;

pub use self::packet::{PACKET_BYTES_MAX, PACKET_MESSAGES_MAX};
pub use self::subscription::SOURCES_MAX;

/// The bus of one space at a broker.
///
/// It is not reliable, and says so. What Redis loses, a subscriber that is slow, and messages that a publisher could not
/// send are gaps in numbers that each publisher counts for each topic; [`Subscription::missed`] adds them up. A
/// subscription whose connection ends says [`BusError::Disconnected`], because what it would miss nobody can count.
///
/// A bus has one connection to publish on and one for each subscription. A call of `publish` waits for the broker's answer
/// and others wait for it, so whoever publishes much publishes batches.
pub struct RedisBus {
    options: RedisTransport,
    place: Place,
    bounds: MailboxBounds,
    broker: Broker,
    /// Whether the broker has gone away; it does not come back for this bus.
    gone: Arc<AtomicBool>,
    counters: Mutex<Counters>,
}

/// The number of the next message of each topic.
struct Counters {
    /// Who counts: a random number, and another whenever counting starts over.
    publisher: u64,
    next: HashMap<Bytes, u64>,
}

impl RedisBus {
    /// Connects to the bus at `redis://host:port/space` with the default options; see [`RedisTransport::bus`].
    ///
    /// # Errors
    ///
    /// As for [`Transport::dial`](valkyrie_transport::Transport::dial).
    pub async fn connect(locator: &Locator) -> Result<Self, TransportError> {
        Self::open(&RedisTransport::new(), locator).await
    }

    pub(crate) async fn open(options: &RedisTransport, locator: &Locator) -> Result<Self, TransportError> {
        let mut place = Place::new(options, locator)?;
        if place.name.is_empty() {
            DEFAULT_SPACE.clone_into(&mut place.name);
        }
        let gone = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&gone);
        let broker = Broker::connect(options, &place, Action::Dial, move |delivery| {
            if matches!(delivery, Delivery::Gone) {
                told.store(true, Ordering::Release);
            }
        });
        Ok(Self {
            broker: broker.await?,
            options: options.clone(),
            bounds: MailboxBounds::default(),
            counters: Mutex::new(Counters::new()),
            place,
            gone,
        })
    }

    /// With mailboxes of other bounds for those who subscribe from now on.
    #[must_use]
    pub fn with_mailboxes(mut self, bounds: MailboxBounds) -> Self {
        self.bounds = bounds;
        self
    }

    fn check(&self, message: &BusMessage) -> Result<(), BusError> {
        check_topic(&message.topic)?;
        match message.payload.len() {
            ..=MESSAGE_BYTES_MAX => Ok(()),
            length => Err(BusError::TooLarge {
                locator: self.place.locator.clone(),
                length,
                length_max: MESSAGE_BYTES_MAX,
            }),
        }
    }

    fn check_alive(&self) -> Result<(), BusError> {
        match self.gone.load(Ordering::Acquire) {
            true => Err(self.failed(BusAction::Publish, BrokerFault::Gone)),
            false => Ok(()),
        }
    }

    fn failed(&self, action: BusAction, fault: BrokerFault) -> BusError {
        let locator = self.place.locator.clone();
        let source = io::Error::from(fault);
        match fault {
            BrokerFault::Login | BrokerFault::NotAllowed => BusError::Denied {
                locator,
                action,
                source,
            },
            _ => BusError::Disconnected { locator, source },
        }
    }

    async fn publish_checked(&self, batch: &[BusMessage]) -> Result<(), BusError> {
        // Held until the broker has answered, so that numbers go out in their order.
        let mut counters = self.counters.lock().await;
        self.check_alive()?;
        let mut pipeline = redis::pipe();
        let mut ends = Vec::new();
        let mut at = 0;
        while let Some(rest) = batch.get(at..).filter(|rest| !rest.is_empty()) {
            let (first, count) = (counters.first(rest), packet::fit(rest));
            let messages = rest.get(..count).unwrap_or(rest);
            let topic = messages
                .first()
                .map(|message| &message.topic)
                .unwrap_or_else(|| unreachable!());
            let packet = Packet::encode(counters.publisher, first, messages);
            pipeline
                .cmd("PUBLISH")
                .arg(channel(&self.place.name, topic))
                .arg(packet);
            counters.count(topic, messages.len());
            at += messages.len();
            ends.push(at);
        }
        match self.broker.publish_all(&pipeline).await {
            Ok(()) => Ok(()),
            Err((0, fault)) => Err(self.failed(BusAction::Publish, fault)),
            Err((packets, fault)) => Err(BusError::Partial {
                locator: self.place.locator.clone(),
                taken: ends.get(packets - 1).copied().unwrap_or_default(),
                source: fault.into(),
            }),
        }
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("locator", &self.place.locator)
            .finish_non_exhaustive()
    }
}

impl Bus for RedisBus {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_reliable(false)
    }

    fn locator(&self) -> &Locator {
        &self.place.locator
    }

    fn publish<'a>(&'a self, batch: &'a [BusMessage]) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            batch.iter().try_for_each(|message| self.check(message))?;
            match batch.is_empty() {
                true => self.check_alive(),
                false => self.publish_checked(batch).await,
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        patterns: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>> {
        Box::pin(async move {
            let patterns = TopicPattern::parse_all(patterns)?;
            let subscription = RedisSubscription::open(self, patterns).await?;
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }
}

impl Counters {
    fn new() -> Self {
        Self {
            publisher: rand::random(),
            next: HashMap::new(),
        }
    }

    /// The number of the first of `messages`.
    fn first(&mut self, messages: &[BusMessage]) -> u64 {
        let Some(message) = messages.first() else { return 0 };
        if let Some(next) = self.next.get(&message.topic) {
            return *next;
        }
        if self.next.len() >= TOPICS_MAX {
            // Counting starts over, as another publisher: nobody takes the beginning for a gap.
            *self = Self::new();
        }
        0
    }

    fn count(&mut self, topic: &Bytes, messages: usize) {
        match self.next.get_mut(topic) {
            Some(next) => *next += messages as u64,
            None => drop(self.next.insert(Bytes::copy_from_slice(topic), messages as u64)),
        }
    }
}

/// The channel of a topic.
//= protocol/transports.md#redis-names
fn channel(space: &str, topic: &[u8]) -> Vec<u8> {
    [CHANNEL_PREFIX, space.as_bytes(), b".", topic].concat()
}

const CHANNEL_PREFIX: &[u8] = b"valkyrie.2.bus.";

/// The space of a bus whose locator names none.
pub const DEFAULT_SPACE: &str = "default";

/// How many topics a publisher counts before it starts over: with their keys under 32 MiB. A loss at that very point is not
/// seen.
pub const TOPICS_MAX: usize = 65_536;
