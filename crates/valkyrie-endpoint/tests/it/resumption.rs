//! Dialling again: tickets are good once, and what was known wrongly costs one longer handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use valkyrie_endpoint::{Connection, Endpoint, Services};
use valkyrie_security::{Identity, Pattern};
use valkyrie_transport::mem::MemTransport;

use crate::people::{Middle, Person, Way, now, until, who};
use crate::support::{echo, within};

fn pattern(connection: &Connection) -> Pattern {
    connection.identity().suite().unwrap().suite().unwrap().pattern
}

async fn connect(client: &Endpoint) -> Connection {
    let connection = within(client.connect("mem://again")).await.unwrap();
    // The ticket has come once something came behind it.
    assert_eq!(within(connection.call(("echo", "echo"), "x")).await.unwrap(), "x");
    connection
}

#[tokio::test]
async fn a_second_connection_resumes_and_a_ticket_is_good_once() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let server = bob.endpoint(mem.clone(), who(&Arc::default()));
    server.listen("mem://again").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    let first = connect(&client).await;
    assert_eq!(
        (pattern(&first), first.identity().resumed()),
        (Pattern::Xx, false)
    );
    // Two at once: there is one ticket.
    let (second, third) = tokio::join!(connect(&client), connect(&client));
    let mut patterns = [pattern(&second), pattern(&third)];
    patterns.sort_by_key(|pattern| *pattern == Pattern::Ik);
    assert_eq!(patterns, [Pattern::IkPsk0, Pattern::Ik]);
    assert_eq!(second.identity().resumed(), pattern(&second) == Pattern::IkPsk0);
    // They brought tickets of their own.
    assert_eq!(pattern(&connect(&client).await), Pattern::IkPsk0);
    // Whoever resumes is as well known as who does not.
    let answer = within(second.call(("who", "am-i"), "")).await.unwrap();
    assert_eq!(answer, format!("ada ({}), pinned", ada.fingerprint).as_bytes());
}

#[tokio::test]
async fn tickets_that_the_acceptor_has_lost_cost_a_longer_handshake() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let client = ada.endpoint(mem.clone(), Services::default());
    for round in 0..3 {
        // Each server is the same person and knows no ticket of the one before it.
        let server = bob.endpoint(mem.clone(), echo());
        within(async {
            while server.listen("mem://again").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let connection = connect(&client).await;
        assert_ne!(pattern(&connection), Pattern::IkPsk0, "round {round}");
        assert!(!connection.identity().resumed());
        assert_eq!(server.security_stats().handshakes_failed, 0, "round {round}");
    }
}

#[tokio::test]
async fn an_acceptor_with_another_key_is_met_anew() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let server = bob.endpoint(mem.clone(), echo());
    server.listen("mem://again").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    connect(&client).await;
    // The same signing keys, another static key, and the one before it is not kept.
    let before = bob.security.identity().load();
    let signing = before.signing_key().unwrap();
    let key = valkyrie_security::provider::StaticKey::generate().unwrap();
    let document = before
        .next_document(now())
        .unwrap()
        .static_keys(&[key.public()])
        .sign(signing)
        .unwrap();
    let after = Identity::new(vec![key], None, document.document().unwrap()).unwrap();
    bob.security.identity().store(after);
    let connection = connect(&client).await;
    assert_eq!(pattern(&connection), Pattern::Xx);
    assert_eq!(connection.identity().fingerprint(), Some(bob.fingerprint));
    assert_eq!(pattern(&connect(&client).await), Pattern::IkPsk0);
}

#[tokio::test]
async fn a_first_message_that_comes_again_is_refused_and_nothing_runs() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let calls = Arc::new(AtomicUsize::new(0));
    let server = bob.endpoint(mem.clone(), who(&calls));
    let place = server.listen("mem://again").await.unwrap();
    let middle = Middle::new(&mem);
    let client = ada.endpoint(middle.clone(), Services::default());
    for expected in [Pattern::Xx, Pattern::IkPsk0, Pattern::IkPsk0] {
        let connection = connect(&client).await;
        assert_eq!(pattern(&connection), expected);
        within(connection.call(("who", "am-i"), "")).await.unwrap();
        let ran = calls.load(Ordering::SeqCst);
        let failed = server.security_stats().handshakes_failed;
        // Everything that this side sent, once more.
        let sent = middle.seen(Way::There);
        let mut link = valkyrie_transport::Transport::dial(&mem, &place).await.unwrap();
        let lane = valkyrie_transport::Lane::FIRST;
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let slices = [std::io::IoSlice::new(rest)];
            match std::future::poll_fn(|cx| link.poll_write(cx, lane, &slices)).await {
                Ok(written) => rest = &rest[written..],
                Err(_) => break,
            }
        }
        until(|| server.security_stats().handshakes_failed == failed + 1).await;
        assert_eq!(calls.load(Ordering::SeqCst), ran, "{expected:?}");
    }
}
