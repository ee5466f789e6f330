//! Eight nodes that have no registry, and a router at one of them. One of the others crashes while it is called: calls arrive all the same, and
//! within two seconds the router has nobody there any more.
//!
//! `cargo run -p example-fleet-routed`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Security, Trust};
use valkyrie_endpoint::{AccessPolicy, Endpoint, Locator, Services};
use valkyrie_registry::agent::{Description, Service};
use valkyrie_registry_swim::{Node, service};
use valkyrie_router::{Route, StreamRouter, Target};
use valkyrie_transport::mem::MemTransport;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NODES: usize = 8;

/// A member that offers the service `greeter`, and trusts whom it meets within this machine.
async fn member(mem: &MemTransport, number: usize) -> Result<(Endpoint, Node)> {
    let name = format!("node-{number}");
    let key = SigningKey::generate()?;
    // What the node says of itself is signed with the key that its endpoint proves to have.
    let again = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed))?;
    let identity = Identity::self_signed(&name, SystemTime::now().into(), StaticKey::generate()?, again)?;
    let trust = Trust::default().with_first_use(FirstUse::Local);
    let (services, inbox) = service(Services::builder());
    let answer = name.clone();
    let services = services.unary("greeter", "greet", move |_, _| {
        std::future::ready(Ok(answer.clone().into()))
    });
    let endpoint = Endpoint::builder()
        .transport(mem.clone())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated())
        .services(services.build()?)
        .build()?;
    let place = endpoint.listen(&*format!("mem://{name}")).await?;
    let description = Description::new(name.parse()?)
        .locator(place)
        .service(Service::new("greeter".parse()?, "1.0.0".parse()?));
    let mut node = Node::builder("demo".parse()?, Arc::new(key), description);
    if number > 0 {
        node = node.seed("mem://node-0".parse::<Locator>()?);
    }
    Ok((endpoint.clone(), node.join(endpoint, inbox)?))
}

/// Calls until the route has so many peers, and a few times more. Who answered how many.
async fn call(greeter: &Route, peers: usize) -> Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    let mut further = 400;
    while further > 0 {
        further -= u32::from(greeter.peers() == peers);
        let answer = greeter.call(("greeter", "greet"), "").idempotent().await?;
        let name = String::from_utf8(answer.to_vec())?;
        *answers.entry(name).or_insert(0) += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(answers)
}

/// What happens. It gives who answered before the crash, and after all have noticed it.
async fn story() -> Result<[BTreeMap<String, u32>; 2]> {
    let mem = MemTransport::new();
    let mut members = Vec::new();
    for number in 0..NODES {
        members.push(member(&mem, number).await?);
    }
    for (_, node) in &members {
        node.wait_for(|sight| sight.members == NODES).await?;
    }
    let (endpoint, node) = &members[0];
    let router = StreamRouter::builder(endpoint.clone())
        .view(Arc::new(node.view()))
        .build();
    let greeter = router.route(Target::service("greeter".parse()?))?;
    let before = call(&greeter, NODES).await?;

    let (endpoint, crashed) = members.remove(3);
    drop(crashed);
    endpoint.drain(Duration::ZERO).await;
    // Every call is answered meanwhile, or the story ends here.
    call(&greeter, NODES - 1).await?;
    let after = call(&greeter, NODES - 1).await?;
    Ok([before, after])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    for (when, answers) in ["before the crash", "after it was noticed"]
        .into_iter()
        .zip(story().await?)
    {
        for (name, count) in answers {
            show(&format!("{when}: {name} answered {count}"));
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_call_fails_and_who_crashed_is_chosen_no_more() {
        let [before, after] = story().await.unwrap();
        assert!(before.contains_key("node-3"), "{before:?}");
        assert!(after.len() >= 2 && !after.contains_key("node-3"), "{after:?}");
    }
}
