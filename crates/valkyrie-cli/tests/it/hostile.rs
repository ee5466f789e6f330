//! A server among attackers: everything that a socket can be made to carry is thrown at a real `valkyrie serve`, while
//! a good client's calls all succeed and the server's memory and descriptors stay bounded.
//!
//! Five seconds of it run with the other tests; `cargo test -p valkyrie-cli -- --ignored a_minute` runs a minute.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use valkyrie::Method;
use valkyrie::frame::{Batch, Extensions, Flags, Frame, Header, Kind, MAX_PAYLOAD_BYTES, Side, StreamId};
use valkyrie::proto::{Config, Session};

use crate::support::Server;

/// The server takes plain connections, so that what attackers say goes past its door.
#[test]
fn a_good_client_is_served_among_hostile_ones() {
    besiege(&takes_plain(), Duration::from_secs(5));
}

/// The same attackers before a door that is shut to them.
#[test]
fn a_good_client_is_served_among_hostile_ones_that_are_not_let_in() {
    besiege(&Server::tcp(), Duration::from_secs(5));
}

#[test]
#[ignore = "takes a minute"]
fn a_good_client_is_served_among_hostile_ones_for_a_minute() {
    besiege(&takes_plain(), Duration::from_secs(60));
}

fn takes_plain() -> Server {
    Server::start(&["--listen", "tcp://127.0.0.1:0", "--plain"])
}

/// The attackers' greeting and requests are good ones: what they attack with goes past the server's door.
#[test]
fn what_the_attackers_say_is_understood() {
    let server = takes_plain();
    let address = server.locator().strip_prefix("tcp://").expect("tcp");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let attack = [
        hello(),
        request("echo", "echo", 1 << 16, b"hi"),
        open("stream", 1003),
        encode(
            Header::new(Kind::DATA, StreamId::new(1003)),
            &Extensions::EMPTY,
            b"ho",
        ),
    ];
    stream.write_all(&attack.concat()).expect("bytes");
    let mut input = BytesMut::new();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        while let Some(frame) = Frame::decode(&mut input, MAX_PAYLOAD_BYTES).expect("frames") {
            if matches!(frame.header.kind, Kind::RESPONSE | Kind::DATA) {
                answers.push(frame.payload);
            }
        }
        if answers.len() < 2 {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "the server hung up after {answers:?}");
            input.extend_from_slice(&buffer[..read]);
        }
    }
    answers.sort();
    assert_eq!(answers, ["hi", "ho"]);
}

