//! Behaviours of entries, transactions and lists.

use std::sync::Arc;

use bytes::Bytes;

use super::{StoreHarness, commit, done, get, key, list, put, watch};
use crate::Prefix;
use crate::ledger::CommitError;
use crate::store::{Guard, Outcome, Revision, StoreError, TXN_OPS_MAX, Txn, TxnError, VALUE_BYTES_MAX};

/// Its times make sense.
pub async fn a_store_describes_itself(harness: StoreHarness) {
    let caps = harness.open().await.caps();
    assert!(!caps.ttl_min.is_zero() && caps.ttl_min <= caps.ttl_max);
    assert!(caps.expiry_slack <= caps.ttl_min * 2, "{caps:?}");
}

/// Nothing is found and listed, and that can be watched after.
pub async fn an_empty_store_has_nothing(harness: StoreHarness) {
    let store = harness.open().await;
    assert_eq!(get(&*store, "a").await, None);
    let (entries, revision) = list(&*store, &Prefix::all()).await;
    assert!(entries.is_empty());
    drop(watch(&*store, &Prefix::all(), revision).await);
}

/// Revisions and versions are those of the changes that made an entry.
pub async fn what_was_put_is_found_with_its_revisions(harness: StoreHarness) {
    let store = harness.open().await;
    let first = put(&*store, "a/1", "one").await;
    let second = put(&*store, "a/1", "two").await;
    assert!(first < second);
    let entry = get(&*store, "a/1")
        .await
        .unwrap_or_else(|| panic!("what was put is not there"));
    assert_eq!(entry.value, "two");
    assert_eq!((entry.created, entry.modified, entry.version), (first, second, 2));
    assert_eq!(entry.lease, None);
    done(&*store, Txn::new().delete(key("a/1"))).await;
    assert_eq!(get(&*store, "a/1").await, None);
    // A place that is filled again has a new token.
    let third = put(&*store, "a/1", "three").await;
    let entry = get(&*store, "a/1")
        .await
        .unwrap_or_else(|| panic!("what was put is not there"));
    assert_eq!((entry.created, entry.modified, entry.version), (third, third, 1));
}

/// Nothing of a refused transaction is done, and it says which guard refused and what it found.
pub async fn a_refused_guard_changes_nothing_and_says_what_is_there(harness: StoreHarness) {
    let store = harness.open().await;
    put(&*store, "a", "here").await;
    let txn = Txn::new()
        .guard(Guard::Present(key("a")))
        .guard(Guard::Absent(key("a")))
        .guard(Guard::Present(key("nothing")))
        .put(key("b"), Bytes::from("x"), None)
        .delete(key("a"));
    let found = get(&*store, "a").await;
    assert_eq!(
        commit(&*store, txn).await.value,
        Outcome::Refused { guard: 1, found }
    );
    assert!(get(&*store, "a").await.is_some() && get(&*store, "b").await.is_none());
}

/// Each kind of guard, on what is there, was there, and never was.
pub async fn each_guard_holds_when_it_should(harness: StoreHarness) {
    let store = harness.open().await;
    let created = put(&*store, "a", "1").await;
    let modified = put(&*store, "a", "2").await;
    let (a, b) = (key("a"), key("b"));
    let cases = [
        (Guard::Absent(b.clone()), true),
        (Guard::Absent(a.clone()), false),
        (Guard::Present(a.clone()), true),
        (Guard::Present(b.clone()), false),
        (Guard::Created(a.clone(), created), true),
        (Guard::Created(a.clone(), modified), false),
        (Guard::Created(b.clone(), created), false),
        (Guard::Modified(a.clone(), modified), true),
        (Guard::Modified(a, created), false),
        (Guard::Modified(b, modified), false),
    ];
    for (guard, holds) in cases {
        let outcome = commit(&*store, Txn::new().guard(guard.clone())).await.value;
        assert_eq!(outcome == Outcome::Committed, holds, "{guard:?}");
    }
}

/// What a transaction does has one revision, in entries and in watches.
pub async fn a_transaction_is_one_revision(harness: StoreHarness) {
    let store = harness.open().await;
    let before = put(&*store, "old", "x").await;
    let mut watch = watch(&*store, &Prefix::all(), before).await;
    let mut txn = Txn::new().delete(key("old"));
    for number in 1..TXN_OPS_MAX {
        txn = txn.put(key(&format!("new/{number}")), Bytes::from("x"), None);
    }
    let revision = done(&*store, txn).await;
    let (entries, _) = list(&*store, &Prefix::all()).await;
    assert_eq!(entries.len(), TXN_OPS_MAX - 1);
    assert!(
        entries
            .iter()
            .all(|entry| entry.created == revision && entry.modified == revision)
    );
    let mut changes = Vec::new();
    while changes.is_empty() {
        changes = watch
            .next(64)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .changes;
    }
    assert_eq!(changes.len(), 1, "all events of a revision come together");
    assert_eq!(
        (changes[0].revision, changes[0].events.len()),
        (revision, TXN_OPS_MAX)
    );
}

