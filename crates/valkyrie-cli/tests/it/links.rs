//! Every scheme at the command line, and what `valkyrie links` says of them.

use crate::support::{Server, assert_code, json_lines, other_home, run, run_as, stderr, stdout};

/// A server on every transport that needs nothing beyond this machine.
fn everywhere() -> Server {
    let folder = other_home("sockets");
    std::fs::create_dir_all(&folder).expect("a folder");
    let uds = format!("uds://{}/v.sock", folder.display());
    let places = [
        "tcp://127.0.0.1:0",
        &uds,
        "quic://127.0.0.1:0",
        "ws://127.0.0.1:0/",
        "wss://127.0.0.1:0/",
        "http://127.0.0.1:0",
        "https://127.0.0.1:0",
    ];
    let arguments: Vec<&str> = places.iter().flat_map(|place| ["--listen", place]).collect();
    Server::start(&arguments)
}

#[test]
fn every_scheme_is_served_and_dialled() {
    let server = everywhere();
    for locator in &server.locators {
        let output = run(["ping", locator, "-n", "1"]);
        assert_code(&output, 0);
        assert!(
            stdout(&output).contains("1 of 1 answered"),
            "{locator}: {}",
            stdout(&output)
        );
        let output = run(["call", locator, "echo", "echo", "--data", "hello"]);
        assert_code(&output, 0);
        assert_eq!(stdout(&output).trim(), "hello", "{locator}");
    }
}

#[test]
fn auto_finds_what_is_there() {
    let server = Server::tcp();
    let auto = server.locator().replace("tcp://", "auto://");
    let output = run(["call", &auto, "echo", "echo", "--data", "by tcp"]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output).trim(), "by tcp");
}

#[test]
fn links_are_shown_to_who_runs_the_node_and_to_nobody_else() {
    let server = everywhere();
    for locator in &server.locators {
        let output = run(["links", locator, "--json"]);
        assert_code(&output, 0);
        let scheme = locator.split(':').next().expect("a scheme");
        let own = json_lines(&output)
            .into_iter()
            .find(|link| link["kind"] == scheme)
            .unwrap_or_else(|| panic!("{locator} is not among {}", stdout(&output)));
        assert_eq!(own["capabilities"]["lanes"], if scheme == "quic" { 5 } else { 1 });
        assert!(own["rtt_us"].as_f64().is_some_and(|us| us > 0.0), "{own}");
    }
    let output = run_as(&other_home("stranger"), ["links", server.locator()]);
    assert_code(&output, 1);
    assert!(
        stderr(&output).contains("permission_denied"),
        "{}",
        stderr(&output)
    );
}
