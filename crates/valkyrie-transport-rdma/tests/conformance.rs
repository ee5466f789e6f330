//! The conformance suite over RDMA. What peers do that break the rules is in `src/tests`, where one can.
#![cfg(feature = "verbs")]

mod support;

use std::sync::Arc;

use support::{anywhere, at, device};
use valkyrie_transport::conformance::Harness;
use valkyrie_transport::conformance_tests;
use valkyrie_transport_rdma::RdmaTransport;

fn harness(transport: RdmaTransport) -> Option<Harness> {
    let address = device()?;
    // Port 1 is never handed out by the connection manager, and nobody has a service there.
    let nobody = at(address, 1);
    Some(
        Harness::new(Arc::new(transport), move || anywhere(address), nobody)
            .with_in_flight_bytes_max(IN_FLIGHT_BYTES_MAX),
    )
}

/// What a link may have taken from a writer whose reader does not read: what is staged here, and what the peer has.
const IN_FLIGHT_BYTES_MAX: usize = 1024 * 1024;

mod as_it_comes {
    use super::*;

    conformance_tests!(harness(RdmaTransport::new()));
}

/// Everything in messages. What is small goes that way in any case, so here are the behaviours with much to carry.
mod without_a_ring {
    use valkyrie_transport::conformance;

    use super::*;

    fn all_in_messages() -> Option<Harness> {
        harness(
            RdmaTransport::new()
                .with_ring_bytes(0)
                .with_slots(16)
                .with_slot_bytes(32 * 1024)
                .with_busy_polls(0),
        )
    }

    #[test]
    fn large() {
        conformance::run("large", all_in_messages, conformance::large);
    }

    #[test]
    fn back_pressure() {
        conformance::run("back_pressure", all_in_messages, conformance::back_pressure);
    }

    #[test]
    fn slow_reader() {
        conformance::run("slow_reader", all_in_messages, conformance::slow_reader);
    }

    #[test]
    fn vectored_writes() {
        conformance::run("vectored_writes", all_in_messages, conformance::vectored_writes);
    }

    #[test]
    fn half_close() {
        conformance::run("half_close", all_in_messages, conformance::half_close);
    }
}
