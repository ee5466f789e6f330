//! `valkyrie bench`: that it measures, not how much.

use rustix::process::Signal;
use serde_json::Value;
use std::process::Stdio;

use crate::support::{Server, assert_code, json_lines, run, send_signal, stderr, stdout, valkyrie};

fn bench(server: &Server, args: &[&str]) -> Value {
    let mut all = vec![
        "bench",
        server.locator(),
        "--json",
        "--seconds",
        "0.4",
        "--warm-up",
        "0.1",
    ];
    all.extend_from_slice(args);
    let output = run(&all);
    assert_code(&output, 0);
    json_lines(&output).remove(0)
}

#[test]
fn every_shape_is_measured() {
    let server = Server::tcp();
    for (shape, echoes) in [
        ("unary", true),
        ("stream", true),
        ("one-way", false),
        ("notify", false),
    ] {
        let report = bench(
            &server,
            &["--shape", shape, "--in-flight", "8", "--connections", "2"],
        );
        assert_eq!(report["shape"], shape);
        assert!(
            report["messages"].as_u64().is_some_and(|messages| messages > 10),
            "{report}"
        );
        let cpu = &report["cpu_seconds_per_million_messages"];
        for side in ["client", "server", "both"] {
            assert!(
                cpu[side].as_f64().is_some_and(|seconds| seconds > 0.0),
                "{side}: {report}"
            );
        }
        if echoes {
            let at = |name: &str| report["latency"][name].as_f64().expect("a number");
            assert!(at("min_us") > 0.0 && at("p50_us") <= at("p99_us") && at("p99_us") <= at("p99_9_us"));
            let rows = report["latency"]["histogram"].as_array().expect("rows");
            let counted: u64 = rows.iter().filter_map(|row| row["count"].as_u64()).sum();
            assert_eq!(Some(counted), report["latency"]["count"].as_u64());
        } else {
            assert!(report["latency"].is_null());
        }
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = Server::tcp();
    for shape in ["unary", "stream", "one-way"] {
        let report = bench(&server, &["--shape", shape, "--rate", "500", "--in-flight", "16"]);
        let rate = report["messages_per_second"].as_f64().expect("a number");
        assert!((400.0..=600.0).contains(&rate), "{rate} of 500 in {report}");
    }
}

#[test]
fn an_open_loop_charges_a_slow_peer_for_what_had_to_wait() {
    // One in flight and ten times what the peer can do: almost every message waits for those before it, and the time
    // from when it was due shows that, where the time from when it was sent would not.
    let server = Server::tcp();
    let report = bench(&server, &["--rate", "1M", "--in-flight", "1"]);
    let p50 = report["latency"]["p50_us"].as_f64().expect("a number");
    assert!(p50 > 50_000.0, "about half of the time behind: {report}");
    assert!(
        report["overdue"].as_u64().is_some_and(|overdue| overdue > 0),
        "{report}"
    );
}

#[test]
fn large_messages_are_measured_too() {
    let server = Server::tcp();
    let report = bench(
        &server,
        &["--shape", "stream", "--payload", "64KiB", "--in-flight", "4"],
    );
    assert_eq!(report["payload_bytes"], 65536);
    assert!(report["messages"].as_u64().is_some_and(|messages| messages > 0));
}

#[test]
fn a_person_gets_a_table_and_a_histogram() {
    let server = Server::tcp();
    let output = run(["bench", server.locator(), "--seconds", "0.3", "--warm-up", "0"]);
    assert_code(&output, 0);
    for part in ["rate", "latency", "CPU", "p99.9", "█", "for a million messages"] {
        assert!(stdout(&output).contains(part), "{part} in {}", stdout(&output));
    }
    assert_eq!(stderr(&output), "", "no progress where there is no terminal");
}

#[test]
fn an_interrupted_benchmark_shows_what_it_has() {
    let server = Server::tcp();
    let bench = valkyrie([
        "bench",
        server.locator(),
        "--json",
        "--seconds",
        "1h",
        "--warm-up",
        "0",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    // The control connection and the load's, seen from one more.
    loop {
        let output = run(["call", server.locator(), "health", "process"]);
        let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
        if report["connections"].as_u64() >= Some(3) {
            break;
        }
    }
    send_signal(&bench, Signal::INT);
    let output = bench.wait_with_output().expect("it ends");
    assert_code(&output, 130);
    assert_eq!(json_lines(&output)[0]["interrupted"], true);
}
