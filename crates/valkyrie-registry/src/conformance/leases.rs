//! Behaviours of leases, in real time: each ends no earlier than it was granted for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{StoreHarness, done, get, key, put, watch};
use crate::Prefix;
use crate::ledger::CommitError;
use crate::store::{Cause, Change, Event, KeepAlive, Lease, LeaseId, Store, StoreError, Txn, Watch};

async fn grant(store: &dyn Store, ttl: Duration) -> Lease {
    match store.grant(ttl).await {
        Ok(answer) => answer.value,
        Err(error) => panic!("the suite cannot get a lease: {error}"),
    }
}

async fn renew(store: &dyn Store, id: LeaseId) -> KeepAlive {
    match store.keep_alive(&[id]).await.as_deref() {
        Ok([renewed]) => *renewed,
        other => panic!("one lease, one answer: {other:?}"),
    }
}

/// Waits for the next change that deletes something.
async fn deletion(watch: &mut dyn Watch) -> Arc<Change> {
    loop {
        let batch = watch.next(1).await.unwrap_or_else(|error| panic!("{error}"));
        for change in batch.changes {
            if change
                .events
                .iter()
                .any(|event| matches!(event, Event::Deleted { .. }))
            {
                return change;
            }
        }
    }
}

fn causes(change: &Change) -> Vec<(String, Cause)> {
    let mut causes: Vec<_> = change
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Deleted { key, cause } => Some((key.to_string(), *cause)),
            Event::Put(_) => None,
        })
        .collect();
    causes.sort_by(|(a, _), (b, _)| a.cmp(b));
    causes
}

/// The store's shortest and longest lease are what it said they are, and what is granted is told.
pub async fn the_granted_time_is_told(harness: StoreHarness) {
    let store = harness.open().await;
    let caps = store.caps();
    assert_eq!(grant(&*store, Duration::ZERO).await.ttl, caps.ttl_min);
    let middle = caps.ttl_min * 5;
    assert!(grant(&*store, middle).await.ttl >= middle);
    assert_eq!(grant(&*store, Duration::MAX).await.ttl, caps.ttl_max);
    let lease = grant(&*store, middle).await;
    assert_eq!(renew(&*store, lease.id).await, KeepAlive::Alive(lease.ttl));
}

/// All that lies under a lease goes at once, not before the lease's time, and with a cause.
pub async fn a_lease_that_is_not_renewed_takes_its_entries(harness: StoreHarness) {
    let store = harness.open().await;
    let asked = Instant::now();
    let lease = grant(&*store, store.caps().ttl_min).await;
    let begin = put(&*store, "stays", "x").await;
    let mut watch = watch(&*store, &Prefix::all(), begin).await;
    let txn = Txn::new()
        .put(key("goes/1"), Bytes::from("x"), Some(lease.id))
        .put(key("goes/2"), Bytes::from("x"), Some(lease.id));
    done(&*store, txn).await;
    let entry = get(&*store, "goes/1").await;
    assert_eq!(entry.and_then(|entry| entry.lease), Some(lease.id));
    let change = deletion(&mut *watch).await;
    assert!(
        asked.elapsed() >= lease.ttl,
        "it ended early: after {:?}",
        asked.elapsed()
    );
    let cause = if store.caps().lease_causes {
        Cause::Expired
    } else {
        Cause::LeaseEnded
    };
    assert_eq!(
        causes(&change),
        [("goes/1".to_owned(), cause), ("goes/2".to_owned(), cause)]
    );
    assert_eq!(get(&*store, "goes/1").await, None);
    assert!(get(&*store, "stays").await.is_some());
    assert_eq!(renew(&*store, lease.id).await, KeepAlive::Gone);
}

/// A lease that is renewed is there when a longer one has ended that was not.
pub async fn a_lease_that_is_renewed_lives(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "begin", "x").await;
    let mut watch = watch(&*store, &Prefix::all(), begin).await;
    let ttl = store.caps().ttl_min;
    // Twice the shortest, so that a machine with too much to do gets around to renewing it.
    let (renewed, left) = (grant(&*store, ttl * 2).await, grant(&*store, ttl * 3).await);
    let txn = Txn::new()
        .put(key("renewed"), Bytes::from("x"), Some(renewed.id))
        .put(key("left"), Bytes::from("x"), Some(left.id));
    done(&*store, txn).await;
    let ended = loop {
        if let Ok(change) = tokio::time::timeout(ttl / 8, deletion(&mut *watch)).await {
            break change;
        }
        assert_eq!(renew(&*store, renewed.id).await, KeepAlive::Alive(renewed.ttl));
    };
    assert_eq!(causes(&ended)[0].0, "left");
    assert!(get(&*store, "renewed").await.is_some());
}

/// What lies under a lease that is given back goes at once.
pub async fn a_lease_that_is_given_back_takes_its_entries(harness: StoreHarness) {
    let store = harness.open().await;
    let lease = grant(&*store, Duration::from_secs(600)).await;
    let txn = Txn::new().put(key("a"), Bytes::from("x"), Some(lease.id)).put(
        key("b"),
        Bytes::from("x"),
        Some(lease.id),
    );
    let begin = done(&*store, txn).await;
    // Written again without the lease, it does not go with it.
    put(&*store, "b", "y").await;
    let mut watch = watch(&*store, &Prefix::all(), begin).await;
    let revoked = store
        .revoke(lease.id)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(revoked.value);
    let cause = if store.caps().lease_causes {
        Cause::Revoked
    } else {
        Cause::LeaseEnded
    };
    assert_eq!(causes(&*deletion(&mut *watch).await), [("a".to_owned(), cause)]);
    assert!(get(&*store, "b").await.is_some());
    let again = store
        .revoke(lease.id)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!again.value, "it was there once");
}

/// A lease that has ended cannot be renewed or written under.
pub async fn what_has_ended_cannot_be_used(harness: StoreHarness) {
    let store = harness.open().await;
    let lease = grant(&*store, Duration::from_secs(600)).await;
    if let Err(error) = store.revoke(lease.id).await {
        panic!("{error}");
    }
    assert_eq!(renew(&*store, lease.id).await, KeepAlive::Gone);
    let other = grant(&*store, Duration::from_secs(600)).await;
    assert_ne!(other.id, lease.id);
    let renewed = store.keep_alive(&[lease.id, other.id]).await;
    assert_eq!(renewed, Ok(vec![KeepAlive::Gone, KeepAlive::Alive(other.ttl)]));
    let txn = Txn::new()
        .put(key("b"), Bytes::new(), None)
        .put(key("a"), Bytes::new(), Some(lease.id));
    let refused = store.commit(txn).await.map(|answer| answer.value);
    assert_eq!(
        refused,
        Err(StoreError::Refused(CommitError::NoSuchLease(lease.id)))
    );
    assert_eq!(get(&*store, "b").await, None, "nothing of it was done");
}
