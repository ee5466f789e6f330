//! Behaviours of agents over a store: what the parts above it rely on.

use std::sync::Arc;
use std::time::Duration;

use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

use super::StoreHarness;
use crate::agent::{Description, Service, Status, Version, Word};
use crate::directory::{Directory, DirectoryEvent, GoneCause};
use crate::query::Query;
use crate::registrar::{RegisterError, Registrar, remove};
use crate::store::{Cause, Store};
use crate::view::View;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const TTL: Duration = Duration::from_secs(600);

fn word(text: &str) -> Word {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn registrar(store: &Arc<dyn Store>, seed: u8) -> Registrar {
    let key = SigningKey::from_seeds(&[seed; 32], None).unwrap_or_else(|error| panic!("{error}"));
    Registrar::new(Arc::clone(store), word("suite"), word("main"), Arc::new(key))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn describe(name: &str) -> Description {
    Description::new(word(name)).service(Service::new(word("orders"), Version::new(1, 0, 0)))
}

fn view(store: &Arc<dyn Store>) -> View {
    View::follow(Arc::clone(store), Directory::new(word("suite")), || NOW)
}

/// Agents register, change, come again and leave, and a view says so.
pub async fn a_view_follows_agents_as_they_come_and_go(harness: StoreHarness) {
    let store = harness.open().await;
    let (one, two) = (registrar(&store, 1), registrar(&store, 2));
    let mut first = one
        .register(NOW, &describe("one"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let view = view(&store);
    let mut events = view.events();
    let snapshot = view
        .wait_for(|progress| progress.listed)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(snapshot.find(&Query::service(word("orders"))).count(), 1);

    let second = two
        .register(NOW, &describe("two"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let draining = describe("one").status(Status::Draining);
    if let Err(error) = one.update(NOW, &mut first, &draining).await {
        panic!("{error}");
    }
    let again = two
        .register(NOW, &describe("two"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(again.incarnation() > second.incarnation());
    if let Err(error) = one.deregister(first.clone()).await {
        panic!("{error}");
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match events.next().await {
            // The first may be in the list or after it.
            Ok(DirectoryEvent::Registered(member)) if member.id() == one.id() => {}
            Ok(event) => seen.push(event),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(&seen[0], DirectoryEvent::Registered(member) if member.id() == two.id()));
    assert!(
        matches!(&seen[1], DirectoryEvent::Updated { after, .. } if after.description().status == Status::Draining)
    );
    assert!(
        matches!(&seen[2], DirectoryEvent::Replaced { after, .. } if after.record().incarnation() == again.incarnation())
    );
    let deregistered = GoneCause::Store(Cause::Deleted);
    assert!(matches!(&seen[3], DirectoryEvent::Gone { cause, .. } if *cause == deregistered));
    assert_eq!(view.progress().refused, 0);
    assert_eq!(view.snapshot().len(), 1);
}

/// Somebody judged an agent that was silent, and is slow; the agent is back by the time that he acts.
pub async fn a_late_verdict_does_not_remove_an_agent_that_came_back(harness: StoreHarness) {
    let store = harness.open().await;
    let agent = registrar(&store, 1);
    if let Err(error) = agent.register(NOW, &describe("one"), TTL).await {
        panic!("{error}");
    }
    let view = view(&store);
    let snapshot = view
        .wait_for(|progress| progress.listed)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let judged = snapshot
        .get(agent.id())
        .cloned()
        .unwrap_or_else(|| panic!("the agent is not seen"));

    let again = agent
        .register(NOW, &describe("one"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(remove(&*store, &judged).await, Ok(false));
    assert_eq!(agent.renew(&again).await, Ok(true));

    // The same verdict about who is there now removes it.
    let snapshot = view
        .wait_for(|progress| progress.revision >= again.modified())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let judged = snapshot
        .get(agent.id())
        .cloned()
        .unwrap_or_else(|| panic!("the agent is not seen"));
    assert_eq!(remove(&*store, &judged).await, Ok(true));
    assert_eq!(remove(&*store, &judged).await, Ok(false));
}

/// Two processes with one identity: the later one is the agent, and the former one is told.
pub async fn only_the_newest_life_of_an_agent_can_write(harness: StoreHarness) {
    let store = harness.open().await;
    let agent = registrar(&store, 1);
    let mut former = agent
        .register(NOW, &describe("old"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let mut newest = agent
        .register(NOW, &describe("new"), TTL)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        agent.update(NOW, &mut former, &describe("old")).await,
        Err(RegisterError::Lost)
    );
    assert_eq!(agent.deregister(former).await, Ok(()), "leaving is no error");
    assert_eq!(agent.update(NOW, &mut newest, &describe("new")).await, Ok(()));
    let entry = store
        .get(&agent.id().key())
        .await
        .map(|answer| answer.value.is_some());
    assert_eq!(entry, Ok(true));
    // When its lease has ended the agent learns that too.
    if let Err(error) = store.revoke(newest.lease().id).await {
        panic!("{error}");
    }
    assert_eq!(agent.renew(&newest).await, Ok(false));
    assert_eq!(
        agent.update(NOW, &mut newest, &describe("new")).await,
        Err(RegisterError::Lost)
    );
}
