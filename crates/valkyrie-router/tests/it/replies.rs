//! Streams of replies that go on at another node: each reply once and in order, whatever becomes of the nodes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;
use valkyrie_endpoint::{ErrorCode, Failure, Message};
use valkyrie_router::{
    ContinuedError, ContinuedReplies, Position, Route, RouteError, RoutedError, Routing, Target,
};

use crate::fleet::{Behaviour, Fleet, HISTORY, Node, failure, word, word_at};

const CALL: (&str, &str) = ("orders", "history");

fn orders() -> Target {
    Target::service(word("orders"))
}

/// The request for what comes after a number, of replies so large that the windows hold a small part of them all.
fn after(received: u64) -> Bytes {
    sized(received, 1 << 10)
}

/// The same, for replies of so many bytes.
fn sized(received: u64, bytes: u64) -> Bytes {
    [received.to_be_bytes(), bytes.to_be_bytes()].concat().into()
}

async fn fleet_of(names: &[&str]) -> (Fleet, Vec<Node>) {
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(fleet.node(name).await);
    }
    (fleet, nodes)
}

async fn route_of(fleet: &Fleet, routing: Routing) -> Route {
    fleet.router(routing).await.route(orders()).unwrap()
}

fn number(reply: &Message) -> u64 {
    word_at(&reply.payload, 0).unwrap()
}

/// Takes replies up to this one, and sees that each is the next.
async fn take(replies: &mut ContinuedReplies, last: u64) {
    while replies.received() < last {
        let next = replies.received() + 1;
        let reply = replies.recv().await.unwrap().expect("there are more");
        assert_eq!(number(&reply), next, "each once and in order");
    }
}

async fn take_all(replies: &mut ContinuedReplies) {
    take(replies, HISTORY).await;
    assert!(replies.recv().await.unwrap().is_none());
    assert!(replies.recv().await.unwrap().is_none(), "and says so again");
}

/// Which of the nodes replies come from.
fn serving(replies: &ContinuedReplies, nodes: &[Node]) -> usize {
    let place = replies.locator().expect("it is open");
    let at = nodes
        .iter()
        .position(|node| node.description.locators[0] == place);
    at.expect("one of them")
}

fn begun(nodes: &[Node]) -> u32 {
    nodes.iter().map(|node| node.streams.begun()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_at_another_node_when_its_own_dies() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    let mut been = Vec::new();
    for moment in [1234, 5678] {
        take(&mut replies, moment).await;
        let node = serving(&replies, &nodes);
        assert!(!been.contains(&node), "it went back to one that is dead");
        been.push(node);
        nodes[node].dies().await;
    }
    take_all(&mut replies).await;
    assert_eq!(replies.moves(), 2);
    let stats = route.stats();
    // The first that died may have been dialled once more.
    assert!(stats.moves == 2 && (2..=3).contains(&stats.retries), "{stats:?}");
    assert_eq!(begun(&nodes), 3);
}

/// What happens to nodes while a stream is read.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The node that gives replies dies.
    Death,
    /// And another one with it.
    TwoDeaths,
    /// It drains.
    Drain,
    /// Its links break, and it lives.
    Blip,
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let what = prop_oneof![
        Just(Event::Death),
        Just(Event::TwoDeaths),
        Just(Event::Drain),
        Just(Event::Blip)
    ];
    (0..HISTORY, what)
}