fn besiege(server: &Server, time: Duration) {
    let address = server.locator().strip_prefix("tcp://").expect("tcp").to_owned();
    let siege = Arc::new(Siege {
        address,
        over: Mutex::new(false),
        ended: Condvar::new(),
        attacks: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let before = Footprint::of(server.pid());

    let good = GoodClient::start(server.locator());
    let attackers: Vec<_> = ATTACKS
        .iter()
        .enumerate()
        .map(|(number, &attack)| {
            let siege = Arc::clone(&siege);
            thread::spawn(move || {
                let mut random = Random(0x5EED + number as u64);
                while !siege.is_over() {
                    // A refused or broken connection is what an attacker has to expect.
                    let _ = attack(&siege, &mut random);
                    siege.attacks.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let begun = Instant::now();
    let mut most = before;
    // On a machine that has more to do it takes longer until there were enough calls and attacks to tell.
    let enough = || good.calls() >= CALLS_MIN && siege.is_enough();
    while begun.elapsed() < time || (!enough() && begun.elapsed() < time + ENOUGH_WITHIN) {
        siege.pause(LOOK_EVERY);
        most = most.max(Footprint::of(server.pid()));
    }
    siege.end();
    let served = good.finish();
    for attacker in attackers {
        attacker.join().expect("the attacks themselves do not fail");
    }

    let attacks = siege.attacks.load(Ordering::Relaxed);
    let megabytes = siege.bytes.load(Ordering::Relaxed) as f64 / 1e6;
    let after = settled(server.pid(), before);
    let story = format!(
        "{attacks} attacks with {megabytes:.1} MB in {time:?}; {} good calls, the slowest {:?}; \
         memory {} KiB before, {} KiB at most, {} KiB after; descriptors {}, {}, {}",
        served.calls,
        served.slowest,
        before.resident_kib,
        most.resident_kib,
        after.resident_kib,
        before.descriptors,
        most.descriptors,
        after.descriptors,
    );
    assert!(siege.is_enough(), "a siege is more than that: {story}");
    assert!(served.calls >= CALLS_MIN, "{story}");
    assert!(most.resident_kib < RESIDENT_KIB_MAX, "{story}");
    assert!(most.descriptors < before.descriptors + DESCRIPTORS_MAX, "{story}");
    assert!(
        after.descriptors <= before.descriptors,
        "every connection is let go: {story}"
    );
    crate::support::tell(&story);
}

/// What the attackers share.
struct Siege {
    address: String,
    over: Mutex<bool>,
    ended: Condvar,
    attacks: AtomicU64,
    bytes: AtomicU64,
}

impl Siege {
    fn is_over(&self) -> bool {
        *self.over.lock().expect("no attacker panics")
    }

    /// Whether it was more than each attack once.
    fn is_enough(&self) -> bool {
        let (attacks, bytes) = (&self.attacks, &self.bytes);
        attacks.load(Ordering::Relaxed) > ATTACKS.len() as u64 && bytes.load(Ordering::Relaxed) > BYTES_MIN
    }

    fn end(&self) {
        *self.over.lock().expect("no attacker panics") = true;
        self.ended.notify_all();
    }

    /// Lets time pass, which ends with the siege at the latest.
    fn pause(&self, time: Duration) {
        let over = self.over.lock().expect("no attacker panics");
        let _ = self.ended.wait_timeout_while(over, time, |over| !*over);
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A connection whose session is open as far as the server can tell.
    fn greet(&self) -> std::io::Result<TcpStream> {
        let mut stream = self.connect()?;
        self.send(&mut stream, &hello())?;
        Ok(stream)
    }

    fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes)?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sends one batch after another until the server has had enough, and never reads.
    fn flood(&self, stream: &mut TcpStream, mut batch: impl FnMut(u32) -> Vec<u8>) -> std::io::Result<()> {
        let begun = Instant::now();
        let mut round = 1;
        while !self.is_over() && begun.elapsed() < FLOOD {
            self.send(stream, &batch(round))?;
            round += 1;
        }
        Ok(())
    }
}

type Attack = fn(&Siege, &mut Random) -> std::io::Result<()>;

/// Each runs on a thread of its own, again and again.
const ATTACKS: &[Attack] = &[
    random_bytes,
    random_after_hello,
    mutated_frames,
    truncated,
    oversized,
    slow,
    half_open,
    never_reads,
    request_flood,
    stream_flood,
    cancel_flood,
    ping_flood,
    idle_flood,
    fragments_without_end,
    plain_http,
    connect_and_reset,
];

fn random_bytes(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.connect()?;
    siege.send(&mut stream, &random.bytes(4096))?;
    drain(&mut stream)
}

fn random_after_hello(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.send(&mut stream, &random.bytes(65536))?;
    drain(&mut stream)
}

/// Good frames in any order with a few bits turned.
fn mutated_frames(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    for _ in 0..64 {
        let mut frame = any_frame(random);
        if random.below(2) == 0 {
            let at = random.below(frame.len());
            frame[at] ^= 1 << random.below(8);
        }
        siege.send(&mut stream, &frame)?;
    }
    drain(&mut stream)
}

fn truncated(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = if random.below(2) == 0 {
        siege.connect()?
    } else {
        siege.greet()?
    };
    let frame = any_frame(random);
    siege.send(&mut stream, &frame[..random.below(frame.len())])?;
    stream.shutdown(Shutdown::Write)?;
    drain(&mut stream)
}

/// Headers that announce far more than comes, before and after the opening.
fn oversized(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = if random.below(2) == 0 {
        siege.connect()?
    } else {
        siege.greet()?
    };
    let length = [
        16 * 1024 + 1,
        1 << 20,
        MAX_PAYLOAD_BYTES,
        MAX_PAYLOAD_BYTES + 1,
        u32::MAX,
    ][random.below(5)];
    let mut header = Header::new(Kind::REQUEST, StreamId::new(1001)).encode();
    header[12..16].copy_from_slice(&length.to_be_bytes());
    siege.send(&mut stream, &header)?;
    siege.send(&mut stream, &random.bytes(1024))?;
    drain(&mut stream)
}

/// A byte at a time, with pauses that are the attack.
fn slow(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.connect()?;
    for byte in hello() {
        if siege.is_over() {
            break;
        }
        siege.send(&mut stream, &[byte])?;
        siege.pause(Duration::from_millis(10));
    }
    Ok(())
}

/// Many connections that say nothing, or say HELLO and no more.
fn half_open(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..HALF_OPEN {
        held.push(if random.below(2) == 0 {
            siege.connect()?
        } else {
            siege.greet()?
        });
        if random.below(4) == 0
            && let Some(stream) = held.last()
        {
            stream.shutdown(Shutdown::Write)?;
        }
    }
    siege.pause(Duration::from_secs(2));
    Ok(())
}

/// Asks for answers and takes none, so that the server's own sending is stuck.
fn never_reads(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.flood(&mut stream, |round| {
        // Slots that are used again once their answers have gone out, as far as an attacker can tell.
        let slots = (0..32).map(|slot| 32 * (round % 100) + slot);
        slots
            .flat_map(|slot| request("echo", "echo", (round << 16) | slot, &[7; 8192]))
            .collect()
    })
}

/// Requests that take an hour, in every slot there is.
fn request_flood(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.flood(&mut stream, |round| {
        (0..SLOTS)
            .flat_map(|slot| request("echo", "delay", (round << 16) | slot, b"1h"))
            .collect()
    })
}

/// All the streams that may be open, then more.
fn stream_flood(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.flood(&mut stream, |round| {
        (0..100)
            .flat_map(|number| open("stream", 1003 + 2 * (100 * round.min(STREAM_BATCHES) + number)))
            .collect()
    })
}

/// Requests and their cancellations.
fn cancel_flood(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.flood(&mut stream, |round| {
        let mut batch = Vec::new();
        for slot in 0..256 {
            let correlation = (round << 16) | (256 * (round % 16)) | slot;
            batch.extend(request("echo", "delay", correlation, b"1h"));
            let mut reset = Header::new(Kind::RESET, StreamId::new(1001));
            reset.correlation = correlation;
            batch.extend(encode(reset, &Extensions::EMPTY, &[0, 0, 1, 44, 0, 0, 0, 0]));
        }
        batch
    })
}

fn ping_flood(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    let ping = encode(
        Header::new(Kind::PING, StreamId::CONTROL),
        &Extensions::EMPTY,
        &[0; 8],
    );
    siege.flood(&mut stream, |_| ping.repeat(256))
}

/// Frames that mean nothing.
fn idle_flood(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    let grease = encode(
        Header::new(Kind::GREASE[0], StreamId::CONTROL),
        &Extensions::EMPTY,
        &[],
    );
    siege.flood(&mut stream, |_| grease.repeat(256))
}

/// Messages that are begun on ever more streams and never ended.
fn fragments_without_end(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.greet()?;
    siege.flood(&mut stream, |round| {
        let id = 1001 + 2 * round;
        let mut data = Header::new(Kind::DATA, StreamId::new(id));
        data.flags = Flags::MORE;
        let fragment = encode(data, &Extensions::EMPTY, &[7; 16 * 1024]);
        [open("discard", id), fragment.repeat(100)].concat()
    })
}

fn plain_http(siege: &Siege, _: &mut Random) -> std::io::Result<()> {
    let mut stream = siege.connect()?;
    siege.send(&mut stream, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    drain(&mut stream)
}

fn connect_and_reset(siege: &Siege, random: &mut Random) -> std::io::Result<()> {
    let mut stream = if random.below(2) == 0 {
        siege.connect()?
    } else {
        siege.greet()?
    };
    // A socket closed with unread bytes in it says RST instead of FIN.
    siege.send(&mut stream, &any_frame(random))?;
    stream.peek(&mut [0])?;
    Ok(())
}

/// Reads what comes until the server hangs up.
fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a good dialler sends first.
fn hello() -> Vec<u8> {
    let now = Instant::now();
    let mut session = Session::new(Side::Dialer, Arc::new(Config::default()), now);
    let mut batch = Batch::default();
    session.poll_transmit(now, &mut batch, 4096);
    let len = batch.remaining();
    batch.copy_to_bytes(len).to_vec()
}

fn request(service: &str, method: &str, correlation: u32, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(Kind::REQUEST, StreamId::new(1001));
    header.correlation = correlation;
    encode(header, &route(service, method), payload)
}

/// A stream of the service echo.
fn open(method: &str, id: u32) -> Vec<u8> {
    encode(
        Header::new(Kind::OPEN, StreamId::new(id)),
        &route("echo", method),
        &[],
    )
}

fn route(service: &str, method: &str) -> Extensions {
    let route = Extensions::builder()
        .route(service, method)
        .and_then(|builder| builder.finish());
    route.expect("a route")
}

fn any_frame(random: &mut Random) -> Vec<u8> {
    let kind = Kind::KNOWN[random.below(Kind::KNOWN.len())];
    let id = [0, 1, 2, 100, 101, 1000, 1001, 1003, 10_001, 10_003][random.below(10)];
    let mut header = Header::new(kind, StreamId::new(id));
    header.correlation = random.below(8) as u32;
    header.flags = [Flags::NONE, Flags::ACK, Flags::EOS, Flags::MORE, Flags::CMP][random.below(5)];
    let len = random.below(64);
    encode(header, &Extensions::EMPTY, &random.bytes(len))
}

fn encode(mut header: Header, extensions: &Extensions, payload: &[u8]) -> Vec<u8> {
    header.flags |= extensions.flags();
    let mut batch = Batch::default();
    batch
        .push(header, extensions.as_bytes(), Bytes::copy_from_slice(payload))
        .expect("a frame");
    let len = batch.remaining();
    batch.copy_to_bytes(len).to_vec()
}

/// A client that does everything right and expects the same.
struct GoodClient {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    thread: thread::JoinHandle<Served>,
}

struct Served {
    calls: u64,
    slowest: Duration,
}

impl GoodClient {
    fn start(locator: &str) -> Self {
        let (over, locator) = (Arc::new(AtomicBool::new(false)), locator.to_owned());
        let calls = Arc::new(AtomicU64::new(0));
        let (seen, counted) = (Arc::clone(&over), Arc::clone(&calls));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(good_calls(&locator, &seen, &counted))
        });
        Self { over, calls, thread }
    }

    /// Calls that were answered so far.
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn finish(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every good call succeeds")
    }
}

/// Calls on one connection that lasts, and now and then on a new one. Every call must succeed.
async fn good_calls(locator: &str, over: &AtomicBool, calls: &AtomicU64) -> Served {
    let endpoint = valkyrie::endpoint().build().expect("an endpoint");
    let lasting = endpoint.connect(locator).await.expect("the server is there");
    let echo = Method::new("echo", "echo").expect("a method");
    let mut served = Served {
        calls: 0,
        slowest: Duration::ZERO,
    };
    while !over.load(Ordering::Relaxed) {
        let fresh = match served.calls % 32 {
            0 => Some(
                endpoint
                    .connect(locator)
                    .await
                    .expect("a new connection among attackers"),
            ),
            _ => None,
        };
        let connection = fresh.as_ref().unwrap_or(&lasting);
        let payload = Bytes::from(vec![served.calls as u8; 256]);
        let begun = Instant::now();
        let answer = connection
            .call(&echo, payload.clone())
            .timeout(GOOD_PATIENCE)
            .await;
        assert_eq!(answer.expect("a good call among attackers"), payload);
        served.slowest = served.slowest.max(begun.elapsed());
        served.calls += 1;
        calls.store(served.calls, Ordering::Relaxed);
    }
    endpoint.drain(PATIENCE).await;
    served
}

/// What the server's process holds.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    resident_kib: u64,
    descriptors: usize,
}

impl Footprint {
    fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server lives");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a VmRSS");
        let resident_kib = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("the server lives")
            .count();
        Self {
            resident_kib,
            descriptors,
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// The footprint once connections that are still closing have had their time.
fn settled(pid: u32, before: Footprint) -> Footprint {
    let begun = Instant::now();
    loop {
        let now = Footprint::of(pid);
        if now.descriptors <= before.descriptors || begun.elapsed() > SETTLE_MAX {
            return now;
        }
        // Nobody tells when a process of another has closed its sockets.
        thread::park_timeout(LOOK_EVERY);
    }
}

/// xorshift64: the same attacks every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// How long an attacker's operations may hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a good call may take on a machine whose every core is under attack.
const GOOD_PATIENCE: Duration = Duration::from_secs(120);

/// How long one flood goes on.
const FLOOD: Duration = Duration::from_secs(1);

/// Exchanges that one attacker opens at once: all that there are, but for debug builds. There the session checks
/// everything it holds after each step, and the test would measure the checks.
const SLOTS: u32 = if cfg!(debug_assertions) { 256 } else { 4096 };

/// Hundreds of streams that one attacker opens before it opens the last again: more than there may be, but for debug
/// builds, for the same reason.
const STREAM_BATCHES: u32 = if cfg!(debug_assertions) { 1 } else { 40 };

/// What the good client must get done in the shortest siege. How fast it is depends on the machine, which it shares
/// with the attackers; that no call fails does not.
const CALLS_MIN: u64 = 32;

/// What the attackers must get sent.
const BYTES_MIN: u64 = 1_000_000;

/// How much longer than was asked for that may take.
const ENOUGH_WITHIN: Duration = Duration::from_secs(240);

/// Connections that one attacker holds open.
const HALF_OPEN: usize = 64;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the attackers hold at once, and what of their earlier connections may still be closing.
const DESCRIPTORS_MAX: usize = 1024;

/// A quarter of a GiB: a fraction of what sixteen attackers could fill if buffers followed their wishes.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;

/// The opening's timeout and the keepalive's together are less.
const SETTLE_MAX: Duration = Duration::from_secs(120);
