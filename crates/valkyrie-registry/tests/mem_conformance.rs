//! The conformance suite for stores, over memory.

use std::sync::Arc;

use valkyrie_registry::conformance::StoreHarness;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{MemStore, Store, store_conformance_tests};

fn harness() -> StoreHarness {
    let bounds = Bounds {
        history_events_max: 2000,
        ..Bounds::DEFAULT
    };
    StoreHarness::new(move || async move { Arc::new(MemStore::new(bounds)) as Arc<dyn Store> })
}

store_conformance_tests!(harness());
