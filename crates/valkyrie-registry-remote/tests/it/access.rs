//! Who may write what.

use std::sync::Arc;
use std::time::Duration;

use valkyrie_endpoint::{AccessPolicy, Endpoint, PlainRule, Services};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::ledger::{Bounds, CommitError};
use valkyrie_registry::registrar::{RegisterError, remove};
use valkyrie_registry::store::{Guard, KeepAlive, LeaseId, Outcome, Store, StoreError, Txn, list_all};
use valkyrie_registry::{EmbeddedStore, Prefix, View};
use valkyrie_registry_remote::{RemoteStore, ServiceBounds, default_policy, service};
use valkyrie_security::Fingerprint;
use valkyrie_transport::mem::MemTransport;

use crate::support::{NOW, PLACE, Stage, config, describe, key, mem, put, within, word};

const TTL: Duration = Duration::from_secs(600);

fn denied<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    match outcome {
        Err(StoreError::Denied(_)) => true,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_writes_at_the_places_of_its_own_agents_and_nowhere_else() {
    let stage = Stage::new();
    let _registry = stage.serve(mem()).await;
    let (one, two) = (stage.node("one"), stage.node("two"));
    let (ours, theirs) = (one.store().await, two.store().await);
    let lease = ours.grant(TTL).await.unwrap().value.id;
    let own = one.place("main");
    let txn = Txn::new().put(own.clone(), "x".into(), Some(lease));
    assert_eq!(ours.commit(txn).await.unwrap().value, Outcome::Committed);

    // Everybody may read it, and guard what they write by it.
    let found = theirs.get(&own).await.unwrap().value.unwrap();
    assert_eq!((found.value.as_ref(), found.lease), (&b"x"[..], Some(lease)));
    assert_eq!(
        list_all(&theirs, &Prefix::all(), 9).await.unwrap().value,
        std::slice::from_ref(&found)
    );

    let their_lease = theirs.grant(TTL).await.unwrap().value.id;
    let elsewhere = [
        own.clone(),
        key("agents/x"),
        key("anything"),
        key(&format!("{}/below", two.place("main"))),
    ];
    for place in elsewhere {
        let put = Txn::new().put(place.clone(), "y".into(), Some(their_lease));
        assert!(denied(theirs.commit(put).await), "{place}");
        assert!(denied(theirs.commit(Txn::new().delete(place)).await));
    }
    // One foreign place is one too many, and nothing of it is done.
    let mixed = Txn::new()
        .put(two.place("main"), "y".into(), Some(their_lease))
        .delete(own.clone());
    assert!(denied(theirs.commit(mixed).await));
    let guarded = Txn::new()
        .guard(Guard::Modified(own.clone(), found.modified))
        .put(two.place("main"), "y".into(), Some(their_lease));
    assert_eq!(theirs.commit(guarded).await.unwrap().value, Outcome::Committed);
    assert_eq!(list_all(&ours, &Prefix::all(), 9).await.unwrap().value.len(), 2);
}

#[tokio::test]
async fn what_is_written_lies_under_a_lease_of_the_writer() {
    let stage = Stage::new();
    let _registry = stage.serve(mem()).await;
    let (one, two) = (stage.node("one"), stage.node("two"));
    let (ours, theirs) = (one.store().await, two.store().await);
    let lease = ours.grant(TTL).await.unwrap().value;
    let own = one.place("main");
    assert!(denied(
        ours.commit(Txn::new().put(own.clone(), "x".into(), None)).await
    ));
    ours.commit(Txn::new().put(own, "x".into(), Some(lease.id)))
        .await
        .unwrap();

    // A lease of somebody else's is one that is not there.
    let under = Txn::new().put(two.place("main"), "y".into(), Some(lease.id));
    let nothing = StoreError::Refused(CommitError::NoSuchLease(lease.id));
    assert_eq!(theirs.commit(under).await, Err(nothing));
    assert!(!theirs.revoke(lease.id).await.unwrap().value);
    let their = theirs.grant(TTL).await.unwrap().value;
    let renewed = theirs.keep_alive(&[lease.id, their.id, LeaseId::new(99)]).await;
    assert_eq!(
        renewed.unwrap(),
        [KeepAlive::Gone, KeepAlive::Alive(TTL), KeepAlive::Gone]
    );
    let renewed = ours.keep_alive(&[lease.id]).await;
    assert_eq!(renewed.unwrap(), [KeepAlive::Alive(TTL)]);
    assert!(ours.revoke(lease.id).await.unwrap().value);
    assert!(!ours.revoke(lease.id).await.unwrap().value, "it was there once");
}

#[tokio::test]
async fn an_identity_has_so_many_leases_at_once() {
    let stage = Stage::new();
    let bounds = ServiceBounds {
        leases_per_identity_max: 2,
        ..ServiceBounds::DEFAULT
    };
    let _registry = stage
        .serve_with(mem(), bounds, AccessPolicy::allow_authenticated())
        .await;
    let (one, two) = (stage.node("one"), stage.node("two"));
    let (ours, theirs) = (one.store().await, two.store().await);
    let first = ours.grant(TTL).await.unwrap().value.id;
    ours.grant(TTL).await.unwrap();
    let full = StoreError::Refused(CommitError::Full("leases", 2));
    assert_eq!(ours.grant(TTL).await, Err(full));
    theirs.grant(TTL).await.unwrap();
    ours.revoke(first).await.unwrap();
    ours.grant(TTL).await.unwrap();
    // An operator is not counted.
    let operator = one.store().await.as_operator();
    for _ in 0..3 {
        operator.grant(TTL).await.unwrap();
    }
}

#[tokio::test]
async fn a_durable_registry_knows_whose_leases_are_whose_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.redb");
    let open = || async { EmbeddedStore::open(&path, Bounds::DEFAULT).await.unwrap() };
    let stage = Stage::new();
    let (one, two) = (stage.node("one"), stage.node("two"));
    let kept = open().await;
    let registry = stage.serve(Arc::new(kept.clone())).await;
    let registrar = one.registrar(Arc::new(one.store().await));
    let registration = registrar.register(NOW, &describe("one"), TTL).await.unwrap();
    within(registry.drain(Duration::from_secs(5))).await;
    drop(registry);
    kept.close().await;

    let _registry = stage.serve(Arc::new(open().await)).await;
    let theirs = two.store().await;
    let lease = registration.lease().id;
    assert_eq!(theirs.keep_alive(&[lease]).await.unwrap(), [KeepAlive::Gone]);
    assert_eq!(within(registrar.renew(&registration)).await, Ok(true));
    assert_eq!(registrar.deregister(registration).await, Ok(()));
}

