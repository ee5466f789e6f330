//! The conformance suite for stores, over an etcd of one member and over one of three. All behaviours run in one test each, because an
//! etcd takes a second to start.

#[path = "support/etcd.rs"]
mod etcd;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use etcd::Etcd;
use valkyrie_registry::conformance::{self, StoreHarness};
use valkyrie_registry::{EtcdStore, Store};

/// Each behaviour has a path of its own in the same etcd, and asks another member first.
async fn show(members: usize) {
    let Some(etcd) = Etcd::start(members).map(Arc::new) else {
        return;
    };
    let behaviours = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&etcd);
    let harness = StoreHarness::new(move || {
        let number = behaviours.fetch_add(1, Ordering::Relaxed);
        let path = format!("conformance/{number}").parse().unwrap();
        let options = opened.options_from(number % opened.len()).with_path(path);
        async move { Arc::new(EtcdStore::connect(options).await.unwrap()) as Arc<dyn Store> }
    });
    let harness = harness.with_compact(move |_, revision| {
        let etcd = Arc::clone(&etcd);
        async move { etcd.compact(0, revision).await }
    });
    conformance::all(harness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_of_one_member_shows_every_behaviour() {
    show(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_of_three_members_shows_every_behaviour() {
    show(3).await;
}
