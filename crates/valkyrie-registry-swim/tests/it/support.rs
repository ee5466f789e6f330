//! Members over the memory transport, each with an identity.

use std::sync::Arc;
use std::time::SystemTime;

use valkyrie_endpoint::security::identity::{Identity, SigningKey};
use valkyrie_endpoint::security::provider::StaticKey;
use valkyrie_endpoint::security::trust::FirstUse;
use valkyrie_endpoint::security::{Live, Security, Trust, UnixTime};
use valkyrie_endpoint::{AccessPolicy, Endpoint, Locator, Services};
use valkyrie_registry::agent::{AgentId, Description, Service, Word};
use valkyrie_registry_swim::node::NodeBuilder;
use valkyrie_registry_swim::{Node, service};
use valkyrie_transport::mem::MemTransport;

pub(crate) fn word(text: &str) -> Word {
    text.parse().unwrap()
}

pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) node: Node,
    pub(crate) place: Locator,
    pub(crate) id: AgentId,
}

pub(crate) fn endpoint(mem: &MemTransport, name: &str, key: &SigningKey, services: Services) -> Endpoint {
    let again = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed)).unwrap();
    let identity = Identity::self_signed(name, now(), StaticKey::generate().unwrap(), again).unwrap();
    let trust = Trust::default().with_first_use(FirstUse::Local);
    Endpoint::builder()
        .transport(mem.clone())
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .on_first_use(|_| {})
        .policy(AccessPolicy::allow_authenticated())
        .services(services)
        .build()
        .unwrap()
}

/// A member that listens at `mem://NAME` and offers the service `orders`.
pub(crate) async fn member(
    mem: &MemTransport,
    name: &str,
    change: impl FnOnce(NodeBuilder) -> NodeBuilder,
) -> Member {
    let key = SigningKey::generate_classical().unwrap();
    let (services, inbox) = service(Services::builder());
    let endpoint = endpoint(mem, name, &key, services.build().unwrap());
    let place: Locator = endpoint.listen(&*format!("mem://{name}")).await.unwrap();
    let description = Description::new(word(name))
        .locator(place.clone())
        .service(Service::new(word("orders"), "1.0.0".parse().unwrap()));
    let id = AgentId::new(key.fingerprint(), word("main")).unwrap();
    let builder = change(Node::builder(word("test"), Arc::new(key), description));
    let node = builder.join(endpoint.clone(), inbox).unwrap();
    Member {
        endpoint,
        node,
        place,
        id,
    }
}

/// So many members, all of whom know each other.
pub(crate) async fn fleet(mem: &MemTransport, count: usize) -> Vec<Member> {
    let first = member(mem, "node-0", |node| node).await;
    let seed = first.place.clone();
    let mut members = vec![first];
    for number in 1..count {
        let seed = seed.clone();
        members.push(member(mem, &format!("node-{number}"), |node| node.seed(seed)).await);
    }
    for member in &members {
        member
            .node
            .wait_for(|sight| sight.members == count)
            .await
            .unwrap();
    }
    members
}
