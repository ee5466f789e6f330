//! Each class gets its share of a full link, over TCP and over QUIC, between two network namespaces.
//!
//! This needs root, network namespaces and `tc`. Where those are missing the test says so and ends.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the program that measures")]
#[path = "../../../benches/peers/src/bin/shares/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;

use std::io::Write;

/// Points that a class may be from what the policy gives it.
const POINTS: f64 = 3.0;

/// Half of what that program measures, so that a busy machine fills it.
const KBIT: u32 = 50_000;

#[test]
fn each_class_gets_its_share_and_what_one_leaves_flows_down() {
    for scheme in ["tcp", "quic"] {
        let run = match measure::measure(scheme, KBIT, 3) {
            Ok(run) => run,
            Err(missing) => {
                let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
                return;
            }
        };
        for (phase, wanted) in measure::WANTED.iter().enumerate() {
            let got = run.got(phase);
            let off = |got: f64, wanted: f64| (got - wanted).abs();
            // Data yields to bulk when delays grow, which they do when the machine is busy.
            let (rest, wanted_rest) = (got[2] + got[3], wanted[2] + wanted[3]);
            let right = off(got[0], wanted[0]) <= POINTS
                && off(got[1], wanted[1]) <= POINTS
                && off(rest, wanted_rest) <= POINTS
                && got[3] >= wanted[3] - POINTS;
            assert!(right, "phase {phase}\n{}", run.table());
        }
    }
}
