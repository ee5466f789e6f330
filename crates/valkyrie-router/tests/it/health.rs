//! Who is well, as a router finds by asking and by calling.

use std::time::Duration;

use valkyrie_endpoint::{ErrorCode, Method};
use valkyrie_registry::health::{HealthConfig, Verdict};
use valkyrie_router::{ProbeRules, Routing, StreamRouter, Target, Watching};
use valkyrie_transport::Locator;

use crate::fleet::{Behaviour, Fleet, Node, failure, word};

const CALL: (&str, &str) = ("orders", "get");

fn orders() -> Target {
    Target::service(word("orders"))
}

async fn router(fleet: &Fleet, watching: Watching) -> StreamRouter {
    fleet
        .builder()
        .await
        .watching(watching)
        .routing(Routing::default())
        .build()
}

fn verdict(router: &StreamRouter, node: &Node) -> Verdict {
    router.verdict(node.registrar.id())
}

/// Seven intervals and a bit.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_left_out_and_taken_back_when_it_does() {
    let fleet = Fleet::new();
    let nodes = [
        fleet.node("a").await,
        fleet.node("b").await,
        fleet.node("c").await,
    ];
    let watching = Watching::new(HealthConfig::DEFAULT).by_call(Method::new("orders", "get").unwrap());
    let router = router(&fleet, watching).await;
    let route = router.route(orders()).unwrap();
    a_while().await;
    assert!(
        nodes
            .iter()
            .all(|node| verdict(&router, node) == Verdict::Well && node.calls() >= 5)
    );
    nodes[0].does(Behaviour::Hangs);
    a_while().await;
    assert_eq!(
        (verdict(&router, &nodes[0]), route.peers()),
        (Verdict::Suspect, 2)
    );
    for _ in 0..30 {
        assert_ne!(route.call(CALL, "").await.unwrap(), "a");
    }
    nodes[0].does(Behaviour::Answers);
    a_while().await;
    assert_eq!((verdict(&router, &nodes[0]), route.peers()), (Verdict::Well, 3));
}

#[tokio::test(start_paused = true)]
async fn when_most_of_a_service_is_ill_it_is_the_observer() {
    let fleet = Fleet::new();
    let nodes = [
        fleet.node("a").await,
        fleet.node("b").await,
        fleet.node("c").await,
    ];
    let watching = Watching::new(HealthConfig::DEFAULT).by_call(Method::new("orders", "get").unwrap());
    let router = router(&fleet, watching).await;
    let route = router.route(orders()).unwrap();
    a_while().await;
    nodes[..2].iter().for_each(|node| node.does(Behaviour::Hangs));
    a_while().await;
    assert_eq!(verdict(&router, &nodes[0]), Verdict::Suspect);
    assert_eq!(route.peers(), 3, "all of it is used");
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_calls_is_heard_as_well() {
    let fleet = Fleet::new();
    let nodes = [
        fleet.node("a").await,
        fleet.node("b").await,
        fleet.node("c").await,
    ];
    // Asked by PING, which is answered whatever the service does.
    let router = router(&fleet, Watching::new(HealthConfig::DEFAULT)).await;
    let route = router.route(orders()).unwrap();
    a_while().await;
    nodes[0].does(Behaviour::Fails(failure(ErrorCode::INTERNAL)));
    while nodes[0].calls() < 5 {
        let _ = route.call(CALL, "").await;
    }
    // Now, and not after the next PING, which says otherwise.
    assert_eq!(verdict(&router, &nodes[0]), Verdict::Suspect);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(route.peers(), 2);
    assert_eq!(verdict(&router, &nodes[1]), Verdict::Well);
}

#[tokio::test(start_paused = true)]
async fn who_is_suspect_for_long_is_deregistered_but_not_its_next_life() {
    let fleet = Fleet::new();
    let mut nodes = vec![
        fleet.node("a").await,
        fleet.node("b").await,
        fleet.node("c").await,
    ];
    let config = HealthConfig {
        condemn_after: Some(Duration::from_secs(30)),
        ..HealthConfig::DEFAULT
    };
    let watching = Watching::new(config)
        .by_call(Method::new("orders", "get").unwrap())
        .deregistering_from(fleet.store.clone());
    let router = router(&fleet, watching).await;
    let route = router.route(orders()).unwrap();
    a_while().await;
    nodes[0].does(Behaviour::Hangs);
    let place = nodes[0].registrar.id().key();
    let is_there = async || fleet.store.get(&place).await.unwrap().value.is_some();
    a_while().await;
    assert!(is_there().await, "suspicion alone removes nobody");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!is_there().await);
    assert!(route.peers() == 2);

    let again = nodes.remove(0);
    again.does(Behaviour::Answers);
    let ttl = Duration::from_secs(3600);
    let now = crate::fleet::now();
    again
        .registrar
        .register(now, &again.description, ttl)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(is_there().await);
}

#[tokio::test]
async fn a_place_that_no_rule_allows_is_not_asked_and_the_agent_is() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe: Locator = format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let fleet = Fleet::new();
    let asked_there = |mut description: valkyrie_registry::agent::Description| {
        description.probe = Some(probe.clone());
        description
    };
    let node = fleet.node_with("a", asked_there).await;
    let quick = HealthConfig {
        interval: Duration::from_millis(40),
        ..HealthConfig::DEFAULT
    };
    let calls = Watching::new(quick).by_call(Method::new("orders", "get").unwrap());
    let forbids = router(&fleet, calls.clone()).await;
    let _route = forbids.route(orders()).unwrap();
    while node.calls() < 3 {
        node.called.notified().await;
    }
    // Nobody has connected: the listener's queue is empty.
    let nobody =
        std::future::poll_fn(|cx| std::task::Poll::Ready(listener.poll_accept(cx).is_pending())).await;
    assert!(nobody);
    drop((forbids, _route));

    let rules = ProbeRules::new().allow("127.0.0.0/8".parse().unwrap(), 1..=u16::MAX);
    let allows = router(&fleet, calls.at_places_of(rules)).await;
    let _route = allows.route(orders()).unwrap();
    listener.accept().await.unwrap();
}
