//! What an agent gives, renews and takes away.

use valkyrie_security::handshake::HandshakeError;
use valkyrie_security::spiffe::TrustBundle;
use valkyrie_security::{Live, Trust, TrustError};

use crate::agent::{Agent, Authority, Given};
use crate::meeting::meet;
use crate::{Node, RUNNER, STORE, connect};

#[tokio::test]
async fn two_workloads_of_one_trust_domain_meet() {
    let authority = Authority::new();
    let runner = Node::of(&Agent::start(Given::new(&authority, RUNNER))).await;
    let store = Node::of(&Agent::start(Given::new(&authority, STORE))).await;
    let state = runner.workload.state();
    assert_eq!(
        (state.updates, state.spiffe_id.as_str(), state.trust_domains),
        (1, RUNNER, vec!["example.org".to_owned()])
    );
    assert!(state.not_after.to_string().starts_with("2040-12-31"));
    let (accepted, dialled) = meet(runner.security(), store.security()).unwrap();
    assert_eq!(accepted.spiffe_id(), Some(RUNNER));
    assert_eq!(dialled.spiffe_id(), Some(STORE));
}

#[tokio::test]
async fn workloads_of_two_authorities_do_not_meet() {
    let runner = Node::of(&Agent::start(Given::new(&Authority::new(), RUNNER))).await;
    let store = Node::of(&Agent::start(Given::new(&Authority::new(), STORE))).await;
    let error = store.meets(&runner).unwrap_err();
    assert!(
        matches!(error, HandshakeError::Trust(TrustError::Svid(_))),
        "{error}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_under_the_same_key() {
    let authority = Authority::new();
    let agent = Agent::start(Given::until(&authority, RUNNER, 2041));
    let runner = Node::of(&agent).await;
    let store = Node::of(&Agent::start(Given::new(&authority, STORE))).await;
    // Made once, as an endpoint makes it: what it shows follows the agent.
    let security = runner.security();
    let (first, _) = meet(security.clone(), store.security()).unwrap();
    let version = runner.workload.identity().version();

    agent.give(Given::until(&authority, RUNNER, 2042));
    let state = runner.until(|state| state.updates == 2).await;
    assert!(state.not_after.to_string().starts_with("2042"), "{state:?}");
    assert!(runner.workload.identity().version() > version);
    let (second, _) = meet(security, store.security()).unwrap();
    assert!(second.not_after() > first.not_after());
    assert_eq!(second.static_key(), first.static_key());
}

#[tokio::test]
async fn federated_trust_domains_come_and_go() {
    let (home, abroad) = (Authority::new(), Authority::new());
    let agent = Agent::start(Given::new(&home, RUNNER));
    let runner = Node::of(&agent).await;
    let there = Given::new(&abroad, "spiffe://abroad.example/store").federated("example.org", &home);
    let stranger = Node::of(&Agent::start(there)).await;
    assert!(runner.meets(&stranger).is_err());

    agent.give(Given::new(&home, RUNNER).federated("abroad.example", &abroad));
    let state = runner.until(|state| state.updates == 2).await;
    assert_eq!(state.trust_domains, ["abroad.example", "example.org"]);
    let verified = runner.meets(&stranger).unwrap();
    assert_eq!(verified.spiffe_id(), Some("spiffe://abroad.example/store"));

    agent.give(Given::new(&home, RUNNER));
    let state = runner.until(|state| state.updates == 3).await;
    assert_eq!(state.trust_domains, ["example.org"]);
    assert!(runner.meets(&stranger).is_err());
    // Who was met before is not believed any more either.
    assert!(
        runner
            .trust
            .load()
            .recheck(std::time::SystemTime::now().into(), &verified)
            .is_err()
    );
}

#[tokio::test]
async fn a_new_authority_of_the_trust_domain_replaces_the_old_one() {
    let (old, new) = (Authority::new(), Authority::new());
    let agent = Agent::start(Given::new(&old, RUNNER));
    let runner = Node::of(&agent).await;
    let both = |authority: &Authority, id| {
        let bundle = [old.der(), new.der()].concat();
        Given::new(authority, id).with_bundle(bundle.into())
    };
    let late = Node::of(&Agent::start(both(&old, STORE))).await;
    let early = Node::of(&Agent::start(both(&new, STORE))).await;
    assert!(runner.meets(&late).is_ok() && runner.meets(&early).is_err());

    agent.give(both(&new, RUNNER));
    runner.until(|state| state.updates == 2).await;
    assert!(runner.meets(&late).is_ok() && runner.meets(&early).is_ok());

    agent.give(Given::new(&new, RUNNER));
    runner.until(|state| state.updates == 3).await;
    assert!(runner.meets(&late).is_err() && runner.meets(&early).is_ok());
}

#[tokio::test]
async fn trust_that_came_from_elsewhere_stays() {
    let (home, abroad) = (Authority::new(), Authority::new());
    let mut elsewhere = Trust::default();
    let bundle = TrustBundle::new("abroad.example", &[abroad.der()]).unwrap();
    elsewhere.trust_bundle(bundle).unwrap();
    let trust = Live::new(elsewhere);
    let agent = Agent::start(Given::new(&home, RUNNER));
    let workload = connect(&agent, &trust).await.unwrap();
    let runner = Node { workload, trust };
    let there = Given::new(&abroad, "spiffe://abroad.example/store").federated("example.org", &home);
    let stranger = Node::of(&Agent::start(there)).await;
    agent.give(Given::new(&home, RUNNER));
    runner.until(|state| state.updates == 2).await;
    assert!(runner.meets(&stranger).is_ok());
}

#[tokio::test]
async fn a_workload_that_is_dropped_asks_no_more_and_leaves_what_it_had() {
    let authority = Authority::new();
    let agent = Agent::start(Given::new(&authority, RUNNER));
    let runner = Node::of(&agent).await;
    let (identity, version) = (runner.workload.identity().clone(), runner.trust.version());
    assert_eq!(agent.listeners(), 1);
    drop(runner.workload);
    tokio::time::timeout(crate::PATIENCE, agent.until_alone())
        .await
        .expect("nobody listens");
    assert!(identity.load().svid().is_some());
    assert_eq!(runner.trust.version(), version);
}
