use super::*;
use crate::Prefix;
use crate::store::Guard;
use bytes::Bytes;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn put(ledger: &mut Ledger, at_ms: u64, name: &str, lease: Option<LeaseId>) -> Outcome {
    let outcome = ledger.commit(at(at_ms), &Txn::new().put(key(name), value("v"), lease));
    ledger.invariants();
    outcome.unwrap()
}

fn since(ledger: &Ledger, revision: u64) -> Vec<(u64, Vec<String>)> {
    let (changes, _) = ledger
        .state()
        .changes(&Prefix::all(), Revision::new(revision), usize::MAX)
        .unwrap();
    let describe = |event: &Event| match event {
        Event::Put(entry) => format!("put {}", entry.key),
        Event::Deleted { key, cause } => format!("{cause:?} {key}"),
    };
    let describe = |change: &Arc<Change>| {
        let events = change.events.iter().map(describe).collect();
        (change.revision.number(), events)
    };
    changes.iter().map(describe).collect()
}

#[test]
fn a_place_that_is_filled_again_has_a_new_token() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    put(&mut ledger, 0, "a", None);
    put(&mut ledger, 0, "a", None);
    let first = ledger.state().get(&key("a")).unwrap().clone();
    assert_eq!(
        (first.created.number(), first.modified.number(), first.version),
        (1, 2, 2)
    );
    ledger.commit(at(0), &Txn::new().delete(key("a"))).unwrap();
    put(&mut ledger, 0, "a", None);
    let second = ledger.state().get(&key("a")).unwrap().clone();
    assert_eq!((second.created.number(), second.version), (4, 1));
    // Whoever held the place before is fenced off.
    let guarded = Txn::new()
        .guard(Guard::Created(key("a"), first.created))
        .delete(key("a"));
    let outcome = ledger.commit(at(0), &guarded).unwrap();
    assert_eq!(
        outcome,
        Outcome::Refused {
            guard: 0,
            found: Some(second)
        }
    );
}

#[test]
fn a_lease_takes_all_that_lies_under_it_at_one_revision() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(0), Duration::from_secs(2)).unwrap();
    put(&mut ledger, 0, "b", Some(lease.id));
    put(&mut ledger, 0, "a", Some(lease.id));
    put(&mut ledger, 0, "c", None);
    assert_eq!(ledger.poll_timeout(), Some(at(2000)));
    ledger.handle_timeout(at(1999));
    assert_eq!(ledger.state().len(), 3);
    ledger.handle_timeout(at(2000));
    ledger.invariants();
    assert_eq!(
        since(&ledger, 3),
        [(4, vec!["Expired a".to_owned(), "Expired b".to_owned()])]
    );
    assert_eq!(ledger.poll_timeout(), None);
}

#[test]
fn an_entry_can_run_out_alone_whatever_its_lease_does() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(0), Duration::from_secs(9)).unwrap().id;
    put(&mut ledger, 0, "a", Some(lease));
    put(&mut ledger, 0, "b", Some(lease));
    assert!(ledger.expire(at(1), &key("a")) && !ledger.expire(at(1), &key("a")));
    ledger.invariants();
    assert_eq!(since(&ledger, 2), [(3, vec!["Expired a".to_owned()])]);
    assert!(ledger.revoke(at(2), lease));
    assert_eq!(since(&ledger, 3), [(4, vec!["Revoked b".to_owned()])]);
}

#[test]
fn a_renewal_lasts_from_when_it_was_made() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(0), Duration::from_secs(2)).unwrap();
    assert_eq!(ledger.keep_alive(at(1500), lease.id), KeepAlive::Alive(lease.ttl));
    assert_eq!(ledger.poll_timeout(), Some(at(3500)));
    // Too late is too late, even if nobody has looked in between.
    assert_eq!(ledger.keep_alive(at(3500), lease.id), KeepAlive::Gone);
}