#[tokio::test]
async fn nobody_removes_an_agent_but_itself_and_whoever_may_everything() {
    let stage = Stage::new();
    let (agent, other, operator) = (stage.node("agent"), stage.node("other"), stage.node("operator"));
    let policy = default_policy(operator.fingerprint()).unwrap();
    let _registry = stage.serve_with(mem(), ServiceBounds::DEFAULT, policy).await;
    let registrar = agent.registrar(Arc::new(agent.store().await));
    let registration = registrar.register(NOW, &describe("agent"), TTL).await.unwrap();
    let store = other.store().await;
    let view = View::follow(Arc::new(store.clone()), Directory::new(word("test")), || NOW);
    let snapshot = view
        .wait_for(|progress| progress.revision >= registration.modified())
        .await
        .unwrap();
    let judged = snapshot.get(registrar.id()).unwrap();

    assert!(denied(remove(&store, judged).await));
    assert!(denied(remove(&store.clone().as_operator(), judged).await));
    assert!(
        denied(remove(&operator.store().await, judged).await),
        "without saying so"
    );
    assert_eq!(
        remove(&operator.store().await.as_operator(), judged).await,
        Ok(true)
    );
    let gone = view
        .wait_for(|progress| progress.revision > registration.modified())
        .await
        .unwrap();
    assert!(gone.is_empty());
    // To register in the name of somebody else takes that identity's key, and its connection too.
    let stolen = agent.registrar(Arc::new(store));
    let refused = stolen.register(NOW, &describe("agent"), TTL).await;
    assert!(
        matches!(refused, Err(RegisterError::Store(StoreError::Denied(_)))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn whoever_has_no_identity_reads_and_does_not_write() {
    let transport = MemTransport::new();
    let store = mem();
    put(&*store, "a").await;
    let endpoint = |services| {
        let builder = Endpoint::builder()
            .transport(transport.clone())
            .services(services);
        builder.plain(PlainRule::Always).build().unwrap()
    };
    let services = service(Services::builder(), store, ServiceBounds::DEFAULT);
    let registry = endpoint(services.build().unwrap());
    registry.listen(PLACE).await.unwrap();
    let client = endpoint(Services::default());
    let connection = client.connect(PLACE).await.unwrap();
    let store = RemoteStore::over(connection, config()).await.unwrap();
    assert!(store.get(&key("a")).await.unwrap().value.is_some());
    assert!(denied(store.grant(TTL).await));
    assert!(denied(store.commit(Txn::new().delete(key("a"))).await));
    assert!(denied(store.keep_alive(&[LeaseId::new(1)]).await));
    assert!(denied(store.revoke(LeaseId::new(1)).await));
}

#[tokio::test]
async fn who_leaves_when_its_lease_is_gone_already_just_leaves() {
    let stage = Stage::new();
    let kept = mem();
    let _registry = stage.serve(Arc::clone(&kept)).await;
    let node = stage.node("node");
    let registrar = node.registrar(Arc::new(node.store().await));
    let registration = registrar.register(NOW, &describe("node"), TTL).await.unwrap();
    kept.revoke(registration.lease().id).await.unwrap();
    assert_eq!(registrar.renew(&registration).await, Ok(false));
    assert_eq!(registrar.deregister(registration).await, Ok(()));
}

#[tokio::test]
async fn a_policy_that_gives_nothing_gives_nothing() {
    let stage = Stage::new();
    let policy = default_policy(Fingerprint::from_bytes([0; 32])).unwrap();
    let registry = stage.serve_with(mem(), ServiceBounds::DEFAULT, policy).await;
    let node = stage.node("node");
    let store = node.store().await;
    let mut watch = store.watch(&Prefix::all(), Default::default()).await.unwrap();
    registry.policy().store(AccessPolicy::default());
    assert!(denied(store.get(&key("a")).await));
    // A watch that is open is ended as well.
    let ended = within(watch.next(1)).await.unwrap_err();
    assert!(ended.to_string().contains("does not allow"), "{ended}");
}
