//! Links: a broker that dies and comes back, names, and what is claimed.

use tokio::time::timeout;
use valkyrie_transport::{Transport, TransportError, accept};
use valkyrie_transport_redis::{BrokerFault, LinkFault, RedisTransport};

use crate::ends::{expect_alive, fault, fault_of, pair, write};
use crate::support::{DEADLINE, Raw, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_in_mid_message_ends_the_link_and_can_be_dialled_again_after_its_restart() {
    let Some(mut redis) = Redis::start() else { return };
    let transport = RedisTransport::new();
    let at = redis.at("kitchen");
    let (mut dialled, mut accepted, mut listener) = pair(&transport, &at).await;
    expect_alive(&mut *dialled, &mut *accepted).await;

    let writer = tokio::spawn(async move {
        loop {
            if let Err(error) = write(&mut *dialled, &[7; 100_000]).await {
                return (error, dialled);
            }
        }
    });
    let _ = crate::ends::read(&mut *accepted).await.unwrap();
    redis.kill();
    let gone = LinkFault::Broker(BrokerFault::Gone);
    assert_eq!(fault(&mut *accepted).await, gone);
    let (error, mut dialled) = writer.await.unwrap();
    assert_eq!(fault_of(&error), gone);
    assert_eq!(fault(&mut *dialled).await, gone);
    assert!(
        matches!(accept(&mut *listener).await, Err(TransportError::Aborted { .. })),
        "the listener says so"
    );
    let error = transport.dial(&at).await.err().unwrap();
    assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");

    redis.restart();
    // The listener comes back when it next tries; until then there is a broker and nobody listens.
    let dialled = async {
        loop {
            match transport.dial(&at).await {
                Ok(link) => return link,
                Err(TransportError::Refused { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let (dialled, accepted) = tokio::join!(timeout(DEADLINE, dialled), accept(&mut *listener));
    expect_alive(&mut *dialled.unwrap(), &mut *accepted.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_broker_cuts_ends_the_link_at_both_ends() {
    let Some(redis) = Redis::start() else { return };
    let transport = RedisTransport::new();
    let (mut dialled, mut accepted, _listener) = pair(&transport, &redis.at("kitchen")).await;
    expect_alive(&mut *dialled, &mut *accepted).await;
    // What Redis does to a subscriber whose buffer overflows.
    redis.say("CLIENT KILL TYPE pubsub");
    assert_eq!(fault(&mut *accepted).await, LinkFault::Broker(BrokerFault::Gone));
    assert_eq!(fault(&mut *dialled).await, LinkFault::Broker(BrokerFault::Gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_claim_a_name_at_once_one_gets_it() {
    let Some(redis) = Redis::start() else { return };
    let transport = RedisTransport::new();
    for round in 0..10 {
        let at = redis.at(&format!("node-{round}"));
        let (one, other) = tokio::join!(transport.listen(&at), transport.listen(&at));
        let (got, refused) = match (one, other) {
            (Ok(got), Err(refused)) | (Err(refused), Ok(got)) => (got, refused),
            (Ok(_), Ok(_)) => panic!("both have the name"),
            (Err(one), Err(other)) => panic!("nobody has the name: {one}; {other}"),
        };
        assert!(
            matches!(refused, TransportError::AddressInUse { .. }),
            "{refused:?}"
        );
        let mut got = got;
        let (dialled, accepted) = tokio::join!(transport.dial(&at), accept(&mut *got));
        expect_alive(&mut *dialled.unwrap(), &mut *accepted.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_holder_does_not_answer_is_taken_over() {
    let Some(redis) = Redis::start() else { return };
    // As the broker sees a node whose machine has vanished.
    let _vanished = Raw::subscribe(&redis, "valkyrie.2.node.kitchen");
    let transport = RedisTransport::new();
    let (mut dialled, mut accepted, _listener) = pair(&transport, &redis.at("kitchen")).await;
    expect_alive(&mut *dialled, &mut *accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_at_the_broker() {
    let Some(redis) = Redis::start() else { return };
    let transport = RedisTransport::new();
    let (mut dialled, mut accepted, listener) = pair(&transport, &redis.at("kitchen")).await;
    expect_alive(&mut *dialled, &mut *accepted).await;
    drop((dialled, accepted, listener));
    crate::support::eventually(|| redis.say("PUBSUB CHANNELS") == "*0").await;
    assert_eq!(redis.say("DBSIZE"), ":0");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_link_says_of_itself_is_more_than_holds() {
    let Some(redis) = Redis::start() else { return };
    let (dialled, accepted, _listener) = pair(&RedisTransport::new(), &redis.at("kitchen")).await;
    for end in [&dialled, &accepted] {
        let capabilities = end.capabilities();
        assert!(!capabilities.secure && !capabilities.local && capabilities.reliable && capabilities.ordered);
        assert_eq!((end.channel_binding(), end.peer_address()), (None, None));
    }
    assert_eq!(dialled.peer(), format!("redis 127.0.0.1:{}/kitchen", redis.port));
    assert_eq!(
        accepted.peer(),
        format!("redis dialler of 127.0.0.1:{}/kitchen", redis.port)
    );
}