/// Reads a stream while this happens after so many replies; who died has begun anew by the next time.
async fn live_through(mut events: Vec<(u64, Event)>) {
    events.sort_by_key(|(moment, _)| *moment);
    let names = ["a", "b", "c"];
    let (fleet, mut nodes) = fleet_of(&names).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    let mut gone: Vec<usize> = Vec::new();
    let (mut moves, mut lives) = (0, 0);
    for (moment, event) in events {
        take(&mut replies, moment).await;
        for at in gone.drain(..) {
            lives += 1;
            let anew = fleet.node(&format!("{}-{lives}", names[at])).await;
            std::mem::replace(&mut nodes[at], anew).forgotten().await;
        }
        while route.peers() != nodes.len() {
            tokio::task::yield_now().await;
        }
        // Where it reads what a dead one has left, or is between two, it is anybody.
        let place = replies.locator();
        let at = nodes
            .iter()
            .position(|node| Some(&node.description.locators[0]) == place.as_ref())
            .unwrap_or(0);
        match event {
            Event::Death => gone.push(at),
            Event::TwoDeaths => gone.extend([at, (at + 1) % names.len()]),
            Event::Drain => {
                let endpoint = nodes[at].endpoint.clone();
                tokio::spawn(async move { endpoint.drain(Duration::from_secs(5)).await });
                // It is told before anything else happens, so that it is not one of the places to go to.
                tokio::task::yield_now().await;
                gone.push(at);
            }
            Event::Blip => {
                nodes[at].breaker.break_all();
            }
        }
        if matches!(event, Event::Death | Event::TwoDeaths) {
            for &at in &gone {
                nodes[at].dies().await;
            }
        }
        moves += 1;
        // In small steps: what is under way between nodes goes on after each.
        tokio::select! {
            biased;
            reply = replies.recv() => {
                let next = replies.received();
                assert_eq!(number(&reply.unwrap().unwrap()), next);
            }
            () = tokio::task::yield_now() => {}
        }
    }
    take_all(&mut replies).await;
    // What is here already when a node dies may be the rest.
    assert!(
        replies.moves() <= moves * 2 + 2,
        "{} moves for {moves}",
        replies.moves()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_reply_comes_once_and_in_order_whenever_nodes_go(events in prop::collection::vec(event(), 1..7)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live_through(events));
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_dies_is_no_reason_to_leave_a_node() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    let builder = fleet
        .builder_with(|endpoint| endpoint.resume_for(Duration::from_secs(5)))
        .await;
    let route = builder.build().route(orders()).unwrap();
    let mut replies = route.replies(CALL, after).await.unwrap();
    let node = serving(&replies, &nodes);
    for moment in [1000, 3000, 5000] {
        take(&mut replies, moment).await;
        assert!(nodes[node].breaker.break_all() > 0, "{moment}");
    }
    take(&mut replies, 7000).await;
    assert_eq!((replies.moves(), serving(&replies, &nodes)), (0, node));
    assert_eq!(nodes[node].streams.begun(), 1);

    // When the session cannot be resumed, which takes a second to find out where nobody listens any more, the node is left.
    let begun = Instant::now();
    nodes[node].dies().await;
    take_all(&mut replies).await;
    assert_eq!(replies.moves(), 1);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_service_ends_the_stream_and_is_asked_for_nowhere_else() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    // After a reply even what else would say that nothing was done is the service's own word.
    let codes = [
        ErrorCode::INTERNAL,
        ErrorCode::UNAVAILABLE,
        ErrorCode::OVERLOADED,
        ErrorCode::FAILED_PRECONDITION,
    ];
    for (at, code) in codes.into_iter().enumerate() {
        let acts = Behaviour::FailsAfter(100, failure(code));
        nodes.iter().for_each(|node| node.does(acts.clone()));
        let mut replies = route.replies(CALL, after).await.unwrap();
        let mut count = 0;
        let error = loop {
            match replies.recv().await {
                Ok(reply) => count += u64::from(reply.is_some()),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&error, ContinuedError::Failed { failure, .. } if failure.code == code),
            "{error}"
        );
        assert_eq!(count, 100);
        assert_eq!(replies.moves(), 0);
        assert_eq!(begun(&nodes) as usize, at + 1, "somebody else was asked");
        let again = replies.recv().await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
    }
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::Fails(failure(ErrorCode::INTERNAL))));
    let mut replies = route.replies(CALL, after).await.unwrap();
    let error = replies.recv().await.unwrap_err();
    assert!(matches!(error, ContinuedError::Failed { .. }), "{error}");
    assert_eq!(begun(&nodes) as usize, codes.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_the_first_reply_is_asked_for_elsewhere() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut refused = 0;
    nodes[0].does(Behaviour::Fails(failure(ErrorCode::OVERLOADED)));
    for _ in 0..6 {
        let mut replies = route.replies(CALL, after).await.unwrap();
        take(&mut replies, 10).await;
        refused += replies.moves();
    }
    assert_eq!(u64::from(nodes[0].streams.begun()), refused);
    assert_eq!(nodes[1].streams.begun(), 6);
    // When all do, they are asked once more after as long as they wanted, and then it is told.
    let mut busy = failure(ErrorCode::OVERLOADED);
    busy.retry_after_ms = 700;
    nodes
        .iter()
        .for_each(|node| node.does(Behaviour::Fails(busy.clone())));
    let (before, waited) = (begun(&nodes), Instant::now());
    let mut replies = route.replies(CALL, after).await.unwrap();
    let error = replies.recv().await.unwrap_err();
    let ContinuedError::NoProgress { retries: 3, last } = &error else {
        panic!("{error}")
    };
    assert!(matches!(last, RoutedError::Stream { .. }), "{last}");
    assert_eq!(begun(&nodes) - before, 4);
    assert!(waited.elapsed() >= Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn attempts_without_progress_are_bounded_and_progress_refills_them() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    let mut routing = Routing::default();
    // Nobody is left alone: it is not breakers that bound this.
    routing.breaker.failures = u32::MAX;
    let route = route_of(&fleet, routing).await;
    nodes.iter().for_each(|node| node.does(Behaviour::DiesAfter(1)));
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 20).await;
    assert_eq!(replies.moves(), 19, "each gave one");

    nodes.iter().for_each(|node| node.does(Behaviour::Dies));
    let before = begun(&nodes);
    let error = replies.recv().await.unwrap_err();
    let ContinuedError::NoProgress { retries, last } = &error else {
        panic!("{error}")
    };
    assert!(matches!(last, RoutedError::Stream { .. }), "{last}");
    assert_eq!((*retries, begun(&nodes) - before), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_pays_from_the_budget_and_waits_for_it_as_for_a_peer() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let mut routing = Routing::default();
    (routing.budget.share, routing.budget.per_second) = (0.0, 0.0);
    routing.wait_for_peer = Duration::from_secs(4);
    let route = route_of(&fleet, routing).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 10).await;
    nodes[serving(&replies, &nodes)].dies().await;
    let waited = Instant::now();
    let error = loop {
        match replies.recv().await {
            Ok(reply) => assert!(reply.is_some(), "it came to its end"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            &error,
            ContinuedError::OverBudget {
                last: RoutedError::Stream { .. }
            }
        ),
        "{error}"
    );
    assert_eq!(waited.elapsed().as_secs(), 4);
    assert_eq!((route.stats().over_budget, route.stats().moves), (1, 0));

    // One a second is enough for one that may wait.
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    routing.budget.per_second = 1.0;
    routing.budget.window = Duration::from_secs(1);
    let route = route_of(&fleet, routing).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    for moment in [10, 4000] {
        take(&mut replies, moment).await;
        nodes[serving(&replies, &nodes)].dies().await;
    }
    take_all(&mut replies).await;
    assert_eq!(replies.moves(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_somebody_to_come_but_not_for_ever() {
    let (fleet, mut nodes) = fleet_of(&["a"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 1000).await;
    let first = nodes.remove(0);
    first.dies().await;
    first.forgotten().await;
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fleet.node("late").await
    };
    let (late, ()) = tokio::join!(late, take(&mut replies, 5000));
    assert_eq!(late.streams.begun(), 1);

    late.dies().await;
    late.forgotten().await;
    let waited = Instant::now();
    let error = loop {
        match replies.recv().await {
            Ok(reply) => assert!(reply.is_some(), "it came to its end"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            &error,
            ContinuedError::NotOpened(RoutedError::Route(RouteError::Nobody))
        ),
        "{error}"
    );
    assert_eq!(waited.elapsed().as_secs(), 10);
    let error = route.replies(CALL, after).await.unwrap_err();
    assert!(matches!(error, ContinuedError::NotOpened(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_whole_streams_and_each_node_is_told_what_is_left() {
    let (fleet, mut nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    nodes.iter().for_each(|node| node.does(Behaviour::Stops(100)));
    let open = || route.replies(CALL, after).timeout(Duration::from_secs(8));
    let waited = Instant::now();
    let mut replies = open().await.unwrap();
    let first = serving(&replies, &nodes);
    take(&mut replies, 100).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    nodes[first].dies().await;
    nodes[1 - first].does(Behaviour::Stops(200));
    take(&mut replies, 200).await;
    let told = |node: &Node| node.streams.remaining.lock().unwrap().unwrap();
    assert!(told(&nodes[first]) > Duration::from_millis(7900));
    let left = told(&nodes[1 - first]);
    assert!(
        left > Duration::from_secs(4) && left <= Duration::from_secs(5),
        "{left:?}"
    );
    let error = replies.recv().await.unwrap_err();
    assert!(matches!(error, ContinuedError::DeadlineExceeded), "{error}");
    // A deadline is told in whole milliseconds.
    let whole = Duration::from_millis(7998)..Duration::from_millis(8002);
    assert!(whole.contains(&waited.elapsed()), "{:?}", waited.elapsed());

    // It is so as well while there is nobody.
    nodes.remove(first).forgotten().await;
    let waited = Instant::now();
    let mut replies = open().await.unwrap();
    take(&mut replies, 200).await;
    let last = nodes.remove(0);
    last.dies().await;
    last.forgotten().await;
    let error = replies.recv().await.unwrap_err();
    assert!(matches!(error, ContinuedError::DeadlineExceeded), "{error}");
    assert!(whole.contains(&waited.elapsed()), "{:?}", waited.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_drains_is_left_before_anything_is_lost() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    nodes.iter().for_each(|node| node.does(Behaviour::Stops(2000)));
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 2000).await;
    let left = serving(&replies, &nodes);
    let begun = Instant::now();
    let draining = nodes[left].endpoint.clone();
    let drained = tokio::spawn(async move { draining.drain(Duration::from_secs(30)).await });
    nodes[1 - left].does(Behaviour::Answers);
    take_all(&mut replies).await;
    assert_eq!((replies.moves(), nodes[1 - left].streams.begun()), (1, 1));
    // The stream has left: the drain need not wait for it, and the budget was not asked.
    assert_eq!(drained.await.unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((route.stats().moves, route.stats().retries), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_noticed_by_a_reader_who_never_has_to_wait() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    let left = serving(&replies, &nodes);
    let draining = nodes[left].endpoint.clone();
    take(&mut replies, 10).await;
    tokio::spawn(async move { draining.drain(Duration::from_secs(30)).await });
    while replies.moves() == 0 {
        // Whoever sends has the time to be ahead.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let next = replies.received() + 1;
        assert!(next < 1000, "it stays with who drains");
        take(&mut replies, next).await;
    }
    take_all(&mut replies).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_nobody_else_a_stream_stays_until_the_drain_ends() {
    let (fleet, nodes) = fleet_of(&["a"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 10).await;
    let draining = nodes[0].endpoint.clone();
    let drained = tokio::spawn(async move { draining.drain(Duration::from_secs(30)).await });
    take_all(&mut replies).await;
    assert_eq!((replies.moves(), drained.await.unwrap()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_node_drains_is_gone_to() {
    let (fleet, nodes) = fleet_of(&["a"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    nodes[0].does(Behaviour::Stops(2000));
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 2000).await;
    let draining = nodes[0].endpoint.clone();
    let drained = tokio::spawn(async move { draining.drain(Duration::from_secs(30)).await });
    let begun = Instant::now();
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fleet.node("late").await
    };
    let (_late, ()) = tokio::join!(late, take_all(&mut replies));
    assert_eq!((replies.moves(), drained.await.unwrap()), (1, 0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropped_it_stops_a_handler_that_has_nothing_to_say() {
    let (fleet, nodes) = fleet_of(&["a"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    nodes[0].does(Behaviour::Stops(5));
    let mut replies = route.replies(CALL, after).await.unwrap();
    take(&mut replies, 5).await;
    let begun = Instant::now();
    let running = || nodes[0].streams.running.load(Ordering::SeqCst);
    assert_eq!(running(), 1);
    drop(replies);
    nodes[0].streams.ended.notified().await;
    assert_eq!(running(), 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_its_node_and_the_next() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route
        .replies(CALL, |received: u64| sized(received, 16 << 10))
        .await
        .unwrap();
    for moves in 0..2 {
        while replies.moves() < moves {
            // What is here already is handed on before it goes elsewhere.
            let next = replies.received() + 1;
            take(&mut replies, next).await;
        }
        // The clock is paused: it goes on when nobody has anything left to do.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let node = &nodes[serving(&replies, &nodes)];
        let given = node.streams.replies.load(Ordering::SeqCst);
        assert!(
            given < HISTORY / 2,
            "{given} of {HISTORY} were given with nobody reading"
        );
        node.dies().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_break_streams_off_are_left_alone() {
    let (fleet, nodes) = fleet_of(&["a", "b", "c"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    nodes[0].does(Behaviour::Dies);
    while route.left_alone().is_empty() {
        assert!(nodes[0].streams.begun() < 20, "nothing is held against it");
        let mut replies = route.replies(CALL, after).await.unwrap();
        take(&mut replies, 1).await;
    }
    assert_eq!(route.left_alone(), nodes[0].description.locators);
}

/// A position that is in the replies themselves.
struct Last(u64);

impl Position for Last {
    fn request(&mut self, _: u64) -> Bytes {
        after(self.0)
    }

    fn passed(&mut self, reply: &Message) {
        self.0 = number(reply);
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_may_be_what_the_last_reply_says() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let mut replies = route.replies(CALL, Last(9000)).await.unwrap();
    for next in 9001..=HISTORY {
        if next == 9500 {
            nodes[serving(&replies, &nodes)].dies().await;
        }
        assert_eq!(number(&replies.recv().await.unwrap().unwrap()), next);
    }
    assert!(replies.recv().await.unwrap().is_none());
    assert_eq!(replies.received(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_for_itself_is_not_sent_elsewhere() {
    let (fleet, nodes) = fleet_of(&["a", "b"]).await;
    let route = route_of(&fleet, Routing::default()).await;
    let too_large = |_: u64| Bytes::from(vec![0; (64 << 20) + 1]);
    let error = route.replies(CALL, too_large).await.unwrap_err();
    assert!(
        matches!(&error, ContinuedError::NotOpened(RoutedError::Open { .. })),
        "{error}"
    );
    assert!(begun(&nodes) <= 1);
    let wrong = |_: u64| Bytes::from_static(b"?");
    let mut replies = route.replies(CALL, wrong).await.unwrap();
    let error = replies.recv().await.unwrap_err();
    let ContinuedError::Failed { failure, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(failure.code, Failure::new(ErrorCode::INVALID_ARGUMENT, "").code);
}
