//! The conformance suite for buses over a real redis-server, one for each behaviour.

mod support;

use std::sync::Arc;

use support::Redis;
use valkyrie_transport::conformance::bus::{BusHarness, MAILBOX};
use valkyrie_transport::{Bus, bus_conformance_tests};
use valkyrie_transport_redis::RedisBus;

fn harness() -> Option<BusHarness> {
    let redis = Arc::new(Redis::start()?);
    Some(BusHarness::new(move || {
        let redis = Arc::clone(&redis);
        async move {
            let bus = RedisBus::connect(&redis.at("suite")).await.unwrap();
            Box::new(bus.with_mailboxes(MAILBOX)) as Box<dyn Bus>
        }
    }))
}

bus_conformance_tests!(harness());
