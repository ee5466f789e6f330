//! A session through a Redis server outlives it: the server is killed and restarted, and each message comes once.

#[path = "../../valkyrie-transport-redis/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use support::Redis;
use tokio::sync::Semaphore;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Endpoint, Services};

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// An endpoint that trusts whom it meets, for a broker that nobody else is at.
fn endpoint(name: &str, services: Services) -> Endpoint {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate(name, UnixTime::from_secs(now.as_secs())).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    valkyrie::endpoint()
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .policy(AccessPolicy::allow_authenticated())
        .services(services)
        .resume_for(Duration::from_secs(60))
        .build()
        .expect("no mistake")
}

/// Gives numbers back, each once and in order.
fn services() -> Services {
    Services::builder()
        .stream("numbers", "back", |_, mut send, mut recv| async move {
            let mut next = 0;
            while let Some(message) = recv.recv().await? {
                assert_eq!(message.payload, number(next), "in order and once");
                next += 1;
                send.send(message).await?;
            }
            Ok(())
        })
        .build()
        .expect("no mistake")
}

/// How many messages go each way between two of the server's deaths, each of which is in the middle of them.
const ROUND: u64 = 5_000;
const DEATHS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_redis_server_that_carries_it() {
    let Some(mut redis) = Redis::start() else { return };
    let place = redis.at("counter");
    let server = endpoint("server", services());
    server.listen(&place).await.expect("it is free");
    let client = endpoint("client", Services::default());
    let connection = client.connect(&place).await.expect("it answers");
    assert!(
        connection.link().peer.starts_with("redis "),
        "{:?}",
        connection.link()
    );

    let (mut send, mut recv) = connection.open(("numbers", "back")).await.expect("it is served");
    let rounds = Arc::new(Semaphore::new(1));
    let sender = tokio::spawn({
        let rounds = Arc::clone(&rounds);
        async move {
            for round in 0..u64::from(DEATHS) {
                rounds.acquire().await.expect("it is not closed").forget();
                for next in round * ROUND..(round + 1) * ROUND {
                    send.send(number(next)).await.expect("it goes on");
                }
            }
            send.finish();
        }
    });
    let mut next = 0;
    for death in 1..=DEATHS {
        while next < u64::from(death) * ROUND {
            let message = recv.recv().await.expect("it goes on").expect("it is not over");
            assert_eq!(message.payload, number(next), "in order and once");
            next += 1;
            if next % ROUND == ROUND / 2 {
                redis.kill();
                redis.restart();
            }
        }
        // What had arrived before the server died may have been the whole round; the next one is carried by another link.
        support::eventually(|| connection.link().resumes >= death && !connection.link().detached).await;
        rounds.add_permits(1);
    }
    assert!(
        recv.recv().await.expect("it goes on").is_none(),
        "more came than was sent"
    );
    sender.await.expect("it does not panic");
    assert!(
        connection.link().peer.starts_with("redis "),
        "{:?}",
        connection.link()
    );
}
