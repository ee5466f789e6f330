//! What members see of each other.

use std::time::Duration;

use tokio::time::Instant;
use valkyrie_endpoint::security::identity::SigningKey;
use valkyrie_endpoint::{Endpoint, Services};
use valkyrie_registry::agent::{Description, Status};
use valkyrie_registry::query::Query;
use valkyrie_registry_swim::wire::{METHOD, SERVICE};
use valkyrie_registry_swim::{GoneWhy, SwimEvent};
use valkyrie_transport::mem::MemTransport;

use crate::support::{Member, endpoint, fleet, member, word};

/// Ends a member as a crash does: nothing is said, and nobody answers any more.
async fn kill(member: Member) {
    let Member { endpoint, node, .. } = member;
    drop(node);
    endpoint.drain(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_among_eight_is_seen_by_every_view() {
    let mem = MemTransport::new();
    let mut members = fleet(&mem, 8).await;
    let views: Vec<_> = members.iter().map(|member| member.node.view()).collect();
    let orders = Query::service(word("orders"));
    for view in &views {
        let all = view.wait_for(|progress| progress.listed).await.unwrap();
        assert_eq!(all.find(&orders).count(), 8);
    }
    let victim = members.remove(3);
    let id = victim.id.clone();
    let since = Instant::now();
    kill(victim).await;
    for (number, view) in views.iter().enumerate() {
        if number != 3 {
            let view = view
                .wait_for(|_| view.snapshot().get(&id).is_none())
                .await
                .unwrap();
            assert_eq!(view.find(&orders).count(), 7);
        }
    }
    // No time goes by but what members wait for.
    let took = since.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took <= Duration::from_millis(1700),
        "{took:?}"
    );
    for member in &members {
        let sight = member.node.sight();
        assert_eq!((sight.misbehaved, sight.dropped, sight.stats.refused), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_member_says_anew_is_seen_by_others() {
    let mem = MemTransport::new();
    let members = fleet(&mem, 3).await;
    let view = members[2].node.view();
    let draining = Description::new(word("node-0")).status(Status::Draining);
    members[0].node.describe(draining).await.unwrap();
    let id = &members[0].id;
    let status = || view.snapshot().get(id).map(|member| member.description().status);
    view.wait_for(|_| status() == Some(Status::Draining))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_not_waited_for() {
    let mem = MemTransport::new();
    let mut members = fleet(&mem, 4).await;
    let mut events = members[0].node.events();
    let leaving = members.pop().unwrap();
    let since = Instant::now();
    leaving.node.leave().await.unwrap();
    loop {
        if let SwimEvent::Gone { life, why } = events.recv().await.unwrap() {
            assert_eq!((life.id, why), (leaving.id, GoneWhy::Left));
            break;
        }
    }
    assert!(since.elapsed() < Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn one_whom_nobody_admits_is_seen_by_nobody() {
    let mem = MemTransport::new();
    let admits = |_: &valkyrie_registry::agent::AgentId, description: &Description| {
        description.name.as_str() != "mallory"
    };
    let ann = member(&mem, "ann", |node| node.vetting(admits)).await;
    let seed = ann.place.clone();
    let _mallory = member(&mem, "mallory", |node| node.seed(seed.clone())).await;
    let _bob = member(&mem, "bob", |node| node.seed(seed.clone())).await;
    let sight = ann
        .node
        .wait_for(|sight| sight.stats.refused > 0 && sight.members == 2)
        .await;
    assert_eq!(sight.unwrap().members, 2);
}

#[tokio::test(start_paused = true)]
async fn all_may_be_given_the_same_seeds_themselves_included() {
    let mem = MemTransport::new();
    let seeds = ["mem://ann", "mem://bob"].map(|place| place.parse::<valkyrie_endpoint::Locator>().unwrap());
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let seeds = seeds.clone();
        member(&mem, name, |node| {
            seeds
                .into_iter()
                .fold(node, valkyrie_registry_swim::node::NodeBuilder::seed)
        })
    });
    let (ann, bob) = (ann.await, bob.await);
    for member in [&ann, &bob] {
        let sight = member.node.wait_for(|sight| sight.members == 2).await.unwrap();
        assert_eq!(sight.misbehaved, 0);
    }
}

async fn stranger(mem: &MemTransport, name: &str) -> Endpoint {
    let key = SigningKey::generate_classical().unwrap();
    endpoint(mem, name, &key, Services::builder().build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_what_is_no_packet_is_not_listened_to_any_longer() {
    let mem = MemTransport::new();
    let ann = member(&mem, "ann", |node| node).await;
    let stranger = stranger(&mem, "stranger").await;
    let connection = stranger.connect(ann.place.clone()).await.unwrap();
    connection.notify((SERVICE, METHOD), "nonsense").await.unwrap();
    connection.closed().await;
    let sight = ann.node.wait_for(|sight| sight.misbehaved == 1).await.unwrap();
    assert_eq!(sight.members, 1);
}
