//! The conformance suite for buses over the in-process bus.

use valkyrie_transport::conformance::bus::{BusHarness, MAILBOX};
use valkyrie_transport::mem::MemBus;
use valkyrie_transport::{Bus, bus_conformance_tests};

fn harness() -> BusHarness {
    let bus = MemBus::new().with_mailboxes(MAILBOX);
    BusHarness::new(move || {
        let bus = Box::new(bus.clone()) as Box<dyn Bus>;
        async { bus }
    })
}

bus_conformance_tests!(harness());
