//! What six clients of a store saw at once, checked by somebody else's checker: there is one order in which it could have happened.
//!
//! Histories are short and about one key each, because the checker's work grows without a bound that it knows of.

#[path = "support/linear.rs"]
mod linear;

use std::sync::Arc;

use linear::{Op, history, linearizable};
use todc_utils::Action;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{MemStore, Store};

async fn check(store: Arc<dyn Store>) {
    for seed in 0..HISTORIES {
        let key = format!("linear/{seed}").parse().unwrap();
        let actions = history(Arc::clone(&store), key, seed, TURNS).await;
        assert_eq!(actions.len(), 6 * TURNS * 2);
        assert!(linearizable(actions), "history {seed} has no order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_is_linearizable() {
    check(Arc::new(MemStore::new(Bounds::DEFAULT))).await;
}

#[cfg(feature = "embedded")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_is_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    let store = valkyrie_registry::EmbeddedStore::open(&path, Bounds::DEFAULT)
        .await
        .unwrap();
    check(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_checker_notices_a_stale_read() {
    let store = Arc::new(MemStore::new(Bounds::DEFAULT));
    let mut actions = history(store, "linear/x".parse().unwrap(), 1, 20).await;
    // A client reads, after all is over, what was there in the middle.
    let old = actions[..actions.len() / 2]
        .iter()
        .rev()
        .find_map(|(_, action)| match action {
            Action::Response(Op::Write { value, revision }) => Some(Op::Read {
                value: *value,
                modified: *revision,
            }),
            _ => None,
        });
    actions.push((999, Action::Call(old.unwrap())));
    actions.push((999, Action::Response(old.unwrap())));
    assert!(!linearizable(actions));
}

const TURNS: usize = 80;
const HISTORIES: u64 = 5;
