//! What is known of an operation whose answer did not come, and what a store says at the other end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use valkyrie_endpoint::{Expect, Redial, WhileDown};
use valkyrie_registry::directory::Directory;
use valkyrie_registry::store::{Store, StoreError, Txn, list_all};
use valkyrie_registry::{Prefix, View};
use valkyrie_registry_remote::RemoteConfig;
use valkyrie_registry_remote::RemoteStore;

use crate::support::{NOW, PLACE, Stage, Staged, config, describe, key, mem, put, within, word};

fn silent() -> Staged {
    Staged {
        silent: true,
        ..Staged::over(mem())
    }
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_unknown() {
    let stage = Stage::new();
    let store = silent();
    let (asked, kept) = (Arc::clone(&store.asked), Arc::clone(&store.inner));
    let _registry = stage.serve(Arc::new(store)).await;
    let remote = stage.node("node").store().await.as_operator();
    let committing = {
        let remote = remote.clone();
        tokio::spawn(async move { remote.commit(Txn::new().put(key("a"), "x".into(), None)).await })
    };
    asked.notified().await;
    assert!(stage.breaker.break_all() > 0);
    let lost = within(committing).await.unwrap();
    assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
    // It was done, as it happens.
    assert!(kept.get(&key("a")).await.unwrap().value.is_some());
}

#[tokio::test]
async fn a_read_that_was_not_answered_has_done_nothing() {
    let stage = Stage::new();
    let store = silent();
    let asked = Arc::clone(&store.asked);
    let _registry = stage.serve(Arc::new(store)).await;
    let remote = stage.node("node").store().await;
    let reading = {
        let remote = remote.clone();
        tokio::spawn(async move { remote.get(&key("a")).await })
    };
    asked.notified().await;
    assert!(stage.breaker.break_all() > 0);
    let lost = within(reading).await.unwrap();
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
}

#[tokio::test]
async fn what_takes_too_long_is_unknown_and_what_was_never_sent_is_not() {
    let stage = Stage::new();
    let registry = stage.serve(Arc::new(silent())).await;
    let node = stage.node("node");
    let short = RemoteConfig {
        call_timeout: Duration::from_millis(50),
        ..config()
    };
    let dialled = RemoteStore::dial(
        &node.endpoint,
        PLACE,
        Expect::Anybody,
        RemoteConfig {
            redial: Redial {
                while_down: WhileDown::Wait(Duration::from_millis(50)),
                ..config().redial
            },
            ..config()
        },
    );
    let patient = dialled.await.unwrap().as_operator();
    let connection = node.endpoint.connect(PLACE).await.unwrap();
    let hasty = RemoteStore::over(connection, RemoteConfig { ..config() })
        .await
        .unwrap();
    drop(hasty);
    let connection = node.endpoint.connect(PLACE).await.unwrap();
    // Its beginning needs an answer within the time that it allows, so it is tried until one comes.
    let hasty = loop {
        match RemoteStore::over(connection.clone(), short.clone()).await {
            Ok(store) => break store.as_operator(),
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
    };
    let delete = || Txn::new().delete(key("a"));
    let late = within(hasty.commit(delete())).await;
    assert!(matches!(late, Err(StoreError::Unknown(_))), "{late:?}");

    within(registry.drain(Duration::ZERO)).await;
    drop(registry);
    let unsent = within(patient.commit(delete())).await;
    assert!(matches!(unsent, Err(StoreError::Unavailable(_))), "{unsent:?}");
    let closed = within(hasty.commit(delete())).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
}

#[tokio::test]
async fn a_store_says_elsewhere_what_it_says_here() {
    let text = || "as the test wants it".to_owned();
    for error in [
        StoreError::Unavailable(text()),
        StoreError::Unknown(text()),
        StoreError::Broken(text()),
        StoreError::Denied(text()),
        StoreError::ReadOnly(text()),
    ] {
        let stage = Stage::new();
        let staged = Staged {
            fails: Some(error.clone()),
            ..Staged::over(mem())
        };
        let _registry = stage.serve(Arc::new(staged)).await;
        let remote = stage.node("node").store().await.as_operator();
        let delete = Txn::new().delete(key("a"));
        assert_eq!(remote.commit(delete).await.unwrap_err(), error);
        assert_eq!(remote.grant(Duration::from_secs(9)).await.unwrap_err(), error);
        if matches!(error, StoreError::Unknown(_) | StoreError::ReadOnly(_)) {
            // To whoever reads it makes no difference, and it is not said.
            continue;
        }
        assert_eq!(remote.get(&key("a")).await.unwrap_err(), error);
        assert_eq!(remote.list(&Prefix::all()).await.err(), Some(error.clone()));
        let watch = remote.watch(&Prefix::all(), Default::default()).await;
        assert_eq!(watch.err(), Some(error.into()));
    }
}

#[tokio::test]
async fn calls_go_on_after_a_break_and_after_the_registry_was_away() {
    let stage = Stage::new();
    let store = mem();
    let registry = stage.serve(Arc::clone(&store)).await;
    let remote = stage.node("node").store().await.as_operator();
    let mut last = put(&remote, "a").await;
    for _ in 0..3 {
        assert!(stage.breaker.break_all() > 0);
        // The first after a break may have been on its way; what follows it finds the next connection.
        let first = remote.get(&key("a")).await;
        assert!(
            matches!(first, Ok(_) | Err(StoreError::Unavailable(_))),
            "{first:?}"
        );
        let next = put(&remote, "a").await;
        assert!(next > last);
        last = next;
    }
    let waiting = {
        within(registry.drain(Duration::from_secs(5))).await;
        drop(registry);
        let remote = remote.clone();
        tokio::spawn(async move { put(&remote, "b").await })
    };
    let _registry = stage.serve(store).await;
    assert!(within(waiting).await.unwrap() > last);
}

#[tokio::test]
async fn a_view_and_a_registration_live_through_breaks() {
    let stage = Stage::new();
    let _registry = stage.serve(mem()).await;
    let (agent, reader) = (stage.node("agent"), stage.node("reader"));
    let registrar = agent.registrar(Arc::new(agent.store().await));
    let view = View::follow(
        Arc::new(reader.store().await),
        Directory::new(word("test")),
        || NOW,
    );
    let ttl = Duration::from_secs(600);
    let mut registration = registrar.register(NOW, &describe("agent"), ttl).await.unwrap();
    for number in 0..5 {
        stage.breaker.break_all();
        // An update whose answer is lost is one to be followed by another registration, as with every store.
        match registrar
            .update(NOW, &mut registration, &describe(&format!("agent-{number}")))
            .await
        {
            Ok(()) => {}
            Err(_) => registration = registrar.register(NOW, &describe("again"), ttl).await.unwrap(),
        }
    }
    let last = registration.modified();
    let snapshot = within(view.wait_for(|progress| progress.revision >= last))
        .await
        .unwrap();
    assert_eq!((snapshot.len(), view.progress().refused), (1, 0));
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_not_taken_for_a_whole() {
    let stage = Stage::new();
    let store = mem();
    let staged = Staged::over(Arc::clone(&store));
    let given = Arc::clone(&staged.given);
    for number in 0..600 {
        let txn = Txn::new().put(key(&format!("a/{number}")), vec![0; 16_000].into(), None);
        store.commit(txn).await.unwrap();
    }
    let _registry = stage.serve(Arc::new(staged)).await;
    let remote = stage.node("node").store().await;
    let mut listing = remote.list(&Prefix::all()).await.unwrap().value;
    assert!(listing.next(1).await.unwrap().is_some());
    assert!(stage.breaker.break_all() > 0);
    // What has arrived is still given; the end is an error.
    let end = loop {
        match within(listing.next(10)).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a part is taken for the whole"),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, StoreError::Unavailable(_)), "{end}");
    assert_eq!(given.load(Ordering::Relaxed), 0);
    let whole = within(list_all(&remote, &Prefix::all(), 1000)).await.unwrap();
    assert_eq!(whole.value.len(), 600);
}
