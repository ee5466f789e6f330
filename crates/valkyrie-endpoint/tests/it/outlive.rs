//! A session outlives its link: each message arrives once and in order, over whichever links it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_endpoint::{AccessPolicy, CloseReason, Connection, Endpoint, EndpointBuilder, Services};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport_tcp::TcpTransport;
use valkyrie_transport_uds::UdsTransport;

use crate::breakable::Breaker;
use crate::support::{echo, within};

const KEPT: Duration = Duration::from_secs(30);

/// A server and a client whose links all break at the breaker's word.
struct Fragile {
    server: Endpoint,
    client: Endpoint,
    breaker: Breaker,
}

impl Fragile {
    fn new(services: Services, transports: impl Fn(EndpointBuilder, &Breaker) -> EndpointBuilder) -> Self {
        let breaker = Breaker::default();
        let policy = AccessPolicy::allow_authenticated();
        let build = |services: Services| {
            let builder = Endpoint::builder().services(services).policy(policy.clone());
            transports(builder, &breaker).resume_for(KEPT).build().unwrap()
        };
        Self {
            server: build(services),
            client: build(Services::default()),
            breaker,
        }
    }

    fn over_tcp(services: Services) -> Self {
        Self::new(services, |builder, breaker| {
            builder.transport(breaker.over(TcpTransport::new()))
        })
    }

