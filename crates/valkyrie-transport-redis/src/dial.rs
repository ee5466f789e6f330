//! From a locator to a link: connect to the broker, ask the node, wait for its answer.

use std::io;
use std::sync::Arc;

use tokio::time::timeout;
use valkyrie_transport::{Action, Locator, TransportError};

use crate::broker::Broker;
use crate::error::LinkFault;
use crate::link::{RedisLink, WINDOW_BYTES};
use crate::options::RedisTransport;
use crate::packet::{Id, kind, node_channel, with_id};
use crate::place::Place;
use crate::wire::{Opening, Wire};

//= protocol/transports.md#redis-opening
pub(crate) async fn dial(options: &RedisTransport, locator: &Locator) -> Result<RedisLink, TransportError> {
    let place = Place::node(options, locator)?;
    timeout(options.connect_timeout, open(options, &place))
        .await
        .unwrap_or_else(|_| {
            Err(TransportError::TimedOut {
                locator: place.locator.clone(),
                after: options.connect_timeout,
            })
        })
}

async fn open(options: &RedisTransport, place: &Place) -> Result<RedisLink, TransportError> {
    let wire = Arc::new(Wire::new(None, options.heartbeat, options.silence_max()));
    let takes = Arc::clone(&wire);
    let broker = Broker::connect(options, place, Action::Dial, move |delivery| takes.take(delivery)).await?;
    let failed = |fault: crate::BrokerFault| fault.into_transport(Action::Dial, &place.locator);

    let ours = Id::random();
    broker.subscribe(&[ours.channel()]).await.map_err(failed)?;
    let packet = with_id(kind::OPEN, WINDOW_BYTES, ours);
    let listeners = broker
        .publish(&node_channel(&place.name), &packet)
        .await
        .map_err(failed)?;
    if listeners == 0 {
        return Err(TransportError::Refused {
            locator: place.locator.clone(),
            source: io::ErrorKind::ConnectionRefused.into(),
        });
    }
    loop {
        match wire.opening() {
            Ok(Opening::Asked) => wire.answered.notified().await,
            Ok(Opening::Refused) => {
                return Err(TransportError::Busy {
                    locator: place.locator.clone(),
                });
            }
            Ok(Opening::Open(theirs)) => {
                let peer = format!("{} {}", options.scheme_name(), place.locator.rest());
                return Ok(RedisLink::start(broker, wire, theirs, peer));
            }
            Err(LinkFault::Broker(fault)) => return Err(failed(fault)),
            Err(fault) => {
                return Err(TransportError::Aborted {
                    locator: place.locator.clone(),
                    source: fault.into(),
                });
            }
        }
    }
}
