//! Each class gets its share of a full link, over TCP and over QUIC, between two network namespaces.
//!
//! This needs root, network namespaces and `tc`. Where those are missing the test says so and ends.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/shares/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;

use std::io::Write;

/// Points that a class may be from what the policy gives it.
const POINTS: f64 = 3.0;

#[test]
fn each_class_gets_its_share_and_what_one_leaves_flows_down() {
    for scheme in ["tcp", "quic"] {
        match measure::measure(scheme, 3) {
            Ok(run) => assert!(
                run.farthest() <= POINTS,
                "{:.1} points\n{}",
                run.farthest(),
                run.table()
            ),
            Err(missing) => {
                let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
                return;
            }
        }
    }
}
