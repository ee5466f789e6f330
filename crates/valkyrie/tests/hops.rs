//! One stream hops over every transport in turn while its links are broken: each message arrives once and in order.

#[path = "../../valkyrie-endpoint/tests/it/breakable.rs"]
mod breakable;
#[cfg(feature = "rdma")]
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-rdma/tests/support/mod.rs"]
mod rdma;
#[path = "../../valkyrie-transport-redis/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use breakable::Breaker;
use bytes::Bytes;
use support::Redis;
use tokio::sync::Semaphore;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::transport::tls::{Certificates, Roots};
use valkyrie::{
    AccessPolicy, Connection, Endpoint, HttpTransport, Locator, MemTransport, QuicTransport, RedisTransport,
    Services, TcpTransport, UdsTransport, WsTransport,
};

/// Longer than anything here takes, on a machine that does much else or is emulated.
const PATIENCE: Duration = Duration::from_secs(600);

/// Messages that are under way at most, each way. Without a bound a whole run fits into the buffers between two breaks.
const UNDER_WAY_MAX: usize = 256;

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn endpoint(breaker: &Breaker, mem: &MemTransport, services: Services) -> Endpoint {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate("hops", UnixTime::from_secs(now.as_secs())).expect("random bytes");
    // WebSocket may come from anywhere, by its proxies, even on this machine.
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    let builder = Endpoint::builder();
    #[cfg(feature = "rdma")]
    let builder = builder.transport(breaker.over(valkyrie::RdmaTransport::new()));
    builder
        .security(Security::new(Live::new(identity), Live::new(trust)))
        .transport(breaker.over(TcpTransport::new()))
        .transport(breaker.over(UdsTransport::new()))
        .transport(breaker.over(QuicTransport::new()))
        .transport(breaker.over(WsTransport::new()))
        .transport(breaker.over(WsTransport::secure(Certificates::default(), Roots::default())))
        .transport(breaker.over(HttpTransport::new()))
        .transport(breaker.over(HttpTransport::secure(Certificates::default(), Roots::default())))
        .transport(breaker.over(mem.clone()))
        .transport(breaker.over(RedisTransport::new()))
        .services(services)
        .policy(AccessPolicy::allow_authenticated())
        .resume_for(Duration::from_secs(60))
        .build()
        .expect("no mistake")
}

/// Echoes numbers, each once and in order.
fn services(wanted: u64) -> Services {
    Services::builder()
        .stream("numbers", "both", move |_, mut send, mut recv| async move {
            let mut next = 0;
            while let Some(message) = recv.recv().await? {
                assert_eq!(message.payload, number(next), "in order and once");
                next += 1;
                send.send(message).await?;
            }
            assert_eq!(next, wanted);
            Ok(())
        })
        .build()
        .expect("no mistake")
}