    /// Waits until the connection goes on over another link than the `resumes` before it.
    async fn resumed(connection: &Connection, resumes: u32) {
        within(async {
            while connection.link().resumes <= resumes || connection.link().detached {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A stream whose handler sends numbers of its own while it checks those that come.
fn counting(wanted: u64) -> Services {
    Services::builder()
        .unary("echo", "echo", |_, payload| async move { Ok(payload) })
        .stream("count", "both", move |_, mut send, mut recv| async move {
            let sender = tokio::spawn(async move {
                for number in 0..wanted {
                    send.send(Bytes::copy_from_slice(&number.to_be_bytes())).await?;
                }
                send.finish();
                Ok::<_, valkyrie_endpoint::SendError>(())
            });
            let mut next = 0;
            while let Some(message) = recv.recv().await? {
                assert_eq!(message.payload[..], u64::to_be_bytes(next), "in order and once");
                next += 1;
            }
            assert_eq!(next, wanted);
            sender.await.expect("the sender does not panic")?;
            Ok(())
        })
        .build()
        .unwrap()
}

/// Sends and receives `wanted` numbers; `disturb` is told of each that arrives. Gives the pauses between two of them.
async fn count(connection: &Connection, wanted: u64, mut disturb: impl FnMut(u64)) -> Vec<Duration> {
    let (mut send, mut recv) = connection.open(("count", "both")).await.unwrap();
    let sender = tokio::spawn(async move {
        for number in 0..wanted {
            send.send(Bytes::copy_from_slice(&number.to_be_bytes()))
                .await
                .unwrap();
        }
        send.finish();
    });
    let mut pauses = Vec::new();
    let mut last = Instant::now();
    let mut next = 0;
    while let Some(message) = recv.recv().await.unwrap() {
        assert_eq!(message.payload[..], u64::to_be_bytes(next), "in order and once");
        next += 1;
        disturb(next);
        let now = Instant::now();
        if now - last > Duration::from_millis(1) {
            pauses.push(now - last);
        }
        last = now;
    }
    assert_eq!(next, wanted);
    sender.await.unwrap();
    pauses
}

#[tokio::test]
async fn a_call_survives_the_link_it_was_made_on() {
    let asked = Arc::new(tokio::sync::Notify::new());
    let answer = Arc::new(tokio::sync::Notify::new());
    let (told, held) = (Arc::clone(&asked), Arc::clone(&answer));
    let services = Services::builder().unary("slow", "echo", move |_, payload| {
        let (told, held) = (Arc::clone(&told), Arc::clone(&held));
        async move {
            told.notify_one();
            held.notified().await;
            Ok(payload)
        }
    });
    let fragile = Fragile::over_tcp(services.build().unwrap());
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    let calling = connection.clone();
    let call = tokio::spawn(async move { calling.call(("slow", "echo"), "once").await });
    within(asked.notified()).await;
    assert!(fragile.breaker.break_all() > 0);
    answer.notify_one();
    assert_eq!(within(call).await.unwrap().unwrap(), "once");
    Fragile::resumed(&connection, 0).await;
    assert_eq!(connection.link().resumes, 1);
}

#[tokio::test]
async fn every_message_arrives_once_however_often_the_link_breaks() {
    let wanted = 20_000;
    let fragile = Fragile::over_tcp(counting(wanted));
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    within(count(&connection, wanted, |number| {
        if number % 500 == 0 {
            fragile.breaker.break_all();
        }
    }))
    .await;
    Fragile::resumed(&connection, 0).await;
    assert!(connection.link().resumes >= 2, "{:?}", connection.link());
    assert_eq!(
        within(connection.call(("echo", "echo"), "after")).await.unwrap(),
        "after"
    );
}

#[tokio::test]
async fn it_goes_on_over_another_transport_and_moves_to_the_cheapest() {
    let folder = tempfile();
    let uds = format!("uds://{}/v.sock", folder.display());
    let fragile = Fragile::new(echo(), |builder, breaker| {
        builder
            .transport(breaker.over(TcpTransport::new()))
            .transport(breaker.over(UdsTransport::new()))
    });
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    fragile.server.listen(&uds).await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    Fragile::resumed(&connection, 0).await;
    assert!(
        connection.link().peer.starts_with("uds"),
        "{:?}",
        connection.link()
    );
    assert_eq!(
        within(connection.call(("echo", "echo"), "here")).await.unwrap(),
        "here"
    );
    let _ = std::fs::remove_file(folder.join("v.sock"));
    let resumes = connection.link().resumes;
    fragile.breaker.break_all();
    Fragile::resumed(&connection, resumes).await;
    assert!(
        connection.link().peer.starts_with("tcp"),
        "{:?}",
        connection.link()
    );
    assert_eq!(
        within(connection.call(("echo", "echo"), "there")).await.unwrap(),
        "there"
    );
}

fn tempfile() -> std::path::PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "valkyrie-outlive-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn a_server_that_is_gone_ends_the_connection() {
    let fragile = Fragile::over_tcp(echo());
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    drop(fragile.server);
    fragile.breaker.break_all();
    assert_eq!(within(connection.closed()).await, CloseReason::LinkLost);
}

#[tokio::test]
async fn nobody_else_continues_a_session() {
    let fragile = Fragile::over_tcp(echo());
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    let stranger = Endpoint::builder()
        .transport(TcpTransport::new())
        .build()
        .unwrap();
    let other = stranger.connect(&place).await.unwrap();
    // A session that ends is not there to be continued; the other one is untouched.
    other.close();
    within(other.closed()).await;
    assert_eq!(
        within(connection.call(("echo", "echo"), "still")).await.unwrap(),
        "still"
    );
}

#[tokio::test]
async fn lanes_carry_calls_and_streams() {
    let wanted = 2_000;
    let transport = MemTransport::new().with_lanes(5);
    let policy = AccessPolicy::allow_all();
    let build = |services: Services| {
        let builder = Endpoint::builder().services(services).policy(policy.clone());
        let builder = builder.transport(transport.clone());
        builder
            .plain(valkyrie_endpoint::PlainRule::Always)
            .build()
            .unwrap()
    };
    let (server, client) = (build(counting(wanted)), build(Services::default()));
    server.listen("mem://lanes").await.unwrap();
    let connection = client.connect("mem://lanes").await.unwrap();
    assert_eq!(connection.link().lanes, 5);
    within(count(&connection, wanted, |_| {})).await;
    let large = Bytes::from(vec![7; 3_000_000]);
    let answer = within(connection.call(("echo", "echo"), large.clone()))
        .await
        .unwrap();
    assert_eq!(answer, large);
    within(connection.drain()).await;
}

/// The whole promise at its full size: a million messages each way, a thousand breaks, every transport there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
async fn a_million_messages_and_a_thousand_breaks() {
    let wanted = 1_000_000;
    let folder = tempfile();
    let mem = MemTransport::new();
    let fragile = Fragile::new(counting(wanted), |builder, breaker| {
        builder
            .transport(breaker.over(TcpTransport::new()))
            .transport(breaker.over(UdsTransport::new()))
            .transport(breaker.over(mem.clone()))
    });
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    fragile
        .server
        .listen(format!("uds://{}/v.sock", folder.display()).as_str())
        .await
        .unwrap();
    fragile.server.listen("mem://million").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    let mut breaks = 0;
    let mut due = fastrand::u64(1..2000);
    let mut pauses = count(&connection, wanted, |number| {
        if number >= due && breaks < 1000 && fragile.breaker.break_all() > 0 {
            breaks += 1;
            due = number + fastrand::u64(1..700);
        }
    })
    .await;
    pauses.sort_unstable();
    let at = |share: f64| pauses[((pauses.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{breaks} breaks, {} resumes; pauses above 1 ms: {}, median {:?}, p99 {:?}, longest {:?}",
        connection.link().resumes,
        pauses.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[tokio::test]
async fn a_handler_may_ask_for_the_link_that_it_was_called_over() {
    let services =
        Services::builder().unary(
            "what",
            "link",
            |context: valkyrie_endpoint::Context, _| async move {
                Ok(Bytes::from(context.connection().link().peer))
            },
        );
    let fragile = Fragile::over_tcp(services.build().unwrap());
    let place = fragile.server.listen("tcp://127.0.0.1:0").await.unwrap();
    let connection = fragile.client.connect(&place).await.unwrap();
    let answer = within(connection.call(("what", "link"), "")).await.unwrap();
    assert!(answer.starts_with(b"tcp 127.0.0.1:"), "{answer:?}");
}
