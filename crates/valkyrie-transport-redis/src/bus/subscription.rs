//! One subscriber: a connection of its own, and the gaps that it sees.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use valkyrie_transport::{
    Action, BusAction, BusError, BusMessage, Locator, Mailbox, Subscription, TopicPattern, TransportError,
};

use super::packet::Packet;
use super::{RedisBus, channel};
use crate::broker::{Broker, Delivery};
use crate::error::BrokerFault;

pub(super) struct RedisSubscription {
    reader: Arc<Reader>,
    locator: Locator,
    /// Dropping it unsubscribes.
    _broker: Broker,
}

/// Takes what the broker brings into the mailbox.
pub(super) struct Reader {
    filters: Vec<Filter>,
    /// How many bytes of a channel come before the topic.
    prefix_bytes: usize,
    mailbox: Mailbox,
    sources: Mutex<Sources>,
}

/// A pattern, and what of Redis brings it at least what it matches.
pub(super) struct Filter {
    pattern: TopicPattern,
    /// The channel of a topic, or Redis' own pattern for what is not one.
    redis: Vec<u8>,
}

/// The number that is next, of each publisher on each topic.
#[derive(Default)]
struct Sources {
    next: HashMap<(u64, Bytes), u64>,
}

impl RedisSubscription {
    pub(super) async fn open(bus: &RedisBus, patterns: Vec<TopicPattern>) -> Result<Self, BusError> {
        let reader = Arc::new(Reader::new(&bus.place.name, patterns, Mailbox::new(bus.bounds)));
        let delivers = Arc::clone(&reader);
        let broker = Broker::connect(&bus.options, &bus.place, Action::Dial, move |delivery| {
            delivers.take(delivery);
        });
        let broker = broker.await.map_err(|error| unreachable_bus(bus, error))?;
        let failed = |fault| bus.failed(BusAction::Subscribe, fault);
        let named = reader.channels(true);
        if !named.is_empty() {
            broker.subscribe(&named).await.map_err(failed)?;
        }
        let matched = reader.channels(false);
        if !matched.is_empty() {
            broker.subscribe_matching(&matched).await.map_err(failed)?;
        }
        Ok(Self {
            reader,
            locator: bus.place.locator.clone(),
            _broker: broker,
        })
    }
}

/// There was a bus a moment ago, so what stands in the way of another connection is about the broker.
fn unreachable_bus(bus: &RedisBus, error: TransportError) -> BusError {
    match error {
        TransportError::PermissionDenied { locator, source, .. } => BusError::Denied {
            locator,
            action: BusAction::Subscribe,
            source,
        },
        error => BusError::Disconnected {
            locator: bus.place.locator.clone(),
            source: io::Error::other(error),
        },
    }
}

impl Reader {
    pub(super) fn new(space: &str, patterns: Vec<TopicPattern>, mailbox: Mailbox) -> Self {
        let filters = patterns
            .into_iter()
            .map(|pattern| {
                let redis = match pattern.is_literal() {
                    true => channel(space, pattern.as_bytes()),
                    false => channel(space, &glob(pattern.as_bytes())),
                };
                Filter { pattern, redis }
            })
            .collect();
        Self {
            filters,
            prefix_bytes: channel(space, b"").len(),
            mailbox,
            sources: Mutex::default(),
        }
    }

    /// What to subscribe to by name, or by Redis' patterns; each once.
    pub(super) fn channels(&self, literal: bool) -> Vec<Vec<u8>> {
        let mut seen = HashSet::new();
        let filters = self
            .filters
            .iter()
            .filter(|filter| filter.pattern.is_literal() == literal);
        filters
            .map(|filter| filter.redis.clone())
            .filter(|redis| seen.insert(redis.clone()))
            .collect()
    }

    pub(super) fn take(&self, delivery: Delivery) {
        match delivery {
            Delivery::Named { channel, payload } => self.take_packet(true, &channel, &channel, payload),
            Delivery::Matched {
                pattern,
                channel,
                payload,
            } => self.take_packet(false, &pattern, &channel, payload),
            Delivery::Gone => {
                let fault = BrokerFault::Gone;
                self.mailbox.end(fault.io_kind(), fault.to_string());
            }
        }
    }

    /// A message comes once for each of our subscriptions at Redis that it matches; the first of our patterns that matches
    /// it decides which of them counts.
    fn take_packet(&self, literal: bool, through: &[u8], channel: &Bytes, payload: Bytes) {
        if channel.len() < self.prefix_bytes {
            return;
        }
        let topic = channel.slice(self.prefix_bytes..);
        let owner = self.filters.iter().find(|filter| filter.pattern.matches(&topic));
        if !owner.is_some_and(|owner| owner.pattern.is_literal() == literal && owner.redis == through) {
            return;
        }
        let Some(packet) = Packet::decode(payload) else {
            // Somebody published here what is none of this protocol: what it was to say is missed.
            self.mailbox.miss(1);
            return;
        };
        let seen = self
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .see(&topic, &packet);
        self.mailbox.miss(seen.missed);
        let fresh = packet.payloads.into_iter().skip(seen.stale);
        self.mailbox.put(fresh.map(|payload| BusMessage {
            topic: topic.clone(),
            payload,
        }));
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

/// What a packet's numbers say.
struct Seen {
    /// How many messages between the last one and these were lost.
    missed: u64,
    /// How many of the packet's messages have been there before.
    stale: usize,
}

impl Sources {
    //= protocol/transports.md#redis-bus
    fn see(&mut self, topic: &Bytes, packet: &Packet) -> Seen {
        let end = packet.first + packet.payloads.len() as u64;
        let key = (packet.publisher, topic.clone());
        let Some(next) = self.next.get_mut(&key) else {
            if self.next.len() >= SOURCES_MAX {
                self.next.clear();
            }
            self.next
                .insert((packet.publisher, Bytes::copy_from_slice(topic)), end);
            return Seen { missed: 0, stale: 0 };
        };
        let missed = packet.first.saturating_sub(*next);
        let stale = next
            .saturating_sub(packet.first)
            .min(packet.payloads.len() as u64) as usize;
        *next = end.max(*next);
        Seen { missed, stale }
    }
}

/// Redis' own pattern for at least what ours matches. Its `*` goes across dots, so what comes is held against ours again.
fn glob(pattern: &[u8]) -> Vec<u8> {
    let mut glob = Vec::with_capacity(pattern.len());
    for segment in pattern.split(|&byte| byte == b'.') {
        if !glob.is_empty() {
            glob.push(b'.');
        }
        match segment {
            b"*" | b">" => glob.push(b'*'),
            segment => {
                for &byte in segment {
                    if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
                        glob.push(b'\\');
                    }
                    glob.push(byte);
                }
            }
        }
    }
    glob
}

impl fmt::Debug for RedisSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscription")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

impl Subscription for RedisSubscription {
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        into: &mut Vec<BusMessage>,
    ) -> Poll<Result<usize, BusError>> {
        let polled = self.reader.mailbox().poll_batch(cx, max, into);
        polled.map_err(|source| BusError::Disconnected {
            locator: self.locator.clone(),
            source,
        })
    }

    fn missed(&self) -> u64 {
        self.reader.mailbox().missed()
    }
}

/// How many pairs of publisher and topic a subscriber counts before it forgets them all: under 8 MiB with their keys. A gap
/// at that very point is not seen.
pub const SOURCES_MAX: usize = 16_384;
