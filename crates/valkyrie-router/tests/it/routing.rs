//! Who gets a message.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use std::sync::Arc;

use valkyrie_endpoint::Class;
use valkyrie_registry::agent::Status;
use valkyrie_registry::query::Query;
use valkyrie_router::{
    Balance, Capability, Needs, PublishError, Route, RouteError, RoutedError, Routing, Target,
};

use valkyrie_transport::mem::MemBus;
use valkyrie_transport::{Bus as _, Subscription};

use crate::fleet::{Behaviour, Fleet, word};

const CALL: (&str, &str) = ("orders", "get");

fn orders() -> Target {
    Target::service(word("orders"))
}

/// Who answers how many of so many calls.
async fn answers(route: &Route, calls: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        let answer = route.call(CALL, "").await.unwrap();
        *counts
            .entry(String::from_utf8(answer.to_vec()).unwrap())
            .or_insert(0) += 1;
    }
    counts
}

/// Waits until a route has so many peers.
async fn has(route: &Route, peers: usize) {
    while route.peers() != peers {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_spread_over_all_who_offer_the_service() {
    let fleet = Fleet::new();
    let _nodes = [
        fleet.node("a").await,
        fleet.node("b").await,
        fleet.node("c").await,
    ];
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let counts = answers(&route, 300).await;
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|&count| count > 50), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn peers_are_used_as_they_come_and_not_after_they_said_that_they_go() {
    let fleet = Fleet::new();
    let mut first = fleet.node("first").await;
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    assert_eq!(answers(&route, 10).await, BTreeMap::from([("first".into(), 10)]));

    let _second = fleet.node("second").await;
    has(&route, 2).await;
    assert_eq!(answers(&route, 50).await.len(), 2);

    first.says(Status::Draining).await;
    has(&route, 1).await;
    assert_eq!(answers(&route, 10).await, BTreeMap::from([("second".into(), 10)]));
}

#[tokio::test(start_paused = true)]
async fn a_query_narrows_and_a_node_can_be_named() {
    let fleet = Fleet::new();
    let gold = |mut description: valkyrie_registry::agent::Description| {
        let service = description.services.remove(0);
        description.service(service.label(word("tier"), "gold".parse().unwrap()))
    };
    let _plain = fleet.node("plain").await;
    let golden = fleet.node_with("golden", gold).await;
    let router = fleet.router(Routing::default()).await;
    let query = Query::service(word("orders")).with_labels("tier = gold".parse().unwrap());
    let route = router.route(Target::matching(query)).unwrap();
    assert_eq!(answers(&route, 20).await, BTreeMap::from([("golden".into(), 20)]));
    let route = router.route(Target::node(golden.registrar.id().clone())).unwrap();
    assert_eq!(answers(&route, 5).await, BTreeMap::from([("golden".into(), 5)]));
}

#[tokio::test(start_paused = true)]
async fn near_peers_come_first_and_far_ones_when_there_are_no_others() {
    let fleet = Fleet::new();
    let zone = |zone: &'static str| {
        move |description: valkyrie_registry::agent::Description| description.zone(word(zone))
    };
    let mut near = fleet.node_with("near", zone("eu")).await;
    let _far = fleet.node_with("far", zone("us")).await;
    let router = fleet.builder().await.zone(word("eu")).build();
    let route = router.route(orders()).unwrap();
    assert_eq!(answers(&route, 20).await, BTreeMap::from([("near".into(), 20)]));
    near.says(Status::NotReady).await;
    has(&route, 1).await;
    assert_eq!(answers(&route, 5).await, BTreeMap::from([("far".into(), 5)]));
}

#[tokio::test(start_paused = true)]
async fn equal_keys_go_the_same_way() {
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        nodes.push(fleet.node(name).await);
    }
    let mut routing = Routing::default();
    routing.balance = Balance::ByKey;
    let route = fleet.router(routing).await.route(orders()).unwrap();
    let ask = async |key: u32| {
        route
            .call(CALL, "")
            .key(key.to_be_bytes().to_vec())
            .await
            .unwrap()
    };
    let mut homes = Vec::new();
    for key in 0..40 {
        homes.push(ask(key).await);
    }
    let names: std::collections::BTreeSet<_> = homes.iter().collect();
    assert_eq!(names.len(), 4);
    // One leaves: its keys move, and no others.
    let leaver = nodes.remove(0);
    leaver.registrar.deregister(leaver.registration).await.unwrap();
    has(&route, 3).await;
    for (key, home) in homes.iter().enumerate() {
        let moved = ask(key as u32).await != home;
        assert_eq!(moved, home == "a", "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_large_fleet_a_router_takes_its_own_part() {
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for number in 0..12 {
        nodes.push(fleet.node(&format!("node-{number}")).await);
    }
    let mut routing = Routing::default();
    routing.subset = Some(4);
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let route = fleet.router(routing).await.route(orders()).unwrap();
        assert_eq!(route.peers(), 4);
        all.extend(answers(&route, 30).await.into_keys());
    }
    assert!(all.len() > 8, "eight routers of four share twelve: {all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_no_link_can_do_is_refused_by_name_and_nothing_is_sent() {
    let fleet = Fleet::new();
    let node = fleet.node("a").await;
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let needs = Needs::of(Class::Job).with_lanes_min(9);
    let error = route.call(CALL, "").needs(needs).await.unwrap_err();
    let RoutedError::Unfit { unfit, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(unfit.capability, Capability::Lanes { wanted: 9, has: 1 });
    assert_eq!((node.calls(), route.stats().unfit), (0, 1));
    // It is nothing against the peer.
    assert_eq!(
        route
            .call(CALL, "")
            .needs(Needs::of(Class::Job).locally())
            .await
            .unwrap(),
        "a"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_somebody_to_come_but_not_for_ever() {
    let fleet = Fleet::new();
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let waited = tokio::time::Instant::now();
    let error = route
        .call(CALL, "")
        .timeout(Duration::from_secs(3))
        .await
        .unwrap_err();
    assert!(matches!(error, RoutedError::Route(RouteError::Nobody)), "{error}");
    assert_eq!(waited.elapsed().as_secs(), 3);

    let waiting = {
        let route = route.clone();
        tokio::spawn(async move { route.call(CALL, "").await })
    };
    tokio::task::yield_now().await;
    let _late = fleet.node("late").await;
    assert_eq!(waiting.await.unwrap().unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_at_a_place_must_be_the_one_who_registered_it() {
    let fleet = Fleet::new();
    let victim = fleet.node("victim").await;
    // Somebody says that he is to be found where the victim is.
    let place = victim.description.locators[0].clone();
    let liar = |mut description: valkyrie_registry::agent::Description| {
        description.locators = vec![place];
        description
    };
    let liar = fleet.node_with("liar", liar).await;
    let router = fleet.router(Routing::default()).await;
    let route = router.route(Target::node(liar.registrar.id().clone())).unwrap();
    let error = route
        .call(CALL, "")
        .timeout(Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            RoutedError::Connect { .. } | RoutedError::Route(RouteError::AllFailing { .. })
        ),
        "{error}"
    );
    assert_eq!((victim.calls(), liar.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_in_no_registry_can_be_given() {
    let fleet = Fleet::new();
    let node = fleet.node("alone").await;
    node.registrar
        .deregister(node.registration.clone())
        .await
        .unwrap();
    let router = fleet
        .builder()
        .await
        .fixed(word("orders"), ["mem://alone".parse().unwrap()])
        .build();
    let route = router.route(orders()).unwrap();
    assert_eq!(route.call(CALL, "").await.unwrap(), "alone");
}

#[tokio::test(start_paused = true)]
async fn streams_and_calls_share_the_peers_connection() {
    let fleet = Fleet::new();
    let node = fleet.node("a").await;
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let (mut send, mut recv) = route.open(("orders", "watch")).await.unwrap();
    route.call(CALL, "").await.unwrap();
    send.send(Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(recv.recv().await.unwrap().unwrap().payload, "one");
    assert_eq!(node.endpoint.connections().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_shrinks_at_each_hop() {
    let fleet = Fleet::new();
    let node = fleet.node("a").await;
    node.does(Behaviour::Remaining);
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let left = route
        .call(CALL, "")
        .timeout(Duration::from_millis(700))
        .await
        .unwrap();
    let left: u64 = std::str::from_utf8(&left).unwrap().parse().unwrap();
    assert!((1..=700).contains(&left), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_goes_by_the_first_bus_that_is_for_it_and_can_carry_it() {
    let fleet = Fleet::new();
    let (logs, all) = (MemBus::new(), MemBus::new());
    let (for_logs, for_all) = (Arc::new(logs.clone()), Arc::new(all.clone()));
    let router = fleet
        .builder()
        .await
        .bus("logs.>", for_logs)
        .unwrap()
        .bus("*.*", for_all)
        .unwrap()
        .build();
    let data = Needs::of(Class::Bulk);
    let mut at_logs = logs.subscribe(&[Bytes::from_static(b">")]).await.unwrap();
    let mut by_router = router.subscribe(&data, "jobs.*").await.unwrap();
    router.publish(&data, "logs.node.1", "one").await.unwrap();
    router.publish(&data, "jobs.7", "two").await.unwrap();
    let payload = async |subscription: &mut dyn Subscription| {
        let mut batch = Vec::new();
        std::future::poll_fn(|cx| subscription.poll_batch(cx, 1, &mut batch))
            .await
            .unwrap();
        batch.remove(0).payload
    };
    assert_eq!(payload(&mut *at_logs).await, "one");
    assert_eq!(payload(&mut *by_router).await, "two");

    assert!(matches!(
        router.publish(&data, "a.b.c", "").await,
        Err(PublishError::NoBus)
    ));
    // Neither is for all of these.
    assert!(matches!(
        router.subscribe(&data, ">").await,
        Err(PublishError::NoBus)
    ));
    let secure = router.publish(&data.securely(), "jobs.7", "").await.unwrap_err();
    let PublishError::Unfit { unfit, .. } = &secure else {
        panic!("{secure}")
    };
    assert_eq!(unfit.capability, Capability::Secure);
}
