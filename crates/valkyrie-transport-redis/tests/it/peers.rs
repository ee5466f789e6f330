//! Peers that die, fall silent or do not keep to the protocol: spoken by hand through the broker.

use std::time::Duration;

use valkyrie_transport::{Link, Transport, TransportError, accept};
use valkyrie_transport_redis::{LinkFault, RedisTransport, WINDOW_BYTES};

use crate::ends::{fault, fault_of, read, write};
use crate::support::{Raw, Redis};

const OPEN: u8 = 1;
const ACCEPT: u8 = 2;
const BUSY: u8 = 3;
const DATA: u8 = 4;
const CREDIT: u8 = 5;
const END: u8 = 6;
const RESET: u8 = 7;

fn packet(kind: u8, number: u64, limit: u64, body: &[u8]) -> Vec<u8> {
    [
        &[b'V', 2, kind, 0][..],
        &number.to_be_bytes(),
        &limit.to_be_bytes(),
        body,
    ]
    .concat()
}

/// The other end of a link, spoken by hand.
struct ByHand<'a> {
    redis: &'a Redis,
    hears: Raw,
    /// Where our end is reached.
    to: String,
}

impl ByHand<'_> {
    fn say(&self, packet: &[u8]) -> i64 {
        self.redis.publish(&self.to, packet)
    }

    fn kind_heard(&mut self) -> u8 {
        self.hears.message()[2]
    }
}

fn channel_of(id: &[u8]) -> String {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("valkyrie.2.link.{digits}")
}

const OURS: [u8; 16] = [0xab; 16];

/// Dials a node that is spoken by hand.
async fn dial<'a>(transport: &RedisTransport, redis: &'a Redis) -> (Box<dyn Link>, ByHand<'a>) {
    let mut node = Raw::subscribe(redis, "valkyrie.2.node.kitchen");
    let hears = Raw::subscribe(redis, &channel_of(&OURS));
    let at = redis.at("kitchen");
    let (link, to) = tokio::join!(transport.dial(&at), async {
        let opening = tokio::task::spawn_blocking(move || node.message()).await.unwrap();
        assert_eq!(opening[..12], packet(OPEN, 0, 0, b"")[..12]);
        assert_eq!(opening[12..20], WINDOW_BYTES.to_be_bytes());
        let to = channel_of(&opening[20..]);
        assert_eq!(redis.publish(&to, &packet(ACCEPT, 0, 1000, &OURS)), 1);
        to
    });
    (link.unwrap(), ByHand { redis, hears, to })
}

