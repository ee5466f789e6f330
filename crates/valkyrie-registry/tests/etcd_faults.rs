//! A store over three members of an etcd, of which one is frozen, killed, or left behind.

#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/linear.rs"]
mod linear;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd::{Etcd, key, put};
use linear::{history, linearizable};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use valkyrie_registry::etcd::{READ_TIME_MAX, WRITE_TIME_MAX};
use valkyrie_registry::store::{Cause, Change, Event, KeepAlive, Outcome, Revision, Watch, WatchError};
use valkyrie_registry::store::{StoreError, Txn, list_all};
use valkyrie_registry::{EtcdStore, Prefix, Store};

/// A write that was acknowledged.
struct Written {
    name: String,
    revision: Revision,
    at: Instant,
}

/// Writes at one place after another until told to stop. What is not acknowledged is left.
fn write(
    store: EtcdStore,
    writer: usize,
    stop: watch::Receiver<bool>,
    acknowledged: mpsc::UnboundedSender<Written>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for number in 0.. {
            if *stop.borrow() {
                return;
            }
            let name = format!("written/{writer}/{number}");
            let txn = Txn::new().put(key(&name), name.clone().into(), None);
            match store.commit(txn).await {
                Ok(answer) => {
                    let written = Written {
                        name,
                        revision: answer.revision,
                        at: Instant::now(),
                    };
                    if acknowledged.send(written).is_err() {
                        return;
                    }
                }
                Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    tasks
}

/// Eight writers, of which each has a write under way at any time.
struct Writers {
    tasks: Vec<JoinSet<()>>,
    stop: watch::Sender<bool>,
    acknowledged: mpsc::UnboundedReceiver<Written>,
}

impl Writers {
    fn start(store: &EtcdStore) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (acknowledge, acknowledged) = mpsc::unbounded_channel();
        let start = |writer| write(store.clone(), writer, stopped.clone(), acknowledge.clone());
        Self {
            tasks: (0..8).map(start).collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until so many more writes were acknowledged.
    async fn acknowledged(&mut self, count: usize, into: &mut Vec<Written>) {
        for _ in 0..count {
            into.push(self.acknowledged.recv().await.unwrap());
        }
    }

    async fn stop(mut self, into: &mut Vec<Written>) {
        self.stop.send_replace(true);
        for mut task in self.tasks {
            while let Some(ended) = task.join_next().await {
                ended.unwrap();
            }
        }
        while let Ok(written) = self.acknowledged.try_recv() {
            into.push(written);
        }
    }
}

/// Everything that was acknowledged is there, as it was acknowledged.
async fn all_there(store: &EtcdStore, written: &[Written]) {
    let entries = list_all(store, &Prefix::all(), usize::MAX).await.unwrap().value;
    for write in written {
        let entry = entries.iter().find(|entry| entry.key.as_str() == write.name);
        let entry = entry.unwrap_or_else(|| panic!("{} is lost", write.name));
        assert_eq!(entry.modified, write.revision);
    }
}

/// The longest time without an acknowledgement.
fn pause(written: &[Written]) -> Duration {
    let mut times: Vec<_> = written.iter().map(|written| written.at).collect();
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_the_leader_is_frozen_and_none_is_lost() {
    let Some(etcd) = Etcd::start(3) else { return };
    let leader = etcd.leader_by(0).await;
    // The worst case: the leader is who is asked.
    let store = etcd.store_from(leader).await;
    let mut writers = Writers::start(&store);
    let mut written = Vec::new();
    writers.acknowledged(100, &mut written).await;
    etcd.freeze(leader);
    // What was on its way, and what came after.
    writers.acknowledged(300, &mut written).await;
    etcd.thaw(leader);
    writers.acknowledged(100, &mut written).await;
    writers.stop(&mut written).await;
    say(&format!(
        "the longest pause of {} writes was {:?}",
        written.len(),
        pause(&written)
    ));
    all_there(&store, &written).await;
    // The one that slept through it says the same.
    all_there(&etcd.store_at(leader).await, &written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_killed_comes_back_and_none_is_lost() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let asked = etcd.leader_by(0).await;
    let store = etcd.store_from(asked).await;
    let mut writers = Writers::start(&store);
    let mut written = Vec::new();
    writers.acknowledged(100, &mut written).await;
    etcd.kill(asked);
    writers.acknowledged(300, &mut written).await;
    etcd.restart(asked);
    writers.acknowledged(100, &mut written).await;
    writers.stop(&mut written).await;
    say(&format!(
        "the longest pause of {} writes was {:?}",
        written.len(),
        pause(&written)
    ));
    all_there(&etcd.store_at(asked).await, &written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_neither_reads_nor_writes_and_says_so_in_time() {
    let Some(etcd) = Etcd::start(3) else { return };
    let store = etcd.store_at(0).await;
    put(&store, "a", "before").await;
    etcd.freeze(1);
    etcd.freeze(2);
    let began = Instant::now();
    let read = store.get(&key("a")).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let txn = Txn::new().put(key("b"), "after".into(), None);
    let write = store.commit(txn).await;
    assert!(
        matches!(write, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))),
        "{write:?}"
    );
    let slack = Duration::from_secs(2);
    assert!(began.elapsed() < READ_TIME_MAX + WRITE_TIME_MAX + slack);
    assert!(matches!(
        store
            .keep_alive(&[valkyrie_registry::store::LeaseId::new(1)])
            .await,
        Err(StoreError::Unavailable(_))
    ));
    etcd.thaw(1);
    etcd.thaw(2);
    // As soon as there is a majority again it does both.
    loop {
        match store.get(&key("a")).await {
            Ok(answer) => break assert_eq!(answer.value.unwrap().value, "before"),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    put(&store, "b", "later").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_not_there_are_said_to_be_unreachable() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let store = etcd.store_at(0).await;
    put(&store, "a", "x").await;
    etcd.kill(0);
    // Nothing listens there, so that nothing was done is certain.
    loop {
        let txn = Txn::new().put(key("a"), "y".into(), None);
        match store.commit(txn).await {
            Err(StoreError::Unavailable(_)) => break,
            // The connection was there when it was sent.
            Err(StoreError::Unknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        store.get(&key("a")).await,
        Err(StoreError::Unavailable(_))
    ));
    etcd.restart(0);
    assert_eq!(store.get(&key("a")).await.unwrap().value.unwrap().value, "x");
}

/// What a watch says until it puts a key. A write that nobody knows about may be done still when a member is let go on, so there may
/// be more.
async fn until(watch: &mut dyn Watch, last: &str) -> Vec<Arc<Change>> {
    let mut changes = Vec::new();
    loop {
        for change in watch.next(16).await.unwrap().changes {
            let puts = |event: &Event| matches!(event, Event::Put(entry) if entry.key.as_str() == last);
            let over = change.events.iter().any(puts);
            changes.push(change);
            if over {
                return changes;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_every_change_once_and_in_order_while_its_leader_is_frozen() {
    let Some(etcd) = Etcd::start(3) else { return };
    let leader = etcd.leader_by(0).await;
    let begin = put(&etcd.store_at(0).await, "begin", "x").await;
    // Its stream is at the leader, and only what it watches itself can tell that the leader is gone.
    let mut watched = etcd
        .store_from(leader)
        .await
        .watch(&Prefix::all(), begin)
        .await
        .unwrap();
    let seen = tokio::spawn(async move { until(&mut *watched, "end").await });
    let store = etcd.store_from((leader + 1) % 3).await;
    let mut writers = Writers::start(&store);
    let mut written = Vec::new();
    writers.acknowledged(100, &mut written).await;
    etcd.freeze(leader);
    writers.acknowledged(200, &mut written).await;
    writers.stop(&mut written).await;
    put(&store, "end", "x").await;
    let frozen = Instant::now();
    let seen = seen.await.unwrap();
    say(&format!(
        "the watch had caught up {:?} after the last write",
        frozen.elapsed()
    ));
    etcd.thaw(leader);
    // One that began afterwards, and was never disturbed, saw the same.
    let mut whole = store.watch(&Prefix::all(), begin).await.unwrap();
    assert_eq!(seen, until(&mut *whole, "end").await);
    assert!(seen.is_sorted_by(|a, b| a.revision < b.revision));
    let revisions: Vec<_> = seen.iter().map(|change| change.revision).collect();
    assert!(
        written
            .iter()
            .all(|written| revisions.contains(&written.revision))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_was_away_while_its_place_was_compacted_is_told() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let leader = etcd.leader_by(0).await;
    let (away, there) = ((leader + 1) % 3, leader);
    let store = etcd.store_from(there).await;
    let begin = put(&store, "a", "0").await;
    let mut watch = etcd
        .store_at(away)
        .await
        .watch(&Prefix::all(), begin)
        .await
        .unwrap();
    put(&store, "a", "1").await;
    assert_eq!(watch.next(1).await.unwrap().changes.len(), 1);
    etcd.kill(away);
    put(&store, "a", "2").await;
    let upto = put(&store, "a", "3").await;
    etcd.compact(there, upto).await;
    etcd.restart(away);
    loop {
        match watch.next(1).await {
            Err(WatchError::Compacted { oldest }) => break assert_eq!(oldest, upto),
            // It is not there yet.
            Err(WatchError::Store(StoreError::Unavailable(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_compacted_away_is_not_passed_over() {
    let Some(etcd) = Etcd::start(1) else { return };
    let store = etcd.store_at(0).await;
    let put_at = put(&store, "a", "x").await;
    let deleted = store.commit(Txn::new().delete(key("a"))).await.unwrap();
    assert_eq!(
        (deleted.value, deleted.revision),
        (Outcome::Committed, put_at.next())
    );
    etcd.compact(0, deleted.revision).await;
    put(&store, "b", "x").await;
    // The deletion is the very next change, and this etcd has forgotten that it was one.
    let mut watch = store.watch(&Prefix::all(), put_at).await.unwrap();
    let told = watch.next(1).await;
    let compacted = WatchError::Compacted {
        oldest: deleted.revision,
    };
    assert_eq!(told, Err(compacted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_renewed_outlives_its_leader() {
    let Some(etcd) = Etcd::start(3) else { return };
    let leader = etcd.leader_by(0).await;
    let store = etcd.store_from(leader).await;
    let lease = store.grant(Duration::from_secs(5)).await.unwrap().value;
    let txn = Txn::new().put(key("held"), "x".into(), Some(lease.id));
    let created = store.commit(txn).await.unwrap().revision;
    etcd.freeze(leader);
    let frozen = Instant::now();
    let mut ticks = tokio::time::interval(lease.ttl / 5);
    // Another than the one that granted it renews it too, and has to be told of its time.
    let other = etcd.store_from((leader + 1) % 3).await;
    while frozen.elapsed() < lease.ttl * 2 {
        ticks.tick().await;
        for store in [&store, &other] {
            let renewed = store.keep_alive(&[lease.id]).await;
            assert_eq!(renewed, Ok(vec![KeepAlive::Alive(lease.ttl)]));
        }
    }
    let held = store.get(&key("held")).await.unwrap().value.unwrap();
    assert_eq!(held.created, created);
    let mut watch = store.watch(&Prefix::all(), created).await.unwrap();
    let last = watch.next(1).await.unwrap().changes.remove(0);
    assert_eq!(last.events.len(), 1);
    assert!(matches!(
        &last.events[0],
        Event::Deleted {
            cause: Cause::LeaseEnded,
            ..
        }
    ));
    assert_eq!(store.keep_alive(&[lease.id]).await, Ok(vec![KeepAlive::Gone]));
    etcd.thaw(leader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_are_linearizable_while_leaders_are_frozen() {
    let Some(etcd) = Etcd::start(3) else { return };
    let store = Arc::new(etcd.store_from(0).await);
    for seed in 0..3 {
        let key = key(&format!("linear/{seed}"));
        let asked = (etcd.leader_by(0).await + usize::from(seed == 1)) % 3;
        let store_of_this = Arc::new(etcd.store_from(asked).await);
        let begin = put(&*store, "begin", "x").await;
        let under_way = tokio::spawn(history(store_of_this, key, seed, TURNS));
        // In the middle of it.
        let mut watch = store.watch(&Prefix::all(), begin).await.unwrap();
        let mut changes = 0;
        while changes < TURNS {
            changes += watch.next(16).await.unwrap().changes.len();
        }
        let leader = etcd.leader_by(0).await;
        etcd.freeze(leader);
        let actions = under_way.await.unwrap();
        etcd.thaw(leader);
        say(&format!(
            "history {seed}: {} of {} calls were answered or may have been done",
            actions.len() / 2,
            6 * TURNS
        ));
        assert!(linearizable(actions), "history {seed} has no order");
    }
}

const TURNS: usize = 80;
