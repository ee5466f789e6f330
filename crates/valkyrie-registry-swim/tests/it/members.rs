//! What a member believes, read as a store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie_endpoint::security::identity::SigningKey;
use valkyrie_endpoint::{Locator, Services};
use valkyrie_registry::Store;
use valkyrie_registry::agent::{AgentId, Description};
use valkyrie_registry::store::{Cause, Event, Revision, StoreError, Txn, WatchError, list_all};
use valkyrie_registry_swim::{Members, Node, service};
use valkyrie_transport::mem::MemTransport;

use crate::support::{endpoint, fleet, member, word};

#[tokio::test(start_paused = true)]
async fn a_reader_sees_who_is_here_and_whether_one_has_left_or_failed() {
    let mem = MemTransport::new();
    let mut all = fleet(&mem, 4).await;
    let members = all[0].node.members();
    let listed = list_all(&members, &AgentId::prefix(), 10).await.unwrap();
    assert_eq!(listed.value.len(), 4);
    let mut watch = members.watch(&AgentId::prefix(), listed.revision).await.unwrap();

    let leaving = all.pop().unwrap();
    leaving.node.leave().await.unwrap();
    let killed = all.pop().unwrap();
    drop(killed.node);
    killed.endpoint.drain(Duration::ZERO).await;
    let mut gone = Vec::new();
    while gone.len() < 2 {
        for change in watch.next(10).await.unwrap().changes {
            for event in &change.events {
                if let Event::Deleted { key, cause } = event {
                    gone.push((AgentId::from_key(key).unwrap(), *cause));
                }
            }
        }
    }
    assert_eq!(
        gone,
        [(leaving.id, Cause::Deleted), (killed.id, Cause::Expired)],
        "who answers was lost"
    );
    assert_eq!(
        list_all(&members, &AgentId::prefix(), 10)
            .await
            .unwrap()
            .value
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_there_but_the_member() {
    let mem = MemTransport::new();
    let ann = member(&mem, "ann", |node| node).await;
    let members = ann.node.members();
    let view = ann.node.view();
    view.wait_for(|_| view.snapshot().get(&ann.id).is_some())
        .await
        .unwrap();
    let delete = members.commit(Txn::new().delete(ann.id.key())).await;
    assert!(matches!(delete, Err(StoreError::ReadOnly(_))), "{delete:?}");
    let grant = members.grant(Duration::from_secs(9)).await;
    assert!(matches!(grant, Err(StoreError::ReadOnly(_))), "{grant:?}");
    assert!(members.get(&ann.id.key()).await.unwrap().value.is_some());
}

#[tokio::test(start_paused = true)]
async fn readers_may_be_there_before_the_node_and_who_knew_an_earlier_one_lists_anew() {
    let mem = MemTransport::new();
    let members = Members::new();
    let before = list_all(&members, &AgentId::prefix(), 10).await.unwrap();
    assert!(before.value.is_empty());
    // A watch of what was there before this process.
    let earlier = Revision::new(before.revision.number() - 1);
    let earlier = members.watch(&AgentId::prefix(), earlier).await;
    assert!(matches!(earlier.err(), Some(WatchError::Compacted { .. })));
    let mut watch = members.watch(&AgentId::prefix(), before.revision).await.unwrap();
    let kept = members.clone();
    let ann = member(&mem, "ann", |node| node.members(kept)).await;
    let batch = watch.next(10).await.unwrap();
    assert_eq!(batch.changes[0].events[0].key(), &ann.id.key());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(u128::from(batch.revision.number()) <= now.as_micros() + 1);
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_are_one_agent_hear_of_it() {
    let mem = MemTransport::new();
    let key = Arc::new(SigningKey::generate_classical().unwrap());
    let twin = async |name: &str, seed: Option<Locator>| {
        let (services, inbox) = service(Services::builder());
        let endpoint = endpoint(&mem, name, &key, services.build().unwrap());
        let place: Locator = endpoint.listen(&*format!("mem://{name}")).await.unwrap();
        let description = Description::new(word(name)).locator(place.clone());
        let mut node = Node::builder(word("test"), Arc::clone(&key), description);
        if let Some(seed) = seed {
            node = node.seed(seed);
        }
        (node.join(endpoint.clone(), inbox).unwrap(), endpoint, place)
    };
    let (ann, _at_ann, place) = twin("ann", None).await;
    let (other, _at_other, _) = twin("other", Some(place)).await;
    let sight = other.wait_for(|sight| sight.turned_away.is_some()).await.unwrap();
    assert!(sight.turned_away.unwrap().contains("two processes"));
    let sight = ann.wait_for(|sight| sight.fault.is_some()).await.unwrap();
    assert!(sight.misbehaved > 0);
}
