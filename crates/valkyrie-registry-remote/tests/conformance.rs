//! The conformance suite for stores, over stores that are served: one in memory over the memory link, one in a file over a Unix socket.
//!
//! The suite writes wherever it likes, so it is an operator.

use std::path::Path;
use std::sync::{Arc, Mutex};

use valkyrie_endpoint::{AccessPolicy, Endpoint, EndpointBuilder, Expect, Services};
use valkyrie_registry::conformance::StoreHarness;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{EmbeddedStore, MemStore, Store};
use valkyrie_registry_remote::{RemoteConfig, RemoteStore, ServiceBounds, service};

/// Served at a place, and the store that a client has of it. `registries` keeps what serves it alive.
async fn served(
    store: Arc<dyn Store>,
    builder: impl Fn() -> EndpointBuilder,
    place: &str,
    registries: &Mutex<Vec<Endpoint>>,
) -> Arc<dyn Store> {
    let services = service(Services::builder(), store, ServiceBounds::DEFAULT);
    let registry = builder()
        .services(services.build().unwrap())
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap();
    let place = registry.listen(place).await.unwrap();
    registries.lock().unwrap().push(registry);
    let client = builder().build().unwrap();
    let remote = RemoteStore::dial(&client, &place, Expect::Anybody, RemoteConfig::default());
    Arc::new(remote.await.unwrap().as_operator())
}

fn bounds(history_events_max: usize) -> Bounds {
    Bounds {
        history_events_max,
        ..Bounds::DEFAULT
    }
}

mod in_memory {
    use super::*;
    use valkyrie_transport::mem::MemTransport;

    fn harness() -> StoreHarness {
        let registries = Arc::new(Mutex::new(Vec::new()));
        StoreHarness::new(move || {
            let registries = Arc::clone(&registries);
            async move {
                let transport = MemTransport::new();
                let store = Arc::new(MemStore::new(bounds(2000)));
                let builder = || Endpoint::builder().transport(transport.clone());
                served(store, builder, "mem://registry", &registries).await
            }
        })
    }

    valkyrie_registry::store_conformance_tests!(harness());
}

mod in_a_file {
    use super::*;
    use valkyrie_transport_uds::UdsTransport;

    fn harness() -> StoreHarness {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let registries = Arc::new(Mutex::new(Vec::new()));
        StoreHarness::new(move || {
            let (folder, registries) = (Arc::clone(&folder), Arc::clone(&registries));
            async move {
                let path: &Path = folder.path();
                let store = EmbeddedStore::open(&path.join("registry.redb"), bounds(500))
                    .await
                    .unwrap();
                let builder = || Endpoint::builder().transport(UdsTransport::new());
                let place = format!("uds://{}/registry.sock", path.display());
                served(Arc::new(store), builder, &place, &registries).await
            }
        })
    }

    valkyrie_registry::store_conformance_tests!(harness());
}