#[test]
fn time_that_goes_back_revives_nothing() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(10_000), Duration::from_secs(2)).unwrap();
    ledger.handle_timeout(at(12_000));
    assert_eq!(ledger.keep_alive(at(0), lease.id), KeepAlive::Gone);
    let lease = ledger.grant(at(0), Duration::from_secs(2)).unwrap();
    assert_eq!(ledger.poll_timeout(), Some(at(14_000)));
    assert!(ledger.revoke(at(0), lease.id));
}

#[test]
fn a_ttl_is_raised_and_cut() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let short = ledger.grant(at(0), Duration::ZERO).unwrap();
    assert_eq!(short.ttl, Bounds::DEFAULT.ttl_min);
    let long = ledger.grant(at(0), Duration::MAX).unwrap();
    assert_eq!(long.ttl, Bounds::DEFAULT.ttl_max);
}

#[test]
fn an_entry_that_is_written_without_its_lease_leaves_it() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(0), Duration::from_secs(2)).unwrap();
    put(&mut ledger, 0, "a", Some(lease.id));
    put(&mut ledger, 0, "a", None);
    ledger.handle_timeout(at(5000));
    ledger.invariants();
    assert!(ledger.state().get(&key("a")).is_some());
}

#[test]
fn what_is_refused_changes_nothing() {
    let bounds = Bounds {
        entries_max: 2,
        keys_per_lease_max: 1,
        leases_max: 1,
        ..Bounds::DEFAULT
    };
    let mut ledger = Ledger::new(bounds);
    let lease = ledger.grant(at(0), Duration::from_secs(2)).unwrap();
    assert_eq!(
        ledger.grant(at(0), Duration::from_secs(2)),
        Err(CommitError::Full("leases", 1))
    );
    put(&mut ledger, 0, "a", Some(lease.id));
    let mut refused = |txn: Txn| {
        let before = ledger.state().revision();
        let error = ledger.commit(at(0), &txn).unwrap_err();
        ledger.invariants();
        assert_eq!((ledger.state().revision(), ledger.state().len()), (before, 1));
        error
    };
    let nobody = LeaseId::new(99);
    assert_eq!(
        refused(
            Txn::new()
                .put(key("b"), value(""), None)
                .put(key("c"), value(""), Some(nobody))
        ),
        CommitError::NoSuchLease(nobody)
    );
    assert_eq!(
        refused(Txn::new().put(key("b"), value(""), Some(lease.id))),
        CommitError::Full("keys under one lease", 1)
    );
    assert_eq!(
        refused(
            Txn::new()
                .put(key("b"), value(""), None)
                .put(key("c"), value(""), None)
        ),
        CommitError::Full("entries", 2)
    );
    assert_eq!(
        refused(Txn::new().delete(key("a")).put(key("a"), value(""), None)),
        CommitError::Txn(TxnError::Twice(key("a")))
    );
    // In a full ledger what is there can be written and deleted.
    put(&mut ledger, 0, "b", None);
    put(&mut ledger, 0, "b", None);
    let swap = Txn::new().delete(key("b")).put(key("c"), value(""), None);
    assert_eq!(ledger.commit(at(0), &swap), Ok(Outcome::Committed));
}

#[test]
fn deleting_what_is_not_there_is_no_change() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    assert_eq!(
        ledger.commit(at(0), &Txn::new().delete(key("a"))),
        Ok(Outcome::Committed)
    );
    assert_eq!(ledger.state().revision(), Revision::NONE);
}

#[test]
fn a_watch_sees_its_prefix_and_how_far_it_has_seen() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    for name in ["a/1", "b/1", "a/2", "b/2"] {
        put(&mut ledger, 0, name, None);
    }
    let both = Txn::new().delete(key("a/1")).delete(key("b/1"));
    ledger.commit(at(0), &both).unwrap();
    let state = ledger.state();
    let a = Prefix::beneath("a").unwrap();
    let (changes, upto) = state.changes(&a, Revision::NONE, 1).unwrap();
    assert_eq!((changes.len(), upto.number()), (1, 1));
    let (changes, upto) = state.changes(&a, upto, 10).unwrap();
    let revisions: Vec<_> = changes
        .iter()
        .map(|change| (change.revision.number(), change.events.len()))
        .collect();
    assert_eq!((revisions, upto.number()), (vec![(3, 1), (5, 1)], 5));
    assert_eq!(state.changes(&a, upto, 10).unwrap(), (vec![], upto));
}

