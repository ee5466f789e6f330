//! The conformance suite for stores, over a file.

use std::sync::Arc;

use tempfile::TempDir;
use valkyrie_registry::conformance::StoreHarness;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{EmbeddedStore, Store, store_conformance_tests};

fn harness() -> StoreHarness {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let bounds = Bounds {
        history_events_max: 500,
        ..Bounds::DEFAULT
    };
    StoreHarness::new(move || open(Arc::clone(&folder), bounds))
}

async fn open(folder: Arc<TempDir>, bounds: Bounds) -> Arc<dyn Store> {
    let path = folder.path().join("registry.redb");
    Arc::new(EmbeddedStore::open(&path, bounds).await.unwrap())
}

store_conformance_tests!(harness());
