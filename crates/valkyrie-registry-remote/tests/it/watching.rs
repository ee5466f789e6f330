//! Watches: over broken links, beside slow ones, and as many as there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use valkyrie_endpoint::AccessPolicy;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::store::{Revision, Store, StoreError, Txn, WatchError};
use valkyrie_registry::{MemStore, Prefix};
use valkyrie_registry_remote::ServiceBounds;

use crate::support::{Stage, Staged, key, mem, names, put, within};

#[tokio::test]
async fn a_watch_goes_on_over_broken_links_without_a_gap_and_without_a_repeat() {
    let stage = Stage::new();
    let store = mem();
    let _registry = stage.serve(Arc::clone(&store)).await;
    let remote = stage.node("node").store().await;
    let begin = put(&*store, "begin").await;
    let mut watch = remote.watch(&Prefix::all(), begin).await.unwrap();
    let (mut seen, mut expected) = (Vec::new(), Vec::new());
    let mut breaks = 0;
    for round in 0..20 {
        for number in 0..10 {
            let name = format!("a/{round}/{number}");
            put(&*store, &name).await;
            expected.push(name);
        }
        // In the middle of what was just written, at another place each time.
        while seen.len() < round * 10 + round % 10 {
            seen.extend(names(&within(watch.next(3)).await.unwrap().changes));
        }
        // There may be no link at the moment, where what had arrived before was enough.
        breaks += stage.breaker.break_all();
    }
    assert!(breaks >= 5, "{breaks} links were broken");
    while seen.len() < expected.len() {
        seen.extend(names(&within(watch.next(64)).await.unwrap().changes));
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_leaves_a_registry_that_drains_and_goes_on_at_the_next() {
    let stage = Stage::new();
    let store = mem();
    let registry = stage.serve(Arc::clone(&store)).await;
    let remote = stage.node("node").store().await;
    let mut watch = remote.watch(&Prefix::all(), Revision::NONE).await.unwrap();
    let watching = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(names(&watch.next(8).await.unwrap().changes));
        }
        seen
    });
    put(&*store, "before").await;
    // The drain is not held up by a watch that would never end by itself.
    assert_eq!(within(registry.drain(Duration::from_secs(3600))).await, 0);
    drop(registry);
    put(&*store, "between").await;
    let _registry = stage.serve(store).await;
    assert_eq!(within(watching).await.unwrap(), ["before", "between"]);
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_is_told_so() {
    let stage = Stage::new();
    let kept = MemStore::new(Bounds::DEFAULT);
    let registry = stage.serve(Arc::new(kept.clone())).await;
    let remote = stage.node("node").store().await;
    let begin = put(&kept, "a").await;
    let mut watch = remote.watch(&Prefix::all(), begin).await.unwrap();
    put(&kept, "b").await;
    assert_eq!(names(&within(watch.next(8)).await.unwrap().changes), ["b"]);
    stage.breaker.break_all();
    within(registry.drain(Duration::ZERO)).await;
    drop(registry);
    let upto = put(&kept, "c").await;
    kept.compact(upto);
    let _registry = stage.serve(Arc::new(kept)).await;
    let ended = within(watch.next(8)).await.unwrap_err();
    assert_eq!(ended, WatchError::Compacted { oldest: upto });
}

