//! A registry that one node serves and others use: an agent registers with the identity that it also shows to those who dial it, a reader
//! follows, and somebody tries to remove the agent who may not.
//!
//! `cargo run -p example-registry-served`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie_endpoint::{Endpoint, Expect, Security, Services};
use valkyrie_registry::agent::{AgentId, Description, Service};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::query::Query;
use valkyrie_registry::registrar::remove;
use valkyrie_registry::store::StoreError;
use valkyrie_registry::{MemStore, Registrar, Store, View};
use valkyrie_registry_remote::{RemoteConfig, RemoteStore, ServiceBounds, default_policy, service};
use valkyrie_security::identity::SigningKey;
use valkyrie_security::trust::FirstUse;
use valkyrie_security::{Identity, Live, Trust, UnixTime};
use valkyrie_transport::mem::MemTransport;

fn now() -> UnixTime {
    SystemTime::now().into()
}

/// An endpoint with an identity of its own, and the key that this identity signs with.
fn node(
    name: &str,
    transport: &MemTransport,
    services: Services,
) -> Result<(SigningKey, Endpoint), Box<dyn Error>> {
    let identity = Identity::generate(name, now())?;
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let key = identity.signing_key().ok_or("a node signs")?;
    let key = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed))?;
    let security = Security::new(Live::new(identity), Live::new(trust));
    let endpoint = Endpoint::builder()
        .transport(transport.clone())
        .services(services)
        .security(security)
        .policy(default_policy(key.fingerprint())?)
        .build()?;
    Ok((key, endpoint))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let transport = MemTransport::new();
    let store: Arc<dyn Store> = Arc::new(MemStore::new(Bounds::DEFAULT));
    let services = service(Services::builder(), store, ServiceBounds::DEFAULT).build()?;
    let (_, registry) = node("registry", &transport, services)?;
    let place = registry.listen("mem://registry").await?;

    // An agent, at a node of its own.
    let (key, agent) = node("web-1", &transport, Services::default())?;
    let store: Arc<dyn Store> =
        Arc::new(RemoteStore::dial(&agent, &place, Expect::Anybody, RemoteConfig::default()).await?);
    let registrar = Registrar::new(store, "demo".parse()?, "main".parse()?, Arc::new(key))?;
    let description = Description::new("web-1".parse()?)
        .locator("tcp://127.0.0.1:7001".parse()?)
        .service(Service::new("orders".parse()?, "1.4.0".parse()?));
    let registration = registrar
        .register(now(), &description, Duration::from_secs(30))
        .await?;

    // A reader, at another.
    let (_, reader) = node("reader", &transport, Services::default())?;
    let store: Arc<dyn Store> =
        Arc::new(RemoteStore::dial(&reader, &place, Expect::Anybody, RemoteConfig::default()).await?);
    let view = View::follow(Arc::clone(&store), Directory::new("demo".parse()?), now);
    let snapshot = view
        .wait_for(|progress| progress.revision >= registration.modified())
        .await?;
    for found in snapshot.find(&Query::service("orders".parse()?)) {
        show(&format!(
            "{} is at {:?}",
            found.member.description().name,
            found.member.description().locators
        ));
    }

    // Reading is for everybody, and writing for the agent itself.
    let id: AgentId = registrar.id().clone();
    let member = snapshot.get(&id).ok_or("the agent is there")?;
    match remove(&*store, member).await {
        Err(StoreError::Denied(why)) => show(&format!("refused: {why}")),
        other => return Err(format!("{other:?}").into()),
    }
    registrar.deregister(registration).await?;
    let snapshot = view
        .wait_for(|progress| progress.revision > snapshot.revision())
        .await?;
    show(&format!("{} agents are left", snapshot.len()));
    assert!(snapshot.is_empty());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
