//! Topics: which bus carries a message.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_transport::{Bus, BusError, BusMessage, Locator, Subscription, TopicError, TopicPattern};

use super::StreamRouter;
use crate::{Needs, Unfit};

/// A bus, and what it is for.
#[derive(Clone)]
pub(crate) struct Carrier {
    topics: TopicPattern,
    bus: Arc<dyn Bus>,
}

impl Carrier {
    /// # Errors
    /// [`TopicError`]: the caller's pattern is none.
    pub(crate) fn new(topics: &str, bus: Arc<dyn Bus>) -> Result<Self, TopicError> {
        let topics = TopicPattern::parse(Bytes::copy_from_slice(topics.as_bytes()))?;
        Ok(Self { topics, bus })
    }
}

impl StreamRouter {
    /// Publishes a message on the first bus that is for its topic and can carry it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published, or the bus says what was.
    pub async fn publish(
        &self,
        needs: &Needs,
        topic: impl Into<Bytes>,
        payload: impl Into<Bytes>,
    ) -> Result<(), PublishError> {
        let message = BusMessage {
            topic: topic.into(),
            payload: payload.into(),
        };
        let bus = self.bus_for(needs, |topics| topics.matches(&message.topic))?;
        Ok(bus.publish(&[message]).await?)
    }

    /// Subscribes on the bus that messages of this topic, or of topics like it, are published on.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is subscribed.
    pub async fn subscribe(
        &self,
        needs: &Needs,
        pattern: &str,
    ) -> Result<Box<dyn Subscription>, PublishError> {
        let pattern =
            TopicPattern::parse(Bytes::copy_from_slice(pattern.as_bytes())).map_err(BusError::from)?;
        let bus = self.bus_for(needs, |topics| topics.covers(&pattern))?;
        Ok(bus.subscribe(&[pattern.as_bytes().clone()]).await?)
    }

    fn bus_for(
        &self,
        needs: &Needs,
        is_for: impl Fn(&TopicPattern) -> bool,
    ) -> Result<&Arc<dyn Bus>, PublishError> {
        let mut unfit = None;
        for carrier in self.inner.buses.iter().filter(|carrier| is_for(&carrier.topics)) {
            match needs.check(&carrier.bus.capabilities()) {
                Ok(()) => return Ok(&carrier.bus),
                Err(missing) => unfit = unfit.or(Some((carrier.bus.locator(), missing))),
            }
        }
        match unfit {
            Some((locator, unfit)) => Err(PublishError::Unfit {
                locator: locator.without_credentials(),
                unfit,
            }),
            None => Err(PublishError::NoBus),
        }
    }
}

/// A message was not published, or a topic not subscribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No bus of this router is for the topic. The caller is at fault.
    #[error("no bus of this router is for the topic; give it one")]
    NoBus,
    /// None that is for it can do what the message needs; the first is named.
    #[error("no bus for the topic will do: {locator}: {unfit}")]
    Unfit {
        /// The first of them.
        locator: Locator,
        /// What it cannot do.
        #[source]
        unfit: Unfit,
    },
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}
