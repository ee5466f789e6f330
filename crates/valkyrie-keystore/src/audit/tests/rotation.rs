//! Logs of many files: put aside, removed, gone on with, interrupted at each step, and tampered with.

use std::io::BufRead;

use valkyrie_security::audit::{AuditFault, AuditSummary, AuditVerifier};

use super::*;

/// Every file holds the line with which it begins, and one more.
const TINY: AuditRotation = AuditRotation {
    file_bytes: 400,
    older_files: 4,
};

fn open_with(node: &Node, rotation: AuditRotation) -> AuditFile {
    AuditFile::open(&node.home, AuditLimits::default(), rotation, TIME).unwrap()
}

/// A log of `events` events, and whatever files that makes.
fn written(node: &Node, events: usize) {
    let mut log = open_with(node, TINY);
    for number in 0..events {
        write(&mut log, &format!("change number {number}"));
    }
}

fn names(node: &Node) -> Vec<String> {
    let files = audit_files(&node.home.path_of("audit.log")).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|(path, _)| name(path)).collect()
}

fn verified(node: &Node) -> Result<AuditSummary, AuditFault> {
    let path = node.home.path_of("audit.log");
    let mut verifier = AuditVerifier::new(kept_head(&path)).without_oldest();
    for (_, file) in audit_files(&path).unwrap() {
        for line in io::BufReader::new(file).lines() {
            verifier.line(line.unwrap().as_bytes())?;
        }
    }
    verifier.finish()
}

fn move_file(node: &Node, from: &str, to: &str) {
    fs::rename(node.home.path_of(from), node.home.path_of(to)).unwrap();
}

/// Something that somebody does to the files of a log.
type Deed = fn(&Node);

#[test]
fn a_file_that_is_full_is_put_aside_and_the_chain_goes_on() {
    let node = node();
    written(&node, 4);
    assert_eq!(
        names(&node),
        ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"]
    );
    let summary = verified(&node).unwrap();
    assert_eq!((summary.begins, summary.events["trust_changed"]), (0, 4));
    assert_eq!((summary.events["begun"], summary.events["continued"]), (1, 3));
    assert_eq!(Some(summary.head), kept_head(&node.home.path_of("audit.log")));
    for name in names(&node) {
        assert!(lines(&node.home.path_of(&name)).len() >= 2, "{name}");
    }
}

#[test]
fn the_oldest_files_are_removed_and_what_is_left_says_from_where() {
    let node = node();
    written(&node, 20);
    assert_eq!(names(&node).len(), 5);
    let summary = verified(&node).unwrap();
    let oldest = lines(&node.home.path_of("audit.log.4"));
    assert!(
        oldest[0].contains(&format!("\"n\":{},", summary.begins)),
        "{}",
        oldest[0]
    );
    assert!(summary.begins > 20);
    drop(open_with(&node, TINY));
    let fewer = AuditRotation {
        older_files: 1,
        ..TINY
    };
    write(&mut open_with(&node, fewer), "one more");
    assert_eq!(names(&node), ["audit.log.1", "audit.log"]);
    verified(&node).unwrap();
}

#[test]
fn a_small_log_is_not_put_aside() {
    let node = node();
    let mut log = open(&node);
    for number in 0..100 {
        write(&mut log, &format!("change number {number}"));
    }
    assert_eq!(names(&node), ["audit.log"]);
}

#[test]
fn the_log_stays_locked_while_its_files_change() {
    let node = node();
    let mut log = open_with(&node, TINY);
    for _ in 0..3 {
        write(&mut log, "one");
    }
    assert_eq!(open_with(&node, TINY).path(), node.home.path_of("audit-2.log"));
    write(&mut log, "one");
    drop(log);
    verified(&node).unwrap();
}

/// What a program that dies leaves behind each of its steps, done by hand, is gone on with and nothing of it is lost.
#[test]
fn a_program_that_dies_while_it_puts_files_aside_loses_no_line() {
    let steps: [(&str, &[(&str, &str)]); 4] = [
        ("the older file has moved", &[("audit.log.2", "audit.log.3")]),
        (
            "all older files have moved",
            &[("audit.log.2", "audit.log.3"), ("audit.log.1", "audit.log.2")],
        ),
        (
            "the log has moved and there is no new one",
            &[
                ("audit.log.2", "audit.log.3"),
                ("audit.log.1", "audit.log.2"),
                ("audit.log", "audit.log.1"),
            ],
        ),
        ("nothing has moved", &[]),
    ];
    for (step, moves) in steps {
        let node = node();
        written(&node, 3);
        assert_eq!(names(&node).len(), 3, "{step}");
        let before = verified(&node).unwrap();
        for (from, to) in moves {
            move_file(&node, from, to);
        }
        assert_eq!(
            verified(&node).unwrap(),
            before,
            "{step}: what is there is whole as it is"
        );
        let mut log = open_with(&node, TINY);
        write(&mut log, "after the accident");
        write(&mut log, "and on");
        drop(log);
        let after = verified(&node).unwrap();
        assert_eq!((after.begins, after.events["begun"]), (0, 1), "{step}");
        assert_eq!(after.events["trust_changed"], 5, "{step}");
        assert!(!after.events.contains_key("end_missing"), "{step}");
    }
}