/// What breaks a rule of form is refused by every store in the same way.
pub async fn bad_transactions_are_refused(harness: StoreHarness) {
    let store = harness.open().await;
    let twice = Txn::new().put(key("a"), Bytes::new(), None).delete(key("a"));
    let long = Txn::new().put(key("a"), Bytes::from(vec![0; VALUE_BYTES_MAX + 1]), None);
    let mut many = Txn::new();
    for number in 0..=TXN_OPS_MAX {
        many = many.delete(key(&format!("a/{number}")));
    }
    for txn in [twice, long, many] {
        match store.commit(txn).await {
            Err(StoreError::Refused(CommitError::Txn(
                TxnError::Twice(_) | TxnError::Value { .. } | TxnError::TooMany { .. },
            ))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(get(&*store, "a").await, None);
}

/// A value of the largest size, of every byte there is.
pub async fn a_large_value_is_kept(harness: StoreHarness) {
    let store = harness.open().await;
    let value: Bytes = (0..VALUE_BYTES_MAX).map(|at| (at % 256) as u8).collect();
    let txn = Txn::new().put(key("a"), value.clone(), None);
    done(&*store, txn).await;
    let entry = get(&*store, "a")
        .await
        .unwrap_or_else(|| panic!("what was put is not there"));
    assert_eq!(entry.value, value);
    put(&*store, "b", "").await;
    let entry = get(&*store, "b")
        .await
        .unwrap_or_else(|| panic!("an empty value is not nothing"));
    assert!(entry.value.is_empty());
}

/// Pages follow each other, ascending, without a gap.
pub async fn long_lists_come_in_pages(harness: StoreHarness) {
    let store = harness.open().await;
    let mut number = 0;
    while number < 300 {
        let mut txn = Txn::new();
        for _ in 0..TXN_OPS_MAX.min(300 - number) {
            txn = txn.put(key(&format!("a/{number:03}")), Bytes::from("x"), None);
            number += 1;
        }
        done(&*store, txn).await;
    }
    put(&*store, "b/0", "x").await;
    let prefix = Prefix::beneath("a").unwrap_or_else(|error| panic!("{error}"));
    let mut listing = match store.list(&prefix).await {
        Ok(answer) => answer.value,
        Err(error) => panic!("{error}"),
    };
    let mut names = Vec::new();
    while let Some(page) = listing.next(7).await.unwrap_or_else(|error| panic!("{error}")) {
        assert!((1..=7).contains(&page.entries.len()));
        names.extend(page.entries.iter().map(|entry| entry.key.to_string()));
    }
    let expected: Vec<_> = (0..300).map(|number| format!("a/{number:03}")).collect();
    assert_eq!(names, expected);
}

/// What happens after a list was begun is not in it.
pub async fn a_list_is_of_one_revision(harness: StoreHarness) {
    let store = harness.open().await;
    for name in ["a/1", "a/2", "a/3"] {
        put(&*store, name, "before").await;
    }
    let answer = match store.list(&Prefix::all()).await {
        Ok(answer) => answer,
        Err(error) => panic!("{error}"),
    };
    let (mut listing, revision) = (answer.value, answer.revision);
    let mut entries = Vec::new();
    // The first page is read, and then everything changes.
    if let Ok(Some(page)) = listing.next(1).await {
        entries.extend(page.entries);
    }
    put(&*store, "a/2", "after").await;
    done(&*store, Txn::new().delete(key("a/3"))).await;
    put(&*store, "a/4", "after").await;
    while let Some(page) = listing.next(1).await.unwrap_or_else(|error| panic!("{error}")) {
        entries.extend(page.entries);
    }
    assert_eq!(entries.len(), 3);
    assert!(
        entries
            .iter()
            .all(|entry| entry.value == "before" && entry.modified <= revision)
    );
}

/// Sixteen at once claim an empty place, again and again.
pub async fn of_many_who_claim_a_place_one_gets_it(harness: StoreHarness) {
    let store = harness.open().await;
    for round in 0..5 {
        let place = key(&format!("claim/{round}"));
        let claims: Vec<_> = (0..16)
            .map(|claimant| {
                let (store, place) = (Arc::clone(&store), place.clone());
                tokio::spawn(async move {
                    let txn = Txn::new().guard(Guard::Absent(place.clone())).put(
                        place,
                        Bytes::from(format!("{claimant}")),
                        None,
                    );
                    let answer = commit(&*store, txn).await;
                    (claimant, answer.value, answer.revision)
                })
            })
            .collect();
        let mut winners: Vec<(i32, Revision)> = Vec::new();
        for claim in claims {
            match claim.await {
                Ok((claimant, Outcome::Committed, revision)) => winners.push((claimant, revision)),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let entry = get(&*store, place.as_str())
            .await
            .unwrap_or_else(|| panic!("nobody holds the place"));
        assert_eq!(entry.value, winners[0].0.to_string());
        assert_eq!(entry.created, winners[0].1);
    }
}

/// Sixty-four at once write a place of their own, and each is told the revision of its own change.
pub async fn of_many_who_write_each_is_told_its_own_revision(harness: StoreHarness) {
    let store = harness.open().await;
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let name = format!("own/{writer}");
                (put(&*store, &name, "x").await, name)
            })
        })
        .collect();
    for writer in writers {
        let (revision, name) = writer.await.unwrap_or_else(|error| panic!("{error}"));
        let entry = get(&*store, &name)
            .await
            .unwrap_or_else(|| panic!("what was put is not there"));
        assert_eq!(entry.modified, revision, "{name}");
    }
}
