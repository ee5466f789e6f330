//! Logs written by one program after the other, at the same time, and after an accident.

mod rotation;

use std::fs;

use valkyrie_security::audit::{AuditFaultKind, verify};

use super::*;

const TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

struct Node {
    _kept: tempfile::TempDir,
    home: Home,
}

fn node() -> Node {
    let kept = tempfile::tempdir().unwrap();
    let home = Home::make(kept.path().join("node")).unwrap();
    Node { _kept: kept, home }
}

fn open(node: &Node) -> AuditFile {
    AuditFile::open(&node.home, AuditLimits::default(), AuditRotation::default(), TIME).unwrap()
}

fn write(log: &mut AuditFile, what: &str) {
    log.record(&AuditEvent::TrustChanged { what }, TIME, Instant::now())
        .unwrap();
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_chain_goes_on_where_the_last_program_left_it() {
    let node = node();
    for round in 0..3 {
        let mut log = open(&node);
        write(&mut log, &format!("round {round}"));
        log.finish(TIME, Instant::now()).unwrap();
    }
    let path = node.home.path_of("audit.log");
    let lines = lines(&path);
    assert_eq!(lines.len(), 1 + 3 * 2);
    let summary = verify(&lines, kept_head(&path)).unwrap();
    assert_eq!(Some(summary.head), kept_head(&path));
    assert_eq!(summary.events["stopped"], 3);
}

#[test]
fn two_programs_write_two_files() {
    let node = node();
    let (mut one, mut other) = (open(&node), open(&node));
    assert_ne!(one.path(), other.path());
    write(&mut one, "one");
    write(&mut other, "other");
    for log in [&one, &other] {
        verify(lines(log.path()), kept_head(log.path())).unwrap();
    }
    let freed = one.path().to_owned();
    drop(one);
    assert_eq!(open(&node).path(), freed);
}

#[test]
fn half_a_line_is_taken_away_and_the_chain_goes_on() {
    let node = node();
    let mut log = open(&node);
    write(&mut log, "before");
    drop(log);
    let path = node.home.path_of("audit.log");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"v\":1,\"n\":2,\"time\":\"20");
    fs::write(&path, text).unwrap();
    let mut log = open(&node);
    write(&mut log, "after");
    let lines = lines(&path);
    assert_eq!(lines.len(), 3);
    verify(&lines, kept_head(&path)).unwrap();
}

#[test]
fn behind_an_end_that_somebody_changed_nothing_is_written() {
    let node = node();
    let mut log = open(&node);
    write(&mut log, "before");
    drop(log);
    let path = node.home.path_of("audit.log");
    let changed = fs::read_to_string(&path).unwrap().replace("before", "beFore");
    fs::write(&path, &changed).unwrap();
    let log = open(&node);
    assert_eq!(log.path(), node.home.path_of("audit-2.log"));
    assert_eq!(fs::read_to_string(&path).unwrap(), changed);
}

#[test]
fn an_end_that_is_missing_is_told_by_the_head_beside_it() {
    let node = node();
    let mut log = open(&node);
    write(&mut log, "one");
    write(&mut log, "two");
    let path = log.path().to_owned();
    let mut lines = lines(&path);
    lines.pop();
    let fault = verify(&lines, kept_head(&path)).unwrap_err();
    assert_eq!(fault.kind, AuditFaultKind::Truncated { number: 2 });
    assert!(verify(&lines, None).is_ok(), "the lines alone cannot tell");
}

#[test]
fn the_log_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = node();
    let log = open(&node);
    assert_eq!(
        fs::metadata(log.path()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}
