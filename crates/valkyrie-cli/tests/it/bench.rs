//! `valkyrie bench`: that it measures, not how much.

use rustix::process::Signal;
use serde_json::Value;
use std::process::Stdio;

use crate::support::{Server, assert_code, json_lines, run, send_signal, stderr, stdout, valkyrie};

/// Measures a number of messages, which is the same on a machine of any speed.
fn bench(server: &Server, args: &[&str]) -> Value {
    let mut all = vec![
        "bench",
        server.locator(),
        "--json",
        "--warm-up",
        "1ms",
        "--timeout",
        "2m",
        "--connect-timeout",
        "2m",
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
            &[
                "--shape",
                shape,
                "--in-flight",
                "8",
                "--connections",
                "2",
                "-n",
                "500",
            ],
        );
        assert_eq!(report["shape"], shape);
        assert_eq!(report["messages"], 500, "all of them and not one more: {report}");
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
fn an_open_loop_is_never_ahead_of_its_rate() {
    let server = Server::tcp();
    for shape in ["unary", "stream", "one-way", "notify"] {
        let report = bench(
            &server,
            &["--shape", shape, "--rate", "500", "--in-flight", "16", "-n", "50"],
        );
        assert_eq!(report["messages"], 50, "{report}");
        assert_eq!(
            report["overdue"], 0,
            "those that were not wanted were not due: {report}"
        );
        let seconds = report["seconds"].as_f64().expect("a number");
        assert!(
            seconds >= 49.0 / 500.0,
            "the last is due 49 steps after the first: {report}"
        );
    }
}

#[test]
fn an_open_loop_charges_a_slow_peer_for_what_had_to_wait() {
    // One in flight and many times what any peer can do: almost every message waits for those before it. Counted from
    // when they were sent the times of all would add up to the whole time at most, since there is one at a time.
    let server = Server::tcp();
    let report = bench(&server, &["--rate", "1M", "--in-flight", "1", "-n", "2000"]);
    let at = |value: &Value| value.as_f64().expect("a number");
    let together = at(&report["latency"]["mean_us"]) * at(&report["latency"]["count"]) / 1e6;
    assert!(together > 2.0 * at(&report["seconds"]), "{report}");
}

#[test]
fn what_was_due_and_not_sent_is_overdue() {
    let server = Server::tcp();
    let report = bench(&server, &["--rate", "1M", "--in-flight", "1", "--seconds", "0.2"]);
    let overdue = report["overdue"].as_u64();
    assert!(overdue.is_some_and(|overdue| overdue > 0), "{report}");
}

#[test]
fn the_first_of_both_bounds_ends_it() {
    let server = Server::tcp();
    let report = bench(&server, &["-n", "20", "--seconds", "10h"]);
    assert_eq!(
        (&report["messages"], &report["messages_wanted"]),
        (&20.into(), &20.into())
    );
    let report = bench(&server, &["-n", "1000000M", "--seconds", "0.2"]);
    let messages = report["messages"].as_u64().expect("a number");
    assert!(messages < 1_000_000_000_000, "{report}");
}

#[test]
fn a_count_of_no_messages_is_refused() {
    for count in ["0", "1.5", "-1", "many"] {
        assert_code(&run(["bench", "tcp://127.0.0.1:1", &format!("-n={count}")]), 2);
    }
}

#[test]
fn large_messages_are_measured_too() {
    let server = Server::tcp();
    let report = bench(
        &server,
        &[
            "--shape",
            "stream",
            "--payload",
            "64KiB",
            "--in-flight",
            "4",
            "-n",
            "20",
        ],
    );
    assert_eq!(report["payload_bytes"], 65536);
    assert_eq!(report["messages"], 20);
}

#[test]
fn a_person_gets_a_table_and_a_histogram() {
    let server = Server::tcp();
    let output = run(["bench", server.locator(), "-n", "100", "--warm-up", "0"]);
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