/// What a run came to.
struct Hops {
    /// How often a link was broken that carried the stream, by scheme, in the order in which they were hopped over.
    broken: Vec<(&'static str, u32)>,
    pauses: Vec<Duration>,
}

/// Sends `wanted` numbers there and back, and breaks the link, whichever it is, at random: after `every` messages on average.
async fn hop(wanted: u64, every: u64, seed: u64) -> Hops {
    let mut random = fastrand::Rng::with_seed(seed);
    let breaker = Breaker::default();
    let mem = MemTransport::new();
    let redis = Redis::start();
    let server = endpoint(&breaker, &mem, services(wanted));
    let client = endpoint(&breaker, &mem, Services::default());
    let folder = std::env::temp_dir().join(format!("valkyrie-hops-{}-{wanted}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut places: Vec<Locator> = [
        "tcp://127.0.0.1:0",
        "quic://127.0.0.1:0",
        "ws://127.0.0.1:0/",
        &format!("uds://{}/h.sock", folder.display()),
        "https://127.0.0.1:0",
        "wss://127.0.0.1:0/",
        "http://127.0.0.1:0",
        "mem://hops",
    ]
    .map(|place| place.parse().expect("a locator"))
    .into();
    // Where there is a server, and a device.
    places.extend(redis.as_ref().map(|redis| redis.at("hops")));
    places.extend(rdma_place());
    let mut first: Option<Locator> = None;
    for place in &places {
        let bound = server.listen(place).await.expect("it is free");
        first.get_or_insert(bound);
    }
    let schemes: Vec<&'static str> = places.iter().map(scheme).collect();
    breaker.only(schemes[0]);
    let connection = client
        .connect(first.expect("there are some"))
        .await
        .expect("it answers");
    let (mut send, mut recv) = connection.open(("numbers", "both")).await.expect("it is served");
    let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let sender = tokio::spawn({
        let room = Arc::clone(&room);
        async move {
            for next in 0..wanted {
                room.acquire().await.expect("it is not closed").forget();
                send.send(number(next)).await.expect("it goes on");
            }
            send.finish();
        }
    });
    let mut hops = Hops {
        broken: schemes.iter().map(|&scheme| (scheme, 0)).collect(),
        pauses: Vec::new(),
    };
    let (mut turn, mut resumes) = (0, 0);
    let mut due = random.u64(1..=2 * every);
    let mut last = Instant::now();
    let mut next = 0;
    while let Some(message) = recv.recv().await.expect("it goes on") {
        assert_eq!(message.payload, number(next), "in order and once");
        next += 1;
        room.add_permits(1);
        let now = Instant::now();
        if now - last > Duration::from_millis(1) {
            hops.pauses.push(now - last);
        }
        last = now;
        if next >= due && has_arrived(&connection, schemes[turn], resumes) {
            hops.broken[turn].1 += 1;
            resumes = connection.link().resumes;
            turn = (turn + 1) % schemes.len();
            due = next + random.u64(1..=2 * every);
            breaker.only(schemes[turn]);
            breaker.break_all();
        } else if next >= due + 50 * every {
            // A dial that was under way when its turn ended has brought it elsewhere.
            due = next;
            breaker.break_all();
        }
    }
    assert_eq!(next, wanted);
    sender.await.expect("it does not panic");
    let _ = std::fs::remove_dir_all(&folder);
    hops
}

#[cfg(feature = "rdma")]
fn rdma_place() -> Option<Locator> {
    rdma::device().map(rdma::anywhere)
}

#[cfg(not(feature = "rdma"))]
fn rdma_place() -> Option<Locator> {
    None
}

/// The scheme as [`Breaker::only`] takes it.
fn scheme(place: &Locator) -> &'static str {
    const ALL: [&str; 10] = [
        "tcp", "quic", "ws", "uds", "https", "wss", "http", "mem", "redis", "rdma",
    ];
    let found = ALL.into_iter().find(|&scheme| scheme == place.scheme());
    found.expect("one of those above")
}

/// Whether the stream goes on over the transport whose turn it is.
fn has_arrived(connection: &Connection, scheme: &str, resumes: u32) -> bool {
    let link = connection.link();
    let moved = link.resumes > resumes || link.resumes == 0;
    moved && !link.detached && link.peer.split([' ', ':']).next() == Some(scheme)
}

#[tokio::test]
async fn a_stream_hops_over_every_transport_in_turn() {
    let seed = fastrand::u64(..);
    // A device in software is on a machine that is itself software.
    let (wanted, every) = match rdma_place() {
        Some(_) => (3_000, 30),
        None => (30_000, 300),
    };
    let hops = tokio::time::timeout(PATIENCE, hop(wanted, every, seed))
        .await
        .unwrap_or_else(|_| panic!("it ends, seed {seed}"));
    let broken = &hops.broken;
    assert!(
        broken.iter().all(|&(_, times)| times >= 1),
        "{broken:?}, seed {seed}"
    );
}

/// The whole promise at its full size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
async fn a_million_messages_over_every_transport() {
    let seed = fastrand::u64(..);
    let mut hops = hop(1_000_000, 450, seed).await;
    hops.pauses.sort_unstable();
    let at = |share: f64| hops.pauses[((hops.pauses.len() - 1) as f64 * share) as usize];
    let breaks = hops.broken.iter().map(|&(_, times)| times).sum::<u32>();
    eprintln!(
        "seed {seed}: {breaks} breaks: {:?}; {} pauses above 1 ms, median {:?}, p99 {:?}, longest {:?}",
        hops.broken,
        hops.pauses.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(breaks >= 1000, "{breaks} breaks, seed {seed}");
}
