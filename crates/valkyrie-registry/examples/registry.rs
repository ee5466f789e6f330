//! A registry within one process: two agents register, a reader asks who offers a service, one of them leaves.
//!
//! `cargo run -p valkyrie-registry --example registry`

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie_registry::agent::{Description, Service};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::query::Query;
use valkyrie_registry::{MemStore, Registrar, Store, View};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = || UnixTime::from(SystemTime::now());
    let store: Arc<dyn Store> = Arc::new(MemStore::new(Bounds::DEFAULT));
    let view = View::follow(Arc::clone(&store), Directory::new("demo".parse()?), now);

    let mut registered = Vec::new();
    for (name, port, tier) in [("web-1", 7001, "gold"), ("web-2", 7002, "silver")] {
        let key = Arc::new(SigningKey::generate()?);
        let registrar = Registrar::new(Arc::clone(&store), "demo".parse()?, "main".parse()?, key)?;
        let description = Description::new(name.parse()?)
            .locator(format!("tcp://127.0.0.1:{port}").parse()?)
            .service(Service::new("orders".parse()?, "1.4.0".parse()?).label("tier".parse()?, tier.parse()?));
        let registration = registrar
            .register(now(), &description, Duration::from_secs(30))
            .await?;
        registered.push((registrar, registration));
    }

    // The view is told of changes; it has come as far as the last registration before it is asked.
    let last = registered[1].1.modified();
    let snapshot = view.wait_for(|progress| progress.revision >= last).await?;
    let query = Query::service("orders".parse()?)
        .with_version(">=1.2, <2".parse()?)
        .with_labels("tier in (gold, platinum)".parse()?);
    for found in snapshot.find(&query) {
        let description = found.member.description();
        assert_eq!(description.name.as_str(), "web-1");
        show(&format!("{} at {:?}", description.name, description.locators));
    }

    let (registrar, registration) = registered.remove(0);
    registrar.deregister(registration).await?;
    let snapshot = view.wait_for(|progress| progress.revision > last).await?;
    assert_eq!(snapshot.find(&query).count(), 0);
    show(&format!("{} agent is left", snapshot.len()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
