//! Somebody in between, and strangers by the hundred: nothing they do runs a handler or keeps honest peers out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use valkyrie_endpoint::{
    CallError, CloseReason, ConnectError, Connection, Endpoint, ErrorCode, HandshakeError, HandshakeLimits,
    Security, Services,
};
use valkyrie_security::SuiteId;
use valkyrie_security::channel::{ChannelConfig, RekeyLimits};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{Action, BoxFuture, Link, Listener, Locator, Transport, TransportError};

use crate::people::{Kept, Middle, Person, Way, clear_frames, until, who};
use crate::support::within;

struct Attacked {
    mem: MemTransport,
    ada: Person,
    server: Endpoint,
    calls: Arc<AtomicUsize>,
}

impl Attacked {
    async fn new() -> Self {
        let mem = MemTransport::new();
        let (ada, bob) = Person::friends("ada", "bob");
        let calls = Arc::new(AtomicUsize::new(0));
        let server = bob.endpoint(mem.clone(), who(&calls));
        server.listen("mem://attacked").await.unwrap();
        Self {
            mem,
            ada,
            server,
            calls,
        }
    }

    async fn connect(&self, transport: Middle) -> Result<Connection, ConnectError> {
        let client = self.ada.endpoint(transport, Services::default());
        let connection = within(client.connect("mem://attacked")).await;
        // The endpoint goes, the connection lives.
        drop(client);
        connection
    }

    /// What goes each way up to and with the answer of one call.
    async fn clean(&self) -> [Vec<u8>; 2] {
        let middle = Middle::new(&self.mem);
        let connection = self.connect(middle.clone()).await.unwrap();
        within(connection.call(("who", "am-i"), "")).await.unwrap();
        [middle.seen(Way::There), middle.seen(Way::Back)]
    }
}