#[tokio::test]
async fn a_registry_that_was_put_back_is_found_out() {
    let stage = Stage::new();
    let kept = mem();
    let registry = stage.serve(Arc::clone(&kept)).await;
    let remote = stage.node("node").store().await;
    put(&*kept, "a").await;
    let begin = put(&*kept, "a").await;
    let mut watch = remote.watch(&Prefix::all(), begin).await.unwrap();
    stage.breaker.break_all();
    within(registry.drain(Duration::ZERO)).await;
    drop(registry);
    let _registry = stage.serve(mem()).await;
    let ended = within(watch.next(8)).await.unwrap_err();
    assert_eq!(
        ended,
        WatchError::Behind {
            revision: Revision::NONE
        }
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_holds_little_and_stops_nobody() {
    let stage = Stage::new();
    let store = MemStore::new(Bounds {
        history_events_max: 100_000,
        ..Bounds::DEFAULT
    });
    let staged = Staged::over(Arc::new(store.clone()));
    let given = Arc::clone(&staged.given);
    let _registry = stage.serve(Arc::new(staged)).await;
    let (slow, quick) = (stage.node("slow"), stage.node("quick"));
    let mut idle = slow
        .store()
        .await
        .watch(&Prefix::all(), Revision::NONE)
        .await
        .unwrap();
    let mut watch = quick
        .store()
        .await
        .watch(&Prefix::all(), Revision::NONE)
        .await
        .unwrap();
    let mut last = Revision::NONE;
    let mut seen = 0;
    for _ in 0..3000 {
        let txn = Txn::new().put(key("a"), vec![0; 8192].into(), None);
        last = store.commit(txn).await.unwrap().revision;
        if last.number().is_multiple_of(50) {
            while seen < last.number() {
                let batch = within(watch.next(64)).await.unwrap();
                seen = batch.revision.number();
            }
        }
    }
    // 24 MiB were written. The idle watcher was given no more than its stream's windows and queues hold: the rest waits in the store's history,
    // which is there once.
    let held = given.load(Ordering::Relaxed) - 3000;
    assert!(
        held * 8192 < 6 * 1024 * 1024,
        "{held} changes are held for a watcher that does not read"
    );
    let mut count = 0;
    while count < last.number() {
        count += within(idle.next(64)).await.unwrap().changes.len() as u64;
    }
    assert_eq!(count, 3000, "and all of it is there when it reads");
}

#[tokio::test]
async fn a_watcher_that_is_slower_than_the_history_is_told() {
    let stage = Stage::new();
    let store = MemStore::new(Bounds {
        history_bytes_max: 64 * 1024,
        ..Bounds::DEFAULT
    });
    let _registry = stage.serve(Arc::new(store.clone())).await;
    let remote = stage.node("slow").store().await;
    let mut watch = remote.watch(&Prefix::all(), Revision::NONE).await.unwrap();
    for _ in 0..1000 {
        let txn = Txn::new().put(key("a"), vec![0; 8192].into(), None);
        store.commit(txn).await.unwrap();
    }
    let ended = loop {
        match within(watch.next(64)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, WatchError::Compacted { .. }), "{ended}");
}

#[tokio::test]
async fn there_are_so_many_watches_and_those_that_end_make_room() {
    let stage = Stage::new();
    let bounds = ServiceBounds {
        watches_per_connection_max: 2,
        watches_max: 3,
        ..ServiceBounds::DEFAULT
    };
    let store = mem();
    let _registry = stage
        .serve_with(Arc::clone(&store), bounds, AccessPolicy::allow_authenticated())
        .await;
    let (one, two) = (stage.node("one").store().await, stage.node("two").store().await);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(one.watch(&Prefix::all(), Revision::NONE).await.unwrap());
    }
    let full = |refused: Result<_, WatchError>| match refused {
        Err(WatchError::Store(StoreError::Unavailable(_))) => true,
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    };
    assert!(full(one.watch(&Prefix::all(), Revision::NONE).await.map(drop)));
    held.push(two.watch(&Prefix::all(), Revision::NONE).await.unwrap());
    assert!(full(two.watch(&Prefix::all(), Revision::NONE).await.map(drop)));
    drop(held.remove(0));
    // Its place is free as soon as the registry has noticed.
    within(async { while full(two.watch(&Prefix::all(), Revision::NONE).await.map(drop)) {} }).await;
    put(&*store, "a").await;
    for watch in &mut held {
        assert_eq!(names(&within(watch.next(8)).await.unwrap().changes), ["a"]);
    }
}
