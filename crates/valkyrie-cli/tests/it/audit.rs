//! What a server records of those it lets in and refuses, and a look whether that was changed.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::keys::{keys, made};
use crate::support::{Server, assert_code, home, json_lines, other_home, run, run_as, stderr, stdout, until};

fn log() -> PathBuf {
    other_home("server").join("audit.log")
}

fn events() -> Vec<Value> {
    let text = std::fs::read_to_string(log()).expect("a log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn of(events: &[Value], name: &str) -> Vec<Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .cloned()
        .collect()
}

/// A server that has let somebody in, denied a call, refused a stranger and ended.
fn eventful() -> String {
    made(&other_home("server"), "server");
    let fingerprint = made(&home(), "client");
    let mut server = Server::start_as(&other_home("server"), &["--listen", "tcp://127.0.0.1:0"]);
    assert_code(&run(["call", server.locator(), "echo", "echo"]), 0);
    assert_code(&run(["call", server.locator(), "vault", "open"]), 1);
    assert_code(&run(["call", server.locator(), "echo", "echo", "--plain"]), 7);
    keys(&other_home("server"), &["revoke", &fingerprint]);
    until(|| run(["call", server.locator(), "echo", "echo"]).status.code() != Some(0));
    server.signal(Signal::TERM);
    server.wait();
    fingerprint
}

#[test]
fn a_server_records_whom_it_lets_in_and_what_it_refuses() {
    let fingerprint = eventful();
    let events = events();
    assert_eq!(
        (&events[0]["event"], &events[1]["event"]),
        (&"begun".into(), &"started".into())
    );
    assert_eq!(events.last().expect("lines")["event"], "stopped");
    assert!(
        of(&events, "accepted")
            .iter()
            .all(|event| event["peer"] == fingerprint)
    );
    let denied = of(&events, "denied");
    assert_eq!(
        (denied.len(), &denied[0]["service"], &denied[0]["code"]),
        (1, &"vault".into(), &201.into())
    );
    let codes: Vec<_> = of(&events, "refused")
        .iter()
        .map(|event| event["code"].clone())
        .collect();
    assert!(codes.contains(&200.into()), "the plain one: {codes:?}");
    assert_eq!(of(&events, "trust_changed").len(), 1);
    let whole = run_as(&other_home("server"), ["audit", "verify", "--json"]);
    assert_code(&whole, 0);
    let summary = &json_lines(&whole)[0];
    assert_eq!(
        (&summary["whole"], &summary["lines"]),
        (&true.into(), &events.len().into())
    );
    assert_eq!(summary["head"], summary["kept_head"]);
    let text = run(["audit", "verify", log().to_str().expect("text")]);
    assert!(stdout(&text).contains("is whole"), "{}", stdout(&text));
}

#[test]
fn a_log_that_somebody_changed_is_found_out_with_the_line() {
    eventful();
    let log = log();
    let path = log.to_str().expect("text");
    let whole = std::fs::read_to_string(&log).expect("a log");
    let head = {
        let output = run(["audit", "verify", path, "--json"]);
        json_lines(&output)[0]["head"]
            .as_str()
            .expect("a head")
            .to_owned()
    };
    let lines: Vec<&str> = whole.lines().collect();
    let without = |at: usize| -> String {
        let kept = lines.iter().enumerate().filter(|(number, _)| *number != at);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(2, 3);
        lines.join("\n")
    };
    let cases = [
        (whole.replace("vault", "attic"), None),
        (without(2), Some(3)),
        (without(0), Some(1)),
        (swapped, Some(3)),
        (without(lines.len() - 1), Some(lines.len())),
        (String::new(), Some(1)),
    ];
    for (number, (text, line)) in cases.iter().enumerate() {
        std::fs::write(&log, text).expect("a log");
        let output = run(["audit", "verify", path, "--json"]);
        assert_code(&output, 1);
        let said = &json_lines(&output)[0];
        assert_eq!(said["whole"], false, "case {number}");
        if let Some(line) = line {
            assert_eq!(said["line"], *line, "case {number}: {said}");
        }
    }
    // Without the head beside it a missing end is not seen, and with one that was kept elsewhere it is.
    std::fs::write(&log, without(lines.len() - 1)).expect("a log");
    std::fs::remove_file(log.with_extension("head")).expect("a head");
    let blind = run(["audit", "verify", path]);
    assert_code(&blind, 0);
    assert!(stdout(&blind).contains("no head was kept"), "{}", stdout(&blind));
    let output = run(["audit", "verify", path, "--head", &head]);
    assert_code(&output, 1);
    assert!(
        stderr(&output).contains("the end is missing"),
        "{}",
        stderr(&output)
    );
    assert_code(&run(["audit", "verify", "/does/not/exist"]), 6);
}
