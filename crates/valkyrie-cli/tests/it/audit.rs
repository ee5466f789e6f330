//! What a server records of those it lets in and refuses, and a look whether that was changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use valkyrie::security::UnixTime;
use valkyrie::security::audit::{AuditEvent, AuditLimits};
use valkyrie_keystore::{AuditFile, AuditRotation, Home};

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

/// A log of five files whose oldest ones have been removed, of 40 bytes and more each.
fn many_files() -> PathBuf {
    let directory = Home::make(other_home("server")).expect("a directory");
    let rotation = AuditRotation {
        file_bytes: 40,
        older_files: 4,
    };
    let time = UnixTime::from_secs(1_800_000_000);
    let mut log =
        AuditFile::open(&directory, AuditLimits::default(), rotation, time).expect("a log of our own");
    for number in 0..10 {
        let what = format!("change {number}");
        log.record(&AuditEvent::TrustChanged { what: &what }, time, Instant::now())
            .expect("a line");
    }
    directory.path_of("audit.log")
}

#[test]
fn a_server_puts_a_file_aside_that_is_full() {
    made(&other_home("server"), "server");
    made(&home(), "client");
    let options = [
        "--listen",
        "tcp://127.0.0.1:0",
        "--audit-file-size",
        "4KiB",
        "--audit-files",
        "2",
    ];
    let mut server = Server::start_as(&other_home("server"), &options);
    let older = log().with_extension("log.1");
    until(|| {
        assert_code(&run(["call", server.locator(), "echo", "echo"]), 0);
        older.exists()
    });
    server.signal(Signal::TERM);
    server.wait();
    let output = run_as(&other_home("server"), ["audit", "verify", "--json"]);
    assert_code(&output, 0);
    let said = &json_lines(&output)[0];
    assert_eq!(said["missing_before"], 0);
    assert_eq!(said["files"][0], older.to_str().expect("text"));
    assert_eq!(
        (&said["events"]["begun"], &said["events"]["continued"]),
        (&1.into(), &1.into())
    );
    let refused = run([
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--audit-file-size",
        "1k",
    ]);
    assert_code(&refused, 2);
}

#[test]
fn a_log_of_many_files_is_verified_from_the_oldest_that_is_left_and_says_so() {
    let log = many_files();
    let path = log.to_str().expect("text");
    let output = run(["audit", "verify", path]);
    assert_code(&output, 0);
    let said = stdout(&output);
    let oldest = log.with_extension("log.4");
    for part in [
        "is whole from its oldest file on: 10 lines in 5 files",
        "the oldest files were removed: lines 0 to 10 are not here, the log begins at line number 11 in",
        oldest.to_str().expect("text"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json = json_lines(&run(["audit", "verify", path, "--json"]));
    assert_eq!(
        (&json[0]["missing_before"], &json[0]["lines"]),
        (&11.into(), &10.into())
    );
    // One file by itself is a log without its older ones.
    let one = run(["audit", "verify", oldest.to_str().expect("text")]);
    assert_code(&one, 0);
}

#[test]
fn a_file_that_is_missing_or_was_changed_among_many_is_named() {
    let found = |tamper: &dyn Fn(&Path)| {
        let log = many_files();
        tamper(&log);
        let output = run(["audit", "verify", log.to_str().expect("text"), "--json"]);
        assert_code(&output, 1);
        let said = json_lines(&output)[0].clone();
        let file = said["file"].as_str().expect("a file").to_owned();
        std::fs::remove_dir_all(other_home("server")).expect("a directory");
        (file.rsplit('/').next().map(str::to_owned), said["line"].as_u64())
    };
    let named = |name: &str, line| (Some(name.to_owned()), Some(line));
    let removed = |log: &Path| std::fs::remove_file(log.with_extension("log.2")).expect("a file");
    assert_eq!(found(&removed), named("audit.log.1", 1));
    let changed = |log: &Path| {
        let file = log.with_extension("log.3");
        let text = std::fs::read_to_string(&file).expect("a file");
        std::fs::write(file, text.replace("trust_changed", "trust_chanced")).expect("a file");
    };
    assert_eq!(found(&changed), named("audit.log.3", 2));
    let emptied = |log: &Path| std::fs::write(log, "").expect("a file");
    assert_eq!(found(&emptied), named("audit.log", 1));
}
