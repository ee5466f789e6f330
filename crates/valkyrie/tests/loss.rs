//! Loss in bulk does not hold up the other classes over QUIC, between two network namespaces.
//!
//! This needs root, network namespaces and iptables. Where those are missing each test says so and ends.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the examples that measure")]
#[path = "../examples/support/ends.rs"]
mod ends;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/loss/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;

use std::io::Write;

use measure::{BULK_BYTES, BULK_CALLS, Figures, Network, TIMED, measure};
use netns::Cable;

/// A slow network that loses a packet of twenty, or the reason why there is none, said.
fn network() -> Option<Cable> {
    let network = Network {
        kbit: 20_000,
        queue_bytes: 64 * 1024,
        loss_percent: 5.0,
    };
    match network.lay() {
        Ok(cable) => Some(cable),
        Err(missing) => {
            let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
            None
        }
    }
}

fn measured(cable: &Cable, scheme: &str, messages: usize) -> Figures {
    let mut figures = Figures::default();
    figures.add(measure(cable, scheme, messages));
    figures
}

/// What is counted is the bulk that arrives while a message is under way, so that a slow machine changes nothing.
#[test]
fn small_messages_overtake_the_bulk_that_was_sent_before_them() {
    let Some(cable) = network() else { return };
    let figures = measured(&cable, "quic", 300);
    let queued = (BULK_CALLS * BULK_BYTES) as u64;
    for (place, class) in TIMED.into_iter().enumerate() {
        assert_eq!(figures.delays[place].len(), 300, "{class} arrives, each once");
        let before = figures.bulk_before(place, 900);
        assert!(
            before < queued / 2,
            "nine of ten {class} messages waited for {before} bytes of bulk, of {queued}"
        );
    }
    assert!(figures.bulk_bytes > 0, "bulk was held up altogether");
}

#[test]
#[ignore = "compares times, for which the machine should have nothing else to do: 40 seconds"]
fn critical_messages_wait_less_over_quic_than_over_tcp() {
    let Some(cable) = network() else { return };
    let [mut tcp, mut quic] = [Figures::default(), Figures::default()];
    for _ in 0..2 {
        tcp.add(measure(&cable, "tcp", 2000));
        quic.add(measure(&cable, "quic", 2000));
    }
    let [tcp, quic] = [&tcp, &quic].map(|figures| figures.delay(0, 990));
    assert!(
        quic * 2 < tcp,
        "one of a hundred took more than {quic:?} over quic and {tcp:?} over tcp"
    );
}
