//! Every change of a log is found, and at its line.

use proptest::prelude::*;

use super::*;

fn fault(lines: &[String], kept: Option<AuditHead>) -> (u64, AuditFaultKind) {
    let fault = verify(lines, kept).expect_err("the log was changed");
    (fault.line, fault.kind)
}

#[test]
fn a_change_of_any_byte_is_found_in_its_line() {
    let lines = log(2);
    for changed in 0..lines.len() {
        for at in 0..lines[changed].len() {
            for change in [1, 0x20, 0x80] {
                let mut bytes: Vec<Vec<u8>> = lines.iter().map(|line| line.clone().into_bytes()).collect();
                bytes[changed][at] ^= change;
                let found = verify(&bytes, None).expect_err("a byte was changed");
                assert_eq!(found.line, changed as u64 + 1, "byte {at}: {found}");
            }
        }
    }
}

#[test]
fn a_line_that_is_missing_is_found_behind_it() {
    let lines = log(4);
    for removed in 1..lines.len() - 1 {
        let mut fewer = lines.clone();
        fewer.remove(removed);
        let missing = AuditFaultKind::Missing { missing: 1 };
        assert_eq!(fault(&fewer, None), (removed as u64 + 1, missing));
    }
    assert_eq!(fault(&lines[1..], None), (1, AuditFaultKind::NoBeginning));
    assert_eq!(fault(&[], None), (1, AuditFaultKind::Empty));
}

#[test]
fn a_line_that_was_moved_or_doubled_is_found() {
    let lines = log(4);
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    assert_eq!(fault(&swapped, None), (3, AuditFaultKind::Missing { missing: 1 }));
    let mut doubled = lines.clone();
    doubled.insert(3, lines[2].clone());
    let misplaced = AuditFaultKind::Misplaced {
        found: 2,
        expected: 3,
    };
    assert_eq!(fault(&doubled, None), (4, misplaced));
}

#[test]
fn a_line_that_was_put_in_with_a_hash_of_its_own_is_found_by_the_next() {
    let lines = log(4);
    let mut forged = AuditChain::resume(&lines[1]).unwrap();
    let mut longer = lines.clone();
    longer[2] = forged.append(&AuditEvent::Stopped, TIME);
    assert_eq!(fault(&longer, None), (4, AuditFaultKind::Unchained));
    let other = log(4);
    let mut mixed = lines.clone();
    mixed[2] = other[2].clone();
    assert_eq!(fault(&mixed, None), (3, AuditFaultKind::Unchained));
}

#[test]
fn an_end_that_is_missing_is_found_with_the_head_that_was_kept() {
    let lines = log(4);
    let kept = verify(&lines, None).unwrap().head;
    let shorter = &lines[..3];
    assert!(verify(shorter, None).is_ok(), "the chain alone cannot tell");
    assert_eq!(
        fault(shorter, Some(kept)),
        (4, AuditFaultKind::Truncated { number: 4 })
    );
    assert!(verify(&lines, Some(kept)).is_ok());
    let earlier = verify(shorter, None).unwrap().head;
    assert!(verify(&lines, Some(earlier)).is_ok(), "the log may have grown");
}

#[test]
fn a_log_that_was_written_anew_is_found_with_the_head_that_was_kept() {
    let kept = verify(log(4), None).unwrap().head;
    assert_eq!(fault(&log(4), Some(kept)), (5, AuditFaultKind::OtherLog));
    assert_eq!(fault(&log(6), Some(kept)), (5, AuditFaultKind::OtherLog));
}

#[test]
fn half_a_line_at_the_end_is_found() {
    let mut lines = log(2);
    let last = lines.pop().unwrap();
    for end in 0..last.len() {
        let mut torn = lines.clone();
        torn.push(last[..end].to_owned());
        assert_eq!(fault(&torn, None).0, 3, "{end}");
    }
    let mut long = log(1);
    long.push("x".repeat(1 << 20));
    assert_eq!(fault(&long, None), (3, AuditFaultKind::TooLong));
}

/// What was left after the oldest files were removed: `gone` lines, and a log that goes on in a file of its own behind them.
fn left(gone: u64) -> (Vec<String>, AuditHead) {
    let mut chain = AuditChain::begin(TIME).0;
    for _ in 1..gone {
        chain.append(&AuditEvent::Stopped, TIME);
    }
    let before = chain.head();
    let first = chain.go_on(TIME);
    let second = chain.append(&AuditEvent::Stopped, TIME);
    (vec![first, second], before)
}

fn without_oldest(lines: &[String], kept: Option<AuditHead>) -> Result<AuditSummary, AuditFault> {
    let mut verifier = AuditVerifier::new(kept).without_oldest();
    for line in lines {
        verifier.line(line.as_bytes())?;
    }
    verifier.finish()
}

#[test]
fn a_log_without_its_oldest_files_passes_where_that_is_let_pass_and_says_so() {
    let (lines, before) = left(5);
    assert_eq!(fault(&lines, None), (1, AuditFaultKind::NoBeginning));
    let summary = without_oldest(&lines, None).unwrap();
    assert_eq!((summary.begins, summary.head.number), (5, 6));
    assert!(without_oldest(&lines, Some(before)).is_ok(), "the line before");
    assert!(without_oldest(&lines, Some(summary.head)).is_ok());
    assert_eq!(without_oldest(&log(2), None).unwrap().begins, 0);
}

#[test]
fn a_log_begins_with_the_first_line_of_a_file_or_not_at_all() {
    let (lines, _) = left(5);
    for begun_late in [&lines[1..], &log(3)[1..]] {
        let fault = without_oldest(begun_late, None).unwrap_err();
        assert_eq!((fault.line, fault.kind), (1, AuditFaultKind::NoBeginning));
    }
}

#[test]
fn what_is_left_is_not_taken_for_the_log_of_a_head_that_it_does_not_reach() {
    let (lines, before) = left(5);
    let kept = verify(log(2), None).unwrap().head;
    let kind = |kept| without_oldest(&lines, Some(kept)).unwrap_err().kind;
    assert_eq!(kind(kept), AuditFaultKind::HeadRemoved { number: 2 });
    let other = AuditHead {
        hash: kept.hash,
        ..before
    };
    assert_eq!(kind(other), AuditFaultKind::OtherLog);
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(lines: Vec<Vec<u8>>) {
        let _ = verify(&lines, None);
    }

    #[test]
    fn whatever_is_done_to_a_log_is_found(
        changes in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5)
    ) {
        let whole = log(6);
        let kept = verify(&whole, None).unwrap().head;
        let mut lines: Vec<Vec<u8>> = whole.iter().map(|line| line.clone().into_bytes()).collect();
        for (kind, one, other) in &changes {
            if lines.is_empty() {
                break;
            }
            let (at, to) = (one.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => { lines.remove(at); }
                1 => lines.swap(at, to),
                2 => lines.insert(at, lines[to].clone()),
                _ if lines[at].is_empty() => {}
                _ => {
                    let byte = other.index(lines[at].len());
                    lines[at][byte] ^= 1;
                }
            }
        }
        let same = lines.iter().map(Vec::as_slice).eq(whole.iter().map(String::as_bytes));
        prop_assert_eq!(verify(&lines, Some(kept)).is_ok(), same);
    }
}
