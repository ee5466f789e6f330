//! Behaviours of watches: nothing is missed, nothing comes twice, and what cannot be had is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{StoreHarness, changes_until, done, key, list, put, watch};
use crate::Prefix;
use crate::store::{Change, Event, Revision, Store, TXN_OPS_MAX, Txn, WatchError};

/// Somebody writes; somebody else lists in the middle of it and watches from there, and has what is there in the end.
pub async fn a_list_and_a_watch_miss_nothing(harness: StoreHarness) {
    let store = harness.open().await;
    put(&*store, "a/0", "x").await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..200 {
                let (name, value) = (format!("a/{}", number % 17), number.to_string());
                match number % 5 {
                    4 => drop(done(&*store, Txn::new().delete(key(&name))).await),
                    _ => drop(put(&*store, &name, &value).await),
                }
            }
            put(&*store, "a/end", "x").await;
        })
    };
    let (entries, revision) = list(&*store, &Prefix::all()).await;
    let mut held: BTreeMap<String, Bytes> = entries
        .iter()
        .map(|entry| (entry.key.to_string(), entry.value.clone()))
        .collect();
    let mut watch = watch(&*store, &Prefix::all(), revision).await;
    let changes = changes_until(&mut *watch, "a/end").await;
    let mut last = revision;
    for change in &changes {
        assert!(change.revision > last, "{} comes after {last}", change.revision);
        last = change.revision;
        for event in &change.events {
            match event {
                Event::Put(entry) => {
                    assert_eq!(entry.modified, change.revision);
                    held.insert(entry.key.to_string(), entry.value.clone());
                }
                Event::Deleted { key, .. } => {
                    assert!(held.remove(key.as_str()).is_some(), "{key} was not there");
                }
            }
        }
    }
    if let Err(error) = writer.await {
        panic!("{error}");
    }
    let (entries, _) = list(&*store, &Prefix::all()).await;
    let there: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (entry.key.to_string(), entry.value.clone()))
        .collect();
    assert_eq!(held, there);
}

/// A watch that ends and one that begins at its last revision are one watch.
pub async fn a_watch_goes_on_where_another_stopped(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "a/begin", "x").await;
    for number in 0..20 {
        put(&*store, &format!("a/{number}"), "x").await;
    }
    put(&*store, "a/end", "x").await;
    let whole = {
        let mut watch = watch(&*store, &Prefix::all(), begin).await;
        changes_until(&mut *watch, "a/end").await
    };
    assert_eq!(whole.len(), 21);
    let mut parts: Vec<Arc<Change>> = Vec::new();
    let mut after = begin;
    while parts.len() < whole.len() {
        let mut watch = watch(&*store, &Prefix::all(), after).await;
        let batch = watch.next(3).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(batch.changes.len() <= 3);
        after = batch.revision;
        parts.extend(batch.changes);
    }
    assert_eq!(parts, whole);
}

/// What is elsewhere is not seen.
pub async fn a_watch_sees_its_prefix_alone(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "b/0", "x").await;
    let prefix = Prefix::beneath("a").unwrap_or_else(|error| panic!("{error}"));
    let mut watch = watch(&*store, &prefix, begin).await;
    put(&*store, "a", "x").await;
    put(&*store, "ab/1", "x").await;
    let both = Txn::new()
        .put(key("a/1"), Bytes::new(), None)
        .put(key("b/1"), Bytes::new(), None);
    let revision = done(&*store, both).await;
    put(&*store, "a/end", "x").await;
    let changes = changes_until(&mut *watch, "a/end").await;
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].revision, revision);
    assert_eq!(changes[0].events.len(), 1);
    assert_eq!(changes[0].events[0].key().as_str(), "a/1");
}

/// Thirty-two watches at once get the same.
pub async fn many_watches_see_the_same(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "begin", "x").await;
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let mut watch = watch(&*store, &Prefix::all(), begin).await;
        tasks.push(tokio::spawn(
            async move { changes_until(&mut *watch, "end").await },
        ));
    }
    for number in 0..50 {
        put(&*store, &format!("a/{number}"), "x").await;
    }
    put(&*store, "end", "x").await;
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap_or_else(|error| panic!("{error}")));
    }
    assert_eq!(seen[0].len(), 51);
    assert!(seen.iter().all(|changes| *changes == seen[0]));
}

/// A wait that is given up, however often, takes nothing with it.
pub async fn a_dropped_wait_loses_nothing(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "begin", "x").await;
    let mut watch = watch(&*store, &Prefix::all(), begin).await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..40 {
                put(&*store, &format!("a/{number}"), "x").await;
            }
        })
    };
    let mut revisions: Vec<Revision> = Vec::new();
    while revisions.len() < 40 {
        let wait = tokio::time::timeout(Duration::from_micros(300), watch.next(1));
        if let Ok(batch) = wait.await {
            let batch = batch.unwrap_or_else(|error| panic!("{error}"));
            revisions.extend(batch.changes.iter().map(|change| change.revision));
        }
    }
    if let Err(error) = writer.await {
        panic!("{error}");
    }
    assert!(revisions.is_sorted_by(|a, b| a < b));
}

/// What is no longer kept is told, with where to go on.
pub async fn a_watch_from_before_what_is_kept_is_told(harness: StoreHarness) {
    let store = harness.open().await;
    let begin = put(&*store, "a", "0").await;
    let Some(compact) = &harness.compact else {
        return told(&store, begin, put_until_compacted(&*store, begin).await).await;
    };
    for number in 1..5 {
        put(&*store, "a", &number.to_string()).await;
    }
    let upto = put(&*store, "a", "5").await;
    compact(Arc::clone(&store), upto).await;
    told(&store, begin, upto).await;
}

async fn told(store: &Arc<dyn Store>, begin: Revision, upto: Revision) {
    let error = match store.watch(&Prefix::all(), begin).await {
        Err(error) => error,
        Ok(mut watch) => match watch.next(1).await {
            Err(error) => error,
            Ok(batch) => panic!("what is no longer kept comes: {batch:?}"),
        },
    };
    let WatchError::Compacted { oldest } = error else {
        panic!("{error}");
    };
    assert!(oldest > begin && oldest <= upto, "{oldest}");
    // Whoever lists anew can go on.
    let (_, revision) = list(&**store, &Prefix::all()).await;
    let mut watch = watch(&**store, &Prefix::all(), revision).await;
    put(&**store, "end", "x").await;
    assert_eq!(changes_until(&mut *watch, "end").await.len(), 1);
}

/// Writes until the first change is no longer kept; how far that was.
async fn put_until_compacted(store: &dyn Store, begin: Revision) -> Revision {
    loop {
        // Many events a change, for stores whose every change is a sync.
        let mut txn = Txn::new();
        for number in 0..TXN_OPS_MAX {
            txn = txn.put(key(&format!("a/{number}")), Bytes::from("x"), None);
        }
        let upto = done(store, txn).await;
        if store.watch(&Prefix::all(), begin).await.is_err() {
            return upto;
        }
    }
}

/// A store that is behind what was seen of it says so, rather than wait until it has come there by other changes.
pub async fn a_watch_from_the_future_is_told(harness: StoreHarness) {
    let store = harness.open().await;
    let now = put(&*store, "a", "x").await;
    let future = Revision::new(now.number() + 1000);
    match store.watch(&Prefix::all(), future).await {
        Err(WatchError::Behind { revision }) => assert!(revision >= now && revision < future),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a watch of what has not happened yet"),
    }
}