#[test]
fn a_new_file_without_a_line_goes_on_from_the_one_before() {
    let node = node();
    written(&node, 2);
    move_file(&node, "audit.log.1", "audit.log.2");
    move_file(&node, "audit.log", "audit.log.1");
    drop(node.home.append("audit.log").unwrap());
    let before = verified(&node).unwrap();
    drop(open_with(&node, TINY));
    let log = lines(&node.home.path_of("audit.log"));
    assert!(log.len() == 1 && log[0].contains("\"continued\""), "{log:?}");
    assert_eq!(verified(&node).unwrap().head.number, before.head.number + 1);
}

#[test]
fn nothing_is_written_behind_an_older_file_whose_end_somebody_changed() {
    let node = node();
    written(&node, 2);
    fs::remove_file(node.home.path_of("audit.log")).unwrap();
    let older = node.home.path_of("audit.log.1");
    let changed = fs::read_to_string(&older).unwrap().replace("change", "chance");
    fs::write(&older, changed).unwrap();
    assert_eq!(open_with(&node, TINY).path(), node.home.path_of("audit-2.log"));
}

#[test]
fn an_end_that_was_taken_away_is_recorded_when_the_log_goes_on() {
    let deeds: [(&str, Deed); 3] = [
        ("the youngest file", |node| {
            fs::remove_file(node.home.path_of("audit.log")).unwrap();
        }),
        ("the last line", |node| {
            let path = node.home.path_of("audit.log");
            let mut rest = lines(&path);
            rest.pop();
            fs::write(path, rest.join("\n") + "\n").unwrap();
        }),
        ("all of it", |node| {
            for name in names(node) {
                fs::remove_file(node.home.path_of(&name)).unwrap();
            }
        }),
    ];
    for (deed, take_away) in deeds {
        let node = node();
        written(&node, 3);
        let kept = kept_head(&node.home.path_of("audit.log")).unwrap();
        take_away(&node);
        drop(open_with(&node, TINY));
        drop(open_with(&node, TINY));
        let summary = verified(&node).unwrap();
        assert_eq!(summary.events.get("end_missing"), Some(&1), "{deed}");
        let log = lines(&node.home.path_of("audit.log")).join("\n");
        assert!(log.contains(&format!("\"kept\":\"{kept}\"")), "{deed}: {log}");
    }
}

#[test]
fn tampering_with_any_file_is_found() {
    let deeds: [(&str, Deed); 7] = [
        ("a middle file is removed", |node| {
            fs::remove_file(node.home.path_of("audit.log.2")).unwrap();
        }),
        ("the youngest older file is removed", |node| {
            fs::remove_file(node.home.path_of("audit.log.1")).unwrap();
        }),
        ("the log is removed", |node| {
            fs::remove_file(node.home.path_of("audit.log")).unwrap();
        }),
        ("two older files are swapped", |node| {
            move_file(node, "audit.log.1", "swap");
            move_file(node, "audit.log.2", "audit.log.1");
            move_file(node, "swap", "audit.log.2");
        }),
        ("the log and an older file are swapped", |node| {
            move_file(node, "audit.log", "swap");
            move_file(node, "audit.log.3", "audit.log");
            move_file(node, "swap", "audit.log.3");
        }),
        ("a file is there twice", |node| {
            fs::copy(node.home.path_of("audit.log.2"), node.home.path_of("audit.log.7")).unwrap();
        }),
        ("the oldest file lost its first line", |node| {
            let oldest = node.home.path_of("audit.log.4");
            let rest = lines(&oldest)[1..].join("\n");
            fs::write(oldest, rest + "\n").unwrap();
        }),
    ];
    for (deed, tamper) in deeds {
        let node = node();
        written(&node, 20);
        verified(&node).unwrap();
        tamper(&node);
        verified(&node).expect_err(deed);
    }
    for name in [
        "audit.log.4",
        "audit.log.3",
        "audit.log.2",
        "audit.log.1",
        "audit.log",
    ] {
        let node = node();
        written(&node, 20);
        let path = node.home.path_of(name);
        let changed = fs::read_to_string(&path)
            .unwrap()
            .replace("change number 1", "change number 7");
        fs::write(&path, changed).unwrap();
        let fault = verified(&node).expect_err(name);
        assert_eq!(fault.kind, AuditFaultKind::Edited, "{name}");
    }
}

#[test]
fn a_directory_where_an_older_file_belongs_stops_no_line() {
    let node = node();
    let one = AuditRotation {
        older_files: 1,
        ..TINY
    };
    let mut log = open_with(&node, one);
    write(&mut log, "one");
    // A file cannot take the place of a directory.
    fs::create_dir(node.home.path_of("audit.log.1")).unwrap();
    let event = AuditEvent::TrustChanged { what: "two" };
    log.record(&event, TIME, Instant::now())
        .expect_err("it cannot be put aside");
    log.record(&event, TIME, Instant::now())
        .expect_err("it cannot be put aside");
    assert_eq!(lines(log.path()).len(), 4, "and yet everything is in it");
    fs::remove_dir(node.home.path_of("audit.log.1")).unwrap();
    write(&mut log, "three");
    assert_eq!(names(&node), ["audit.log.1", "audit.log"]);
    verified(&node).unwrap();
}