fn mean(error: &ConnectError) -> &HandshakeError {
    match error {
        ConnectError::Handshake { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_is_flipped_anywhere_ends_the_attempt_or_changes_nothing() {
    let attacked = Attacked::new().await;
    let clean = attacked.clean().await;
    let mut harmless = 0;
    for (way, seen) in [(Way::There, &clean[0]), (Way::Back, &clean[1])] {
        let frames = clear_frames(seen);
        assert_eq!(frames.len(), if way == Way::There { 2 } else { 1 });
        // Every flight, its first and last bytes, and what lies between.
        let edges = frames
            .iter()
            .flat_map(|frame| [frame.start + 20, frame.start + 26, frame.end - 1, frame.end]);
        let between = (0..seen.len()).step_by(53);
        for offset in edges.chain(between) {
            let ran = attacked.calls.load(Ordering::SeqCst);
            let connected = attacked
                .connect(Middle::flipping(&attacked.mem, way, offset))
                .await;
            let outcome = match &connected {
                Ok(connection) => within(connection.call(("who", "am-i"), "")).await.map(drop),
                Err(_) => {
                    assert_eq!(attacked.calls.load(Ordering::SeqCst), ran, "{way:?} {offset}");
                    continue;
                }
            };
            let in_clear_header = frames
                .iter()
                .any(|frame| (frame.start..frame.start + 20).contains(&offset));
            let reason = match outcome {
                Ok(()) if in_clear_header => {
                    // Fields of a frame in clear that say nothing, such as its priority.
                    harmless += 1;
                    continue;
                }
                // What follows the request, an answer to a ping, has no part in the call; the connection ends all the same.
                Ok(()) => within(connected.unwrap().closed()).await,
                Err(CallError::Lost(reason)) => reason,
                Err(error) => panic!("{way:?} {offset}: {error}"),
            };
            assert!(
                matches!(&reason, CloseReason::Broken(failure) | CloseReason::Refused(failure)
                    if failure.code == ErrorCode::INTEGRITY),
                "{way:?} {offset}: {reason}"
            );
        }
    }
    assert!(harmless < 5, "{harmless}");
    // The server is as it was.
    attacked.connect(Middle::new(&attacked.mem)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_anywhere_ends_the_attempt() {
    let attacked = Attacked::new().await;
    let clean = attacked.clean().await;
    let before = attacked.calls.load(Ordering::SeqCst);
    for (way, seen) in [(Way::There, &clean[0]), (Way::Back, &clean[1])] {
        for offset in (0..seen.len()).step_by(71) {
            let Ok(connection) = attacked
                .connect(Middle::cutting(&attacked.mem, way, offset))
                .await
            else {
                continue;
            };
            let error = within(connection.call(("who", "am-i"), "")).await.unwrap_err();
            // Not an orderly end, whatever was cut off.
            assert!(
                matches!(
                    error,
                    CallError::Lost(CloseReason::LinkLost) | CallError::NotSent(_)
                ),
                "{way:?} {offset}: {error}"
            );
        }
    }
    // A call whose answer was cut off has run; one whose request was has not.
    assert!(attacked.calls.load(Ordering::SeqCst) - before <= clean[1].len() / 71 + 1);
    attacked.connect(Middle::new(&attacked.mem)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn suites_that_are_edited_on_their_way_make_nobody_weaker() {
    let attacked = Attacked::new().await;
    let clean = attacked.clean().await;
    let first = &clean[0][clear_frames(&clean[0])[0].clone()];
    let offered = first[24] as usize;
    assert!(offered >= 2, "there is something to edit");
    let suites = first[25..25 + offered].to_vec();
    // Every suite in the list becomes another one, known, unknown, classical; the same at its head.
    for place in 0..offered {
        for other in [2_u8, 4, 17, 20, 64, 99]
            .into_iter()
            .filter(|other| !suites.contains(other))
        {
            let middle = Middle::editing(&attacked.mem, move |way, at, byte| {
                if way == Way::There && at == 25 + place {
                    *byte = other;
                }
                Kept::Yes
            });
            let error = attacked.connect(middle).await.unwrap_err();
            let error = mean(&error);
            assert!(
                error.is_violation() || matches!(error, HandshakeError::RefusedInClear(_)),
                "{error}"
            );
        }
    }
    // The suite of the message itself: the acceptor asks for the one it prefers, or what was sent does not verify.
    for other in [2_u8, 4, 17] {
        let middle = Middle::editing(&attacked.mem, move |way, at, byte| {
            if way == Way::There && at == 23 {
                *byte = other;
            }
            Kept::Yes
        });
        if let Ok(connection) = attacked.connect(middle).await {
            assert_eq!(connection.identity().suite(), Some(SuiteId(suites[0])));
        }
    }
    assert_eq!(attacked.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_record_that_is_changed_in_mid_connection_ends_it_with_integrity() {
    for way in [Way::There, Way::Back] {
        let attacked = Attacked::new().await;
        let flip = Arc::new(AtomicUsize::new(usize::MAX));
        let at = Arc::clone(&flip);
        let middle = Middle::editing(&attacked.mem, move |at_way, offset, byte| {
            if at_way == way && offset == at.load(Ordering::SeqCst) {
                *byte ^= 1;
            }
            Kept::Yes
        });
        let connection = attacked.connect(middle.clone()).await.unwrap();
        within(connection.call(("who", "am-i"), "")).await.unwrap();
        let ran = attacked.calls.load(Ordering::SeqCst);
        flip.store(middle.seen(way).len() + 9, Ordering::SeqCst);
        let error = within(connection.call(("who", "am-i"), "")).await.unwrap_err();
        let CallError::Lost(reason) = error else {
            panic!("{error}")
        };
        let (broken, failure) = match reason {
            CloseReason::Broken(failure) => (true, failure),
            CloseReason::Refused(failure) => (false, failure),
            other => panic!("{other}"),
        };
        assert_eq!(failure.code, ErrorCode::INTEGRITY);
        // Whoever reads notices, and tells the other.
        assert_eq!(broken, way == Way::Back);
        let violations = attacked.server.security_stats().security_violations;
        if way == Way::There {
            assert_eq!(
                attacked.calls.load(Ordering::SeqCst),
                ran,
                "nothing of the record was used"
            );
            assert_eq!(violations, 1);
        }
    }
}

#[tokio::test]
async fn records_that_are_repeated_left_out_or_swapped_end_the_connection() {
    // The second message of the session in place of the first is all three at once: the middle swaps them.
    let attacked = Attacked::new().await;
    let connection = attacked.connect(Middle::new(&attacked.mem)).await.unwrap();
    within(connection.call(("who", "am-i"), "")).await.unwrap();
    let shift = Arc::new(AtomicUsize::new(usize::MAX));
    let held = Arc::new(std::sync::Mutex::new(Vec::<u8>::new()));
    let middle = {
        let (shift, held) = (Arc::clone(&shift), Arc::clone(&held));
        Middle::editing(&attacked.mem, move |way, at, byte| {
            let from = shift.load(Ordering::SeqCst);
            if way == Way::There && at >= from {
                let held = held.lock().unwrap();
                if let Some(earlier) = held.get(at - from) {
                    *byte = *earlier;
                }
            }
            Kept::Yes
        })
    };
    let connection = attacked.connect(middle.clone()).await.unwrap();
    let before = middle.seen(Way::There).len();
    within(connection.call(("who", "am-i"), "first")).await.unwrap();
    let record = middle.seen(Way::There)[before..].to_vec();
    let ran = attacked.calls.load(Ordering::SeqCst);
    // The record of the first call takes the place of the second's.
    *held.lock().unwrap() = record;
    shift.store(middle.seen(Way::There).len(), Ordering::SeqCst);
    let error = within(connection.call(("who", "am-i"), "other"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::Lost(CloseReason::Refused(failure)) if failure.code == ErrorCode::INTEGRITY),
        "{error}"
    );
    assert_eq!(attacked.calls.load(Ordering::SeqCst), ran);
}

#[tokio::test]
async fn keys_change_in_mid_traffic_without_a_pause() {
    let mem = MemTransport::new();
    let (mut ada, mut bob) = Person::friends("ada", "bob");
    for person in [&mut ada, &mut bob] {
        let mut config = ChannelConfig::default();
        config.rekey = RekeyLimits {
            records: 40,
            ..RekeyLimits::default()
        };
        person.security = Security::with_channel(person.security.clone(), config);
    }
    let server = bob.endpoint(mem.clone(), who(&Arc::default()));
    server.listen("mem://attacked").await.unwrap();
    let client = ada.endpoint(mem, Services::default());
    let connection = within(client.connect("mem://attacked")).await.unwrap();
    // A call is a record each way: some twenty-five epochs.
    for number in 0..1000_u32 {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        assert_eq!(
            within(connection.call(("echo", "echo"), payload.clone()))
                .await
                .unwrap(),
            payload
        );
    }
    let large = Bytes::from(vec![7; 3_000_000]);
    assert_eq!(
        within(connection.call(("echo", "echo"), large.clone()))
            .await
            .unwrap(),
        large
    );
}

#[tokio::test]
async fn strangers_who_only_begin_do_not_keep_honest_peers_out() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let mut limits = HandshakeLimits::default();
    limits.half_open_max = 64;
    limits.cookies_above = 8;
    let builder = bob.builder(mem.clone()).services(who(&Arc::default()));
    let server = builder.handshake_limits(limits).build().unwrap();
    let place = server.listen("mem://attacked").await.unwrap();
    let client = ada.endpoint(mem.clone(), Services::default());
    let mut strangers: Vec<Box<dyn Link>> = Vec::new();
    for round in 0..40 {
        while strangers.len() < 50 * (round + 1) {
            match mem.dial(&place).await {
                Ok(link) => strangers.push(link),
                // As many as may wait to be accepted do.
                Err(_) => tokio::task::yield_now().await,
            }
        }
        // An honest peer is quicker than any table of 64 is filled again.
        let connection = within(client.connect(&place)).await.unwrap();
        assert_eq!(within(connection.call(("echo", "echo"), "x")).await.unwrap(), "x");
        assert!(server.security_stats().admission.half_open <= 64);
    }
    let stats = server.security_stats().admission;
    assert!(stats.evicted > 1500, "{stats:?}");
    // Whoever had to make way was hung up on.
    let oldest = &mut strangers[0];
    let mut said = bytes::BytesMut::new();
    let lane = valkyrie_transport::Lane::FIRST;
    let read = within(std::future::poll_fn(|cx| oldest.poll_read(cx, lane, &mut said))).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(strangers);
    until(|| server.security_stats().admission.half_open == 0).await;
}

/// Memory links whose listener says once that the machine is short, when it is told to.
#[derive(Clone)]
struct Short {
    mem: MemTransport,
    short: Arc<AtomicBool>,
}

struct ShortListener {
    inner: Box<dyn Listener>,
    short: Arc<AtomicBool>,
}

impl Transport for Short {
    fn scheme(&self) -> &'static str {
        self.mem.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        self.mem.dial(locator)
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let (inner, short) = (self.mem.listen(locator).await?, Arc::clone(&self.short));
            Ok(Box::new(ShortListener { inner, short }) as Box<dyn Listener>)
        })
    }
}

impl Listener for ShortListener {
    fn locator(&self) -> &Locator {
        self.inner.locator()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        if self.short.swap(false, Ordering::SeqCst) {
            return Poll::Ready(Err(TransportError::Exhausted {
                locator: self.locator().clone(),
                action: Action::Accept,
                source: std::io::Error::from_raw_os_error(24),
            }));
        }
        self.inner.poll_accept(cx)
    }
}

#[tokio::test]
async fn strangers_make_way_where_the_machine_has_no_room_for_more_and_honest_peers_come_in() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let short = Arc::new(AtomicBool::new(false));
    let transport = Short {
        mem: mem.clone(),
        short: Arc::clone(&short),
    };
    let server = bob
        .builder(transport)
        .services(who(&Arc::default()))
        .build()
        .unwrap();
    let place = server.listen("mem://attacked").await.unwrap();
    let client = ada.endpoint(mem.clone(), Services::default());
    let regular = within(client.connect(&place)).await.unwrap();
    let mut strangers: Vec<Box<dyn Link>> = Vec::new();
    for count in 1..=20 {
        strangers.push(mem.dial(&place).await.unwrap());
        until(|| server.security_stats().admission.half_open == count).await;
    }
    short.store(true, Ordering::SeqCst);
    // The accept loop hears of the shortage when the next one comes, and goes on.
    within(client.connect(&place)).await.unwrap();
    let connection = within(client.connect(&place)).await.unwrap();
    assert_eq!(server.security_stats().admission.shortages, 1);
    assert_eq!(within(connection.call(("echo", "echo"), "x")).await.unwrap(), "x");
    assert_eq!(within(regular.call(("echo", "echo"), "x")).await.unwrap(), "x");
    let stats = server.security_stats().admission;
    assert!(
        (10..=11).contains(&stats.evicted) && stats.half_open <= 10,
        "{stats:?}"
    );
    let mut said = bytes::BytesMut::new();
    let lane = valkyrie_transport::Lane::FIRST;
    let read = within(std::future::poll_fn(|cx| {
        strangers[0].poll_read(cx, lane, &mut said)
    }))
    .await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let newest = strangers.last_mut().unwrap();
    let read = std::future::poll_fn(|cx| Poll::Ready(newest.poll_read(cx, lane, &mut said))).await;
    assert!(read.is_pending(), "{read:?}");
}

#[tokio::test]
async fn a_server_under_load_asks_for_a_cookie_and_honest_peers_bring_it() {
    let mem = MemTransport::new();
    let far = Middle::far(&mem);
    let (ada, bob) = Person::friends("ada", "bob");
    let mut limits = HandshakeLimits::default();
    limits.cookies_above = 0;
    let builder = bob.builder(far.clone()).services(who(&Arc::default()));
    let server = builder.handshake_limits(limits).build().unwrap();
    server.listen("mem://attacked").await.unwrap();
    let client = ada.endpoint(far, Services::default());
    for round in 1..=3 {
        let connection = within(client.connect("mem://attacked")).await.unwrap();
        assert_eq!(within(connection.call(("echo", "echo"), "x")).await.unwrap(), "x");
        let stats = server.security_stats().admission;
        assert_eq!((stats.challenged, stats.computed), (round, round), "{stats:?}");
    }
}
