//! A node: it registers in etcd, and answers calls whose numbers it writes down.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Security, Trust, UnixTime};
use valkyrie_endpoint::{AccessPolicy, Endpoint, EndpointBuilder, Services};
use valkyrie_registry::agent::{Description, Service, Version};
use valkyrie_registry::etcd::{EtcdOptions, EtcdStore};
use valkyrie_registry::{Presence, Registrar, Store};
use valkyrie_transport_tcp::TcpTransport;

use crate::{CLUSTER, Result, TTL, pairs, word};

pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

/// An endpoint of this key. Whoever is met is believed: the network is this program's own.
pub(crate) fn endpoint(name: &str, seed: u8) -> Result<EndpointBuilder> {
    let identity = Identity::self_signed(name, now(), StaticKey::generate()?, key(seed)?)?;
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    Ok(Endpoint::builder()
        .transport(TcpTransport::default())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated()))
}

pub(crate) fn key(seed: u8) -> Result<SigningKey> {
    Ok(SigningKey::from_seeds(&[seed; 32], None)?)
}

/// A store of these servers, waited for.
pub(crate) async fn store(servers: &str) -> Result<Arc<dyn Store>> {
    let servers: Vec<&str> = servers.split(',').collect();
    loop {
        match EtcdStore::connect(EtcdOptions::new(servers.clone())).await {
            Ok(store) => return Ok(Arc::new(store)),
            // As a node does that comes up before its registry.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let given = pairs(arguments);
    let (name, seed) = (given["name"], given["seed"].parse()?);
    // Each run of the node writes to a file of its own; a line that was being written when it was killed is cut off.
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(given["log"])?;
    let log = Arc::new(Mutex::new(log));
    let services = Services::builder()
        .unary("orders", "put", move |_, payload| {
            let log = Arc::clone(&log);
            async move {
                let number = String::from_utf8_lossy(&payload).into_owned();
                let line = format!("{number}\n");
                let written = log
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .write_all(line.as_bytes());
                written.map_err(|error| {
                    valkyrie_endpoint::Failure::new(valkyrie_endpoint::ErrorCode::INTERNAL, error.to_string())
                })?;
                Ok(payload)
            }
        })
        .build()?;
    let endpoint = endpoint(name, seed)?.services(services).build()?;
    let place = endpoint.listen(given["listen"]).await?;
    let description = Description::new(word(name))
        .locator(place)
        .service(Service::new(word("orders"), Version::new(1, 0, 0)));
    let store = store(given["store"]).await?;
    let registrar = Registrar::new(store, word(CLUSTER), word("main"), Arc::new(key(seed)?))?;
    let _presence = Presence::keep(registrar, description, TTL, now);
    // Until it is killed.
    std::future::pending().await
}
