//! What happens to messages when peers fail, stall, drain and die.

use std::time::Duration;

use bytes::Bytes;

use valkyrie_endpoint::{CallError, ErrorCode, Processed};
use valkyrie_registry::Presence;
use valkyrie_router::{Leaving, QosHandle, QosPolicy, RoutedError, Routing, Target, leave};

use crate::fleet::{Behaviour, Fleet, Node, failure, word};

const CALL: (&str, &str) = ("orders", "get");

fn orders() -> Target {
    Target::service(word("orders"))
}

fn total(nodes: &[Node]) -> u32 {
    nodes.iter().map(Node::calls).sum()
}

async fn fleet_of(names: &[&str]) -> (Fleet, Vec<Node>) {
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(fleet.node(name).await);
    }
    (fleet, nodes)
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_ran_is_sent_to_another() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    nodes[0].does(Behaviour::Fails(failure(ErrorCode::OVERLOADED)));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    for _ in 0..20 {
        assert_eq!(route.call(CALL, "").await.unwrap(), "b");
    }
    let retries = u64::from(nodes[0].calls());
    assert!(retries > 0);
    assert_eq!(route.stats().retries, retries);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_not_sent_again_unless_it_is_idempotent() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    nodes.iter().for_each(|node| node.does(Behaviour::Dies));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let error = route.call(CALL, "").await.unwrap_err();
    assert!(
        matches!(
            error,
            RoutedError::Call {
                source: CallError::Lost(_),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.processed(), Processed::Unknown);
    assert_eq!(total(&nodes), 1, "it ran twice");

    // The others are asked, each once before anybody twice.
    let before = total(&nodes);
    route.call(CALL, "").idempotent().await.unwrap_err();
    assert_eq!(total(&nodes) - before, 4, "one attempt and three retries");
    nodes[1].does(Behaviour::Answers);
    assert_eq!(route.call(CALL, "").idempotent().await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_a_failure_of_the_caller_is_passed_on() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let wrong = failure(ErrorCode::INVALID_ARGUMENT);
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::Fails(wrong.clone())));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    for _ in 0..20 {
        let error = route.call(CALL, "").idempotent().await.unwrap_err();
        assert!(
            matches!(&error, RoutedError::Call { source: CallError::Failed(told), .. } if told.code == wrong.code)
        );
    }
    assert_eq!((total(&nodes), route.stats().retries), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_become_the_load() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c", "d"]).await;
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::Fails(failure(ErrorCode::OVERLOADED))));
    let mut routing = Routing::default();
    routing.budget.per_second = 0.0;
    let route = fleet.router(routing).await.route(orders()).unwrap();
    for _ in 0..500 {
        route.call(CALL, "").await.unwrap_err();
    }
    let extra = total(&nodes) - 500;
    assert!((80..=100).contains(&extra), "a fifth of 500 and no more: {extra}");
    assert!(route.stats().over_budget > 300);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cannot_be_reached_is_gone_around_and_taken_back() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    for _ in 0..20 {
        route.call(CALL, "").await.unwrap();
    }
    assert!(nodes[0].calls() > 0);
    // The process of one is gone; its registration is not, yet.
    let gone = nodes[0].endpoint.drain(Duration::from_secs(1)).await;
    assert_eq!(gone, 0);
    for _ in 0..50 {
        assert_eq!(route.call(CALL, "").await.unwrap(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_costs_an_idempotent_call_little_where_it_is_hedged() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let mut routing = Routing::default();
    routing.hedge = true;
    let route = fleet.router(routing).await.route(orders()).unwrap();
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::AnswersAfter(Duration::from_millis(5))));
    for _ in 0..200 {
        route.call(CALL, "").idempotent().await.unwrap();
    }
    assert_eq!(route.stats().hedges, 0, "nobody was slower than usual");
    nodes[0].does(Behaviour::AnswersAfter(Duration::from_secs(60)));
    let begun = tokio::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(route.call(CALL, "").idempotent().await.unwrap(), "b");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let stats = route.stats();
    assert!(
        stats.hedges_won > 0 && stats.hedges == stats.hedges_won,
        "{stats:?}"
    );

    // What may not run twice is waited for.
    nodes[1].does(Behaviour::AnswersAfter(Duration::from_secs(60)));
    let before = (total(&nodes), begun.elapsed());
    route.call(CALL, "").await.unwrap();
    assert_eq!(total(&nodes), before.0 + 1);
    assert!(begun.elapsed() - before.1 >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_draining_peer_is_left_for_another_and_what_it_has_begun_ends() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    nodes[1].does(Behaviour::Fails(failure(ErrorCode::OVERLOADED)));
    nodes[0].does(Behaviour::AnswersAfter(Duration::from_secs(5)));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let slow = {
        let route = route.clone();
        tokio::spawn(async move { route.call(CALL, "").await })
    };
    nodes[0].called.notified().await;
    nodes[1].does(Behaviour::Answers);
    let server = nodes[0].endpoint.clone();
    let drained = tokio::spawn(async move { server.drain(Duration::from_secs(30)).await });
    for _ in 0..30 {
        assert_eq!(route.call(CALL, "").await.unwrap(), "b");
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(slow.await.unwrap().unwrap(), "a");
    assert_eq!(drained.await.unwrap(), 0);
    assert_eq!(nodes[0].calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_ends_with_its_deadline_and_counts_against_the_peer() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    nodes[0].does(Behaviour::Hangs);
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let mut late = 0;
    for _ in 0..200 {
        late += u32::from(
            route
                .call(CALL, "")
                .timeout(Duration::from_millis(20))
                .await
                .is_err(),
        );
    }
    assert_eq!(
        (late, nodes[0].calls()),
        (5, 5),
        "five in a row, then it is left alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_asks_for_a_moment_and_gets_it() {
    let (fleet, nodes) = fleet_of(&["only"]).await;
    let mut busy = failure(ErrorCode::OVERLOADED);
    busy.retry_after_ms = 400;
    nodes[0].does(Behaviour::FailsFirst(1, busy));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(route.call(CALL, "").await.unwrap(), "only");
    assert!(
        begun.elapsed() >= Duration::from_millis(400),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(nodes[0].calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn connections_are_replaced_when_they_are_old_and_what_they_carry_goes_on() {
    let (fleet, nodes) = fleet_of(&["a"]).await;
    let mut routing = Routing::default();
    routing.connection_age = Some(Duration::from_secs(60));
    let route = fleet.router(routing).await.route(orders()).unwrap();
    let (mut send, mut recv) = route.open(("orders", "watch")).await.unwrap();
    let first = nodes[0].endpoint.connections()[0].id();
    tokio::time::advance(Duration::from_secs(70)).await;
    route.call(CALL, "").await.unwrap();
    loop {
        route.call(CALL, "").await.unwrap();
        let now: Vec<u64> = nodes[0].endpoint.connections().iter().map(|c| c.id()).collect();
        if now.iter().any(|id| *id != first) {
            break;
        }
        tokio::task::yield_now().await;
    }
    send.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(recv.recv().await.unwrap().unwrap().payload, "still here");
    drop((send, recv));
    while nodes[0].endpoint.connections().iter().any(|c| c.id() == first) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_in_a_row_is_left_alone_for_a_while() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    nodes[0].does(Behaviour::Fails(failure(ErrorCode::INTERNAL)));
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    for _ in 0..300 {
        let _ = route.call(CALL, "").await;
    }
    // Five in a row, and nothing while the breaker is open: paused time stands still.
    assert_eq!(nodes[0].calls(), 5);
    nodes[0].does(Behaviour::Answers);
    tokio::time::advance(Duration::from_secs(12)).await;
    for _ in 0..100 {
        route.call(CALL, "").await.unwrap();
    }
    assert!(
        nodes[0].calls() > 15,
        "it has its share back: {}",
        nodes[0].calls()
    );
}

#[tokio::test(start_paused = true)]
async fn who_fails_more_often_than_the_others_is_found_out() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let (fleet, nodes) = fleet_of(&names).await;
    let route = fleet.router(Routing::default()).await.route(orders()).unwrap();
    // Never five in a row.
    nodes[2].does(Behaviour::FailsEvery(3, failure(ErrorCode::INTERNAL)));
    for _ in 0..3000 {
        let _ = route.call(CALL, "").await;
    }
    assert_eq!(route.stats().ejected, 0);
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(route.stats().ejected, 1);
    let before = nodes[2].calls();
    for _ in 0..200 {
        route.call(CALL, "").await.unwrap();
    }
    assert_eq!(nodes[2].calls(), before);
}

#[tokio::test(start_paused = true)]
async fn a_policy_says_what_may_be_done_twice_and_is_followed_when_it_changes() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    nodes.iter().for_each(|node| node.does(Behaviour::Dies));
    let qos = QosHandle::default();
    let route = fleet
        .builder()
        .await
        .qos(qos.clone())
        .build()
        .route(orders())
        .unwrap();
    route.call(CALL, "").await.unwrap_err();
    assert_eq!(total(&nodes), 1);
    let policy = "version = 1\n[services.orders]\nidempotent = [\"get\"]\nretries = 1\nsubset = 2\n";
    qos.store(QosPolicy::parse(policy).unwrap());
    route.call(CALL, "").await.unwrap_err();
    assert_eq!((total(&nodes), route.peers()), (3, 2), "once more, among two");
}

#[tokio::test(start_paused = true)]
async fn a_node_leaves_without_a_failed_call() {
    let (fleet, mut nodes) = fleet_of(&["a", "b", "c"]).await;
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::AnswersAfter(Duration::from_millis(30))));
    let mut routing = Routing::default();
    routing.retries = 0;
    let route = fleet.router(routing).await.route(orders()).unwrap();
    let leaver = nodes.remove(0);
    let presence = Presence::keep(
        leaver.registrar.clone(),
        leaver.description.clone(),
        Duration::from_secs(6),
        crate::fleet::now,
    );
    presence.registered().await.unwrap();
    let left = tokio::spawn(async move { leave(&leaver.endpoint, presence, Leaving::default()).await });
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        let calls: Vec<_> = (0..4).map(|_| route.call(CALL, "").send()).collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    assert_eq!(left.await.unwrap(), Ok(0));
    assert_eq!(route.peers(), 2);
}