fn quick() -> RedisTransport {
    RedisTransport::new().with_heartbeat(Duration::from_millis(50))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_process_ends_is_missed() {
    let Some(redis) = Redis::start() else { return };
    let at = redis.at("kitchen");
    let transport = quick();
    let mut listener = transport.listen(&at).await.unwrap();
    // Its runtime is what holds its connection; when that ends nothing says farewell.
    let theirs = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let dialling = theirs.spawn(async move { std::mem::forget(quick().dial(&at).await.unwrap()) });
    let mut accepted = accept(&mut *listener).await.unwrap();
    dialling.await.unwrap();
    theirs.shutdown_background();
    assert_eq!(fault(&mut *accepted).await, LinkFault::PeerGone);
    let error = write(&mut *accepted, b"hello?").await.unwrap_err();
    assert_eq!(fault_of(&error), LinkFault::PeerGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_falls_silent_is_given_up() {
    let Some(redis) = Redis::start() else { return };
    let (mut link, mut peer) = dial(&quick(), &redis).await;
    assert_eq!(
        fault(&mut *link).await,
        LinkFault::PeerSilent(Duration::from_millis(250))
    );
    // Until then it was told that we live, and at last that we do not wait any longer.
    let mut kind = peer.kind_heard();
    assert_eq!(kind, CREDIT);
    while kind == CREDIT {
        kind = peer.kind_heard();
    }
    assert_eq!(kind, RESET);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_protocol_ends_the_link_and_the_peer_is_told() {
    let Some(redis) = Redis::start() else { return };
    let transport = RedisTransport::new();
    let first = |kind, body: &[u8]| vec![packet(kind, 1, 1000, body)];
    let window = vec![0; WINDOW_BYTES as usize];
    let cases: Vec<(&str, Vec<Vec<u8>>, LinkFault)> = vec![
        (
            "a gap",
            vec![packet(DATA, 2, 1000, b"x")],
            LinkFault::Gap {
                expected: 1,
                arrived: 2,
            },
        ),
        (
            "a repetition",
            vec![packet(DATA, 0, 1000, b"x")],
            LinkFault::Gap {
                expected: 1,
                arrived: 0,
            },
        ),
        ("no bytes", first(DATA, b""), LinkFault::Malformed),
        ("another kind", first(99, b""), LinkFault::Malformed),
        ("an opening", first(OPEN, &OURS), LinkFault::Malformed),
        (
            "a smaller limit",
            vec![packet(CREDIT, 1, 999, b"")],
            LinkFault::Malformed,
        ),
        (
            "a cut header",
            vec![packet(DATA, 1, 1000, b"")[..19].to_vec()],
            LinkFault::Malformed,
        ),
        ("garbage", vec![vec![0xff; 100]], LinkFault::Malformed),
        ("nothing", vec![Vec::new()], LinkFault::Malformed),
        (
            "more than the window",
            vec![packet(DATA, 1, 1000, &window), packet(DATA, 2, 1000, b"x")],
            LinkFault::Overrun,
        ),
        (
            "bytes after the end",
            vec![packet(END, 1, 1000, b""), packet(DATA, 2, 1000, b"x")],
            LinkFault::Malformed,
        ),
    ];
    for (what, packets, expected) in cases {
        let (mut link, mut peer) = dial(&transport, &redis).await;
        for packet in &packets {
            assert_eq!(peer.say(packet), 1);
        }
        assert_eq!(peer.kind_heard(), RESET, "after {what}");
        let error = write(&mut *link, b"hello?").await.unwrap_err();
        assert_eq!(fault_of(&error), expected, "after {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_to_an_opening_is_ignored() {
    let Some(redis) = Redis::start() else { return };
    let (mut link, mut peer) = dial(&RedisTransport::new(), &redis).await;
    peer.say(&packet(ACCEPT, 0, 5, &[0xcd; 16]));
    peer.say(&packet(BUSY, 0, 0, b""));
    peer.say(&packet(DATA, 1, 1000, b"the first"));
    assert_eq!(read(&mut *link).await.unwrap(), &b"the first"[..]);
    write(&mut *link, b"heard").await.unwrap();
    assert_eq!(peer.hears.message()[20..], *b"heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_came_before_the_farewell_are_read_and_an_end_stays_an_end() {
    let Some(redis) = Redis::start() else { return };
    let (mut link, peer) = dial(&RedisTransport::new(), &redis).await;
    peer.say(&packet(DATA, 1, 1000, b"last words"));
    peer.say(&packet(END, 2, 1000, b""));
    peer.say(&packet(RESET, 3, 1000, b""));
    assert_eq!(read(&mut *link).await.unwrap(), &b"last words"[..]);
    for _ in 0..2 {
        assert!(read(&mut *link).await.unwrap().is_empty(), "the end is an end");
    }
    // The writer learns of the farewell when it has come; until then the window of 1,000 bytes is open.
    let error = loop {
        if let Err(error) = write(&mut *link, b"x").await {
            break error;
        }
    };
    assert_eq!(fault_of(&error), LinkFault::PeerGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_sent_than_the_peer_allows() {
    let Some(redis) = Redis::start() else { return };
    let (mut link, mut peer) = dial(&RedisTransport::new(), &redis).await;
    assert_eq!(write(&mut *link, &[1; 5000]).await.unwrap(), 1000);
    let heard = peer.hears.message();
    assert_eq!((heard[2], heard.len()), (DATA, 20 + 1000));
    let more = tokio::spawn(async move { (write(&mut *link, &[2; 5000]).await, link) });
    peer.say(&packet(CREDIT, 1, 1001, b""));
    let (taken, _link) = more.await.unwrap();
    assert_eq!(taken.unwrap(), 1, "one byte more was allowed");
    assert_eq!(peer.hears.message()[20..], [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_a_link_is_dropped_goes_before_the_farewell() {
    let Some(redis) = Redis::start() else { return };
    let (mut link, mut peer) = dial(&RedisTransport::new(), &redis).await;
    write(&mut *link, b"last words").await.unwrap();
    drop(link);
    let heard = peer.hears.message();
    assert_eq!((heard[2], &heard[20..]), (DATA, &b"last words"[..]));
    assert_eq!(peer.kind_heard(), RESET);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_busy_says_so() {
    let Some(redis) = Redis::start() else { return };
    let mut node = Raw::subscribe(&redis, "valkyrie.2.node.kitchen");
    let (at, transport) = (redis.at("kitchen"), RedisTransport::new());
    let (dialled, ()) = tokio::join!(transport.dial(&at), async {
        let opening = tokio::task::spawn_blocking(move || node.message()).await.unwrap();
        redis.publish(&channel_of(&opening[20..]), &packet(BUSY, 0, 0, b""));
    });
    let error = dialled.err().unwrap();
    assert!(matches!(error, TransportError::Busy { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_given_up() {
    let Some(redis) = Redis::start() else { return };
    let _node = Raw::subscribe(&redis, "valkyrie.2.node.kitchen");
    let transport = RedisTransport::new().with_connect_timeout(Duration::from_millis(200));
    let error = transport.dial(&redis.at("kitchen")).await.err().unwrap();
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_openings_is_bounded_and_good_diallers_are_served() {
    let Some(redis) = Redis::start() else { return };
    let (at, transport) = (redis.at("kitchen"), RedisTransport::new());
    let mut listener = transport.listen(&at).await.unwrap();
    let mut flood = Vec::new();
    for number in 0..2000_u128 {
        flood.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$23\r\nvalkyrie.2.node.kitchen\r\n$36\r\n");
        flood.extend_from_slice(&packet(OPEN, 0, 1000, &number.to_be_bytes()));
        flood.extend_from_slice(b"\r\n");
    }
    redis.send(&flood);
    let (dialled, accepted) = tokio::join!(
        async {
            // One that is turned away because the node is busy may try again, as any may.
            loop {
                match transport.dial(&at).await {
                    Ok(link) => return link,
                    Err(TransportError::Busy { .. } | TransportError::TimedOut { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        },
        accept(&mut *listener)
    );
    crate::ends::expect_alive(&mut *{ dialled }, &mut *accepted.unwrap()).await;
}
