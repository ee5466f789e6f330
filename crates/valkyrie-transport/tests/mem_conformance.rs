//! The conformance suite over the memory transport, with one lane and with five.

use std::sync::Arc;

use valkyrie_transport::conformance::Harness;
use valkyrie_transport::conformance_tests;
use valkyrie_transport::mem::{MemTransport, PIPE_BYTES};

fn harness(lanes: u8) -> Harness {
    let locator = |text: &str| text.parse().unwrap();
    let transport = Arc::new(MemTransport::new().with_lanes(lanes));
    Harness::new(transport, move || locator("mem://here"), locator("mem://nobody"))
        .with_in_flight_bytes_max(PIPE_BYTES)
}

mod one_lane {
    use super::*;

    conformance_tests!(harness(1));
}

/// As many lanes as there are classes of service.
mod five_lanes {
    use super::*;

    conformance_tests!(harness(5));
}
