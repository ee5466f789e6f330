//! Ctrl-C and SIGTERM.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Server, assert_code, send_signal, stdout, valkyrie};

/// Starts a call that the server answers after a while, and waits until the server runs it.
fn running_call(server: &Server, delay: &str) -> std::process::Child {
    let mut child = valkyrie(["call", server.locator(), "echo", "delay", "--data", delay])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // One connection is the question's own, the other the call's. Frames arrive in order on each, and the call is
    // sent with the opening, so one more question later it has begun. On a slow machine it may be over before anybody
    // sees it, with the same outcome.
    while connections(server) < 2 && child.try_wait().expect("a child").is_none() {}
    connections(server);
    child
}

fn connections(server: &Server) -> u64 {
    let output = crate::support::run(["call", server.locator(), "health", "process"]);
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
    report["connections"].as_u64().expect("a number")
}

#[test]
fn the_first_signal_drains_and_running_calls_end_well() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::tcp();
        let call = running_call(&server, "1s");
        server.signal(signal);
        let event = server.event();
        assert_eq!(event["event"], "draining");
        let output = call.wait_with_output().expect("the call ends");
        assert_code(&output, 0);
        assert_eq!(stdout(&output), "1s");
        let stopped = server.event();
        assert_eq!(
            (&stopped["event"], &stopped["closed"]),
            (&"stopped".into(), &0.into())
        );
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn what_outlasts_the_drain_is_closed() {
    let mut server = Server::start(&["--listen", "tcp://127.0.0.1:0", "--drain-timeout", "100ms"]);
    let call = running_call(&server, "1h");
    server.signal(Signal::INT);
    assert_eq!(server.event()["event"], "draining");
    assert_eq!(server.event()["closed"], 1);
    assert_eq!(server.wait().code(), Some(0));
    assert_code(&call.wait_with_output().expect("the call ends"), 3);
}

#[test]
fn the_second_signal_ends_at_once() {
    let mut server = Server::tcp();
    let call = running_call(&server, "1h");
    server.signal(Signal::INT);
    assert_eq!(server.event()["event"], "draining");
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(130));
    // Whether the handler's last word still got out is a race that nobody has to win.
    let ended = call.wait_with_output().expect("the call ends");
    assert!(matches!(ended.status.code(), Some(1 | 3)), "{ended:?}");
}

#[test]
fn an_interrupted_call_ends_with_130() {
    let server = Server::tcp();
    let call = running_call(&server, "1h");
    send_signal(&call, Signal::INT);
    assert_code(&call.wait_with_output().expect("the call ends"), 130);
}

#[test]
fn an_endless_ping_sums_up_when_it_is_interrupted() {
    let server = Server::tcp();
    let mut ping = valkyrie(["ping", server.locator(), "--count", "0", "--interval", "20ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(ping.stdout.take().expect("a pipe")).lines();
    while !lines
        .next()
        .expect("a line")
        .expect("text")
        .starts_with("pong 2 ")
    {}
    send_signal(&ping, Signal::INT);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert!(
        rest.last().is_some_and(|line| line.contains("answered")),
        "{rest:?}"
    );
    assert_code(&ping.wait_with_output().expect("it ends"), 0);
}
