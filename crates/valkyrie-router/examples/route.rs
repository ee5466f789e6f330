//! Three nodes in a registry, one of which goes away while it is called: a router's calls arrive all the same.
//! `cargo run -p valkyrie-router --example route`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Security, Trust, UnixTime};
use valkyrie_endpoint::{AccessPolicy, Endpoint, EndpointBuilder, Services};
use valkyrie_registry::agent::{Description, Service};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::{MemStore, Registrar, Store, View};
use valkyrie_router::{Routing, StreamRouter, Target};
use valkyrie_transport::mem::MemTransport;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn now() -> UnixTime {
    SystemTime::now().into()
}

/// Somebody of this identity, who trusts whom it meets within this machine.
fn endpoint(mem: &MemTransport, name: &str, key: SigningKey) -> Result<EndpointBuilder> {
    let identity = Identity::self_signed(name, now(), StaticKey::generate()?, key)?;
    let trust = Trust::default().with_first_use(FirstUse::Local);
    Ok(Endpoint::builder()
        .transport(mem.clone())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let mem = MemTransport::new();
    let store: Arc<dyn Store> = Arc::new(MemStore::new(Bounds::DEFAULT));

    let mut nodes = Vec::new();
    for name in ["ann", "bob", "cid"] {
        let key = SigningKey::generate()?;
        // The record in the registry is signed with the key that the node proves when it is dialled.
        let again = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed))?;
        let services = Services::builder()
            .unary("greeter", "greet", move |_, _| async move { Ok(name.into()) })
            .build()?;
        let endpoint = endpoint(&mem, name, again)?.services(services).build()?;
        let place = endpoint.listen(&*format!("mem://{name}")).await?;
        let registrar = Registrar::new(
            Arc::clone(&store),
            "demo".parse()?,
            "main".parse()?,
            Arc::new(key),
        )?;
        let description = Description::new(name.parse()?)
            .locator(place)
            .service(Service::new("greeter".parse()?, "1.0.0".parse()?));
        registrar
            .register(now(), &description, Duration::from_secs(30))
            .await?;
        nodes.push(endpoint);
    }

    let view = Arc::new(View::follow(store, Directory::new("demo".parse()?), now));
    view.wait_for(|progress| progress.listed).await?;
    let dialler = endpoint(&mem, "router", SigningKey::generate()?)?.build()?;
    let router = StreamRouter::builder(dialler)
        .view(view)
        .routing(Routing::default())
        .build();
    let greeter = router.route(Target::service("greeter".parse()?))?;

    let mut answers = BTreeMap::new();
    for call in 0..3000 {
        if call == 1000 {
            // Its registration stays for up to thirty seconds; nobody has to wait for that.
            nodes[0].drain(Duration::ZERO).await;
        }
        let answer = greeter.call(("greeter", "greet"), "").idempotent().await?;
        *answers.entry(answer).or_insert(0) += 1;
    }
    for (name, count) in &answers {
        show(&format!("{} answered {count}", String::from_utf8_lossy(name)));
    }
    show(&format!("{:?}", greeter.stats()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
