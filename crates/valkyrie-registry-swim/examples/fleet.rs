//! Six nodes without a registry find each other over TCP. One is killed without a word and one leaves: who noticed, and after how long.
//! `cargo run -p valkyrie-registry-swim --example fleet`

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Security, Trust, UnixTime};
use valkyrie_endpoint::{AccessPolicy, Endpoint, Locator, Services};
use valkyrie_registry::agent::{AgentId, Description};
use valkyrie_registry_swim::{Node, SwimEvent, service};
use valkyrie_transport_tcp::TcpTransport;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const NAMES: [&str; 6] = ["ann", "bob", "cid", "dot", "eve", "fay"];

/// A member whose endpoint trusts whom it meets within this machine.
async fn node(name: &str, seed: Option<&Locator>) -> Result<(Endpoint, Node, Locator)> {
    let key = SigningKey::generate()?;
    // What the node says of itself is signed with the key that its endpoint proves to have.
    let again = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed))?;
    let now: UnixTime = SystemTime::now().into();
    let identity = Identity::self_signed(name, now, StaticKey::generate()?, again)?;
    let trust = Trust::default().with_first_use(FirstUse::Local);
    let (services, inbox) = service(Services::builder());
    let endpoint = Endpoint::builder()
        .transport(TcpTransport::default())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated())
        .services(services.build()?)
        .build()?;
    let place = endpoint.listen("tcp://127.0.0.1:0").await?;
    let description = Description::new(name.parse()?).locator(place.clone());
    let mut node = Node::builder("demo".parse()?, Arc::new(key), description);
    if let Some(seed) = seed {
        node = node.seed(seed.clone());
    }
    Ok((endpoint.clone(), node.join(endpoint, inbox)?, place))
}

#[tokio::main]
async fn main() -> Result<()> {
    let began = Instant::now();
    let mut nodes: Vec<(Endpoint, Node)> = Vec::new();
    let mut seed = None;
    for name in NAMES {
        let (endpoint, node, place) = node(name, seed.as_ref()).await?;
        seed.get_or_insert(place);
        nodes.push((endpoint, node));
    }
    for (_, node) in &nodes {
        node.wait_for(|sight| sight.members == NAMES.len()).await?;
    }
    show(&format!("all know each other after {:?}", began.elapsed()));

    let (endpoint, killed) = nodes.pop().ok_or("there are six")?;
    let who = killed.sight().life;
    // No farewell: the task ends, and the endpoint answers nobody.
    drop(killed);
    endpoint.drain(Duration::ZERO).await;
    notice(&nodes, &who.id, "fay was killed").await?;

    let (_endpoint, leaving) = nodes.pop().ok_or("there are five")?;
    let who = leaving.sight().life;
    let others = notice(&nodes, &who.id, "eve has left");
    let (left, noticed) = tokio::join!(leaving.leave(), others);
    left?;
    noticed
}

/// Waits until each of these has noticed that an agent is gone, and says when it did.
async fn notice(nodes: &[(Endpoint, Node)], who: &AgentId, what: &str) -> Result<()> {
    let since = Instant::now();
    let mut noticing = JoinSet::new();
    for ((_, node), name) in nodes.iter().zip(NAMES) {
        let (mut events, who) = (node.events(), who.clone());
        noticing.spawn(async move {
            loop {
                if let SwimEvent::Gone { life, why } = events.recv().await?
                    && life.id == who
                {
                    return Ok::<_, RecvError>((name, since.elapsed(), why));
                }
            }
        });
    }
    while let Some(noticed) = noticing.join_next().await {
        let (name, after, why) = noticed??;
        show(&format!("{what}: {name} has noticed after {after:?} ({why:?})"));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