#[test]
fn history_is_bounded_and_says_so() {
    let bounds = Bounds {
        history_events_max: 3,
        ..Bounds::DEFAULT
    };
    let mut ledger = Ledger::new(bounds);
    for _ in 0..5 {
        put(&mut ledger, 0, "a", None);
    }
    let state = ledger.state();
    assert_eq!(
        state.changes(&Prefix::all(), Revision::new(1), 9),
        Err(Compacted {
            oldest: Revision::new(2)
        })
    );
    assert_eq!(
        state
            .changes(&Prefix::all(), Revision::new(2), 9)
            .unwrap()
            .0
            .len(),
        3
    );
    ledger.compact(Revision::new(99));
    ledger.invariants();
    assert_eq!(ledger.state().compacted(), Revision::new(5));
    assert!(
        ledger
            .state()
            .changes(&Prefix::all(), Revision::new(5), 9)
            .unwrap()
            .0
            .is_empty()
    );
    // The state that was taken before has what it had.
    assert_eq!(
        state
            .changes(&Prefix::all(), Revision::new(2), 9)
            .unwrap()
            .0
            .len(),
        3
    );
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    for name in ["a/1", "a/2", "a/3", "a", "b/1", "a0"] {
        put(&mut ledger, 0, name, None);
    }
    let state = ledger.state();
    let a = Prefix::beneath("a").unwrap();
    let names = |page: Vec<Arc<Entry>>| page.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>();
    let first = state.page(&a, None, 2);
    assert_eq!(names(first.clone()), ["a/1", "a/2"]);
    assert_eq!(names(state.page(&a, Some(&first[1].key), 2)), ["a/3"]);
    assert_eq!(state.page(&Prefix::all(), None, 99).len(), 6);
}

#[test]
fn what_was_kept_is_a_ledger_again() {
    let mut ledger = Ledger::new(Bounds::DEFAULT);
    let lease = ledger.grant(at(0), Duration::from_secs(5)).unwrap();
    put(&mut ledger, 0, "a", Some(lease.id));
    put(&mut ledger, 0, "b", None);
    let state = ledger.state();
    let kept = Kept {
        entries: state.entries().cloned().collect(),
        leases: vec![lease],
        history: state.history().cloned().collect(),
        revision: state.revision(),
        compacted: state.compacted(),
        last_lease: ledger.last_lease(),
    };
    let again = Ledger::restore(Bounds::DEFAULT, at(3000), kept.clone()).unwrap();
    again.invariants();
    assert!(again.state().entries().eq(state.entries()));
    // Nobody could renew in between, so the lease has its whole time again.
    assert_eq!(again.poll_timeout(), Some(at(8000)));
    let orphan = Kept {
        leases: vec![],
        ..kept.clone()
    };
    assert!(matches!(
        Ledger::restore(Bounds::DEFAULT, at(0), orphan),
        Err(RestoreError::NoSuchLease(_))
    ));
    let early = Kept {
        revision: Revision::new(1),
        ..kept
    };
    assert!(matches!(
        Ledger::restore(Bounds::DEFAULT, at(0), early),
        Err(RestoreError::Revision(_))
    ));
}

#[test]
fn one_that_begins_later_tells_those_who_watched_another_to_list_anew() {
    let mut ledger = Ledger::beginning_after(Bounds::DEFAULT, Revision::new(100));
    let seen_before = ledger.state().changes(&Prefix::all(), Revision::new(40), 9);
    assert_eq!(
        seen_before,
        Err(Compacted {
            oldest: Revision::new(100)
        })
    );
    put(&mut ledger, 0, "a", None);
    assert_eq!(ledger.state().get(&key("a")).unwrap().created, Revision::new(101));
    assert_eq!(since(&ledger, 100), [(101, vec!["put a".to_owned()])]);
}
