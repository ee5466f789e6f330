//! Streams of one class beside a plain TCP connection: alone, with it, and alone again.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use valkyrie::Class;

use crate::ends::{Ends, at, lock};
use crate::measure::{Arrived, Network, TENTH, mbit, milliseconds, saturate};
use crate::netns::{Cable, End, Missing, Running};

/// What came of one transport and class.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    /// `None` where there was nothing but the other connection.
    pub(crate) class: Option<Class>,
    /// Seconds of a phase.
    pub(crate) seconds: u64,
    pub(crate) tenths: Vec<Tenth>,
}

/// A tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tenth {
    /// Bytes of ours.
    pub(crate) ours: u64,
    /// Bytes of the other connection.
    pub(crate) other: u64,
    /// What a packet of nobody's took there and back: the median.
    pub(crate) delay: Duration,
}

/// What a phase comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    /// In Mbit/s.
    pub(crate) ours: f64,
    pub(crate) other: f64,
    /// The median of the tenths.
    pub(crate) delay: Duration,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Alone,
    Beside,
    AloneAgain,
}

impl Run {
    fn phases(&self) -> &'static [Phase] {
        phases(self.class)
    }

    /// Of a phase, but for its first second and a half: until then what was under way is of the one before, and whoever is
    /// alone now has not found out.
    pub(crate) fn got(&self, phase: Phase) -> Got {
        let place = self.phases().iter().position(|&other| other == phase);
        let phase = place.unwrap_or(usize::MAX / 10_000);
        let length = self.seconds as usize * 10;
        let tenths = self.tenths.iter().skip(phase * length + 15).take(length - 15);
        let time = TENTH * (length as u32 - 15);
        let mut delays: Vec<Duration> = tenths.clone().map(|tenth| tenth.delay).collect();
        delays.sort_unstable();
        Got {
            ours: mbit(tenths.clone().map(|tenth| tenth.ours).sum(), time),
            other: mbit(tenths.map(|tenth| tenth.other).sum(), time),
            delay: at(&delays, 500),
        }
    }
}

/// Where there is nobody beside the other connection it needs one phase alone.
fn phases(class: Option<Class>) -> &'static [Phase] {
    match class {
        Some(_) => &[Phase::Alone, Phase::Beside, Phase::AloneAgain],
        None => &[Phase::Beside],
    }
}

/// A line for each run.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| beside a TCP connection | over | alone, Mbit/s | delay, ms | beside: ours | the other's | delay, ms | alone again |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for run in runs {
        let [before, beside, after] =
            [Phase::Alone, Phase::Beside, Phase::AloneAgain].map(|phase| run.got(phase));
        let (class, over) = match run.class {
            Some(class) => (class.name(), run.scheme),
            None => ("nothing", ""),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {class} | {over} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            before.ours,
            milliseconds(before.delay),
            beside.ours,
            beside.other,
            milliseconds(beside.delay),
            after.ours
        );
    }
    text
}

/// Sends streams of `class` over `scheme`, three phases of so many seconds, with a TCP connection of somebody else's in the second.
pub(crate) fn measure(
    scheme: &'static str,
    class: Option<Class>,
    network: Network,
    seconds: u64,
) -> Result<Run, Missing> {
    let cable = network.lay()?;
    let others = Others::begin(&cable);
    let arrived = Arrived::new();
    let tenths = Ends::new(&cable, scheme, arrived.services()).run(&cable, {
        let (arrived, others) = (Arc::clone(&arrived), others.handle());
        move |client, place| async move {
            let connection = client.connect(&place).await.expect("it answers");
            if let Some(class) = class {
                saturate(&connection, class, STREAMS, 0).await;
            }
            let ours = || class.map_or(0, |class| arrived.of_class(class));
            let begun = Instant::now();
            let (mut tenths, mut before) = (Vec::new(), (ours(), 0));
            for &phase in phases(class) {
                others.compete.send_replace(phase == Phase::Beside);
                for _ in 0..seconds * 10 {
                    let next = TENTH * (tenths.len() as u32 + 1);
                    tokio::time::sleep_until((begun + next).into()).await;
                    let now = (ours(), others.received.load(Ordering::Relaxed));
                    let delay = others.delay().or(tenths.last().map(|tenth: &Tenth| tenth.delay));
                    tenths.push(Tenth {
                        ours: now.0 - before.0,
                        other: now.1 - before.1,
                        delay: delay.unwrap_or_default(),
                    });
                    before = now;
                }
            }
            connection.close();
            tenths
        }
    });
    Ok(Run {
        scheme,
        class,
        seconds,
        tenths,
    })
}

/// Who else is on the link: a TCP connection that sends as much as it may, and small packets that go there and back.
struct Others {
    handle: Handle,
    _running: [Running<()>; 2],
}

#[derive(Clone)]
struct Handle {
    compete: Arc<watch::Sender<bool>>,
    received: Arc<AtomicU64>,
    delays: Arc<Mutex<Vec<Duration>>>,
}

impl Handle {
    /// The median of those that have come back since it was asked last.
    fn delay(&self) -> Option<Duration> {
        let mut delays = std::mem::take(&mut *lock(&self.delays));
        delays.sort_unstable();
        (!delays.is_empty()).then(|| at(&delays, 500))
    }
}

impl Others {
    fn begin(cable: &Cable) -> Self {
        let handle = Handle {
            compete: Arc::new(watch::Sender::new(false)),
            received: Arc::default(),
            delays: Arc::default(),
        };
        let host = cable.ipv4(End::Far);
        let [bulk, echo] = [7001, 7002].map(|port| SocketAddr::new(host, port));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let received = Arc::clone(&handle.received);
        let far = cable.run_at(End::Far, async move {
            let listener = TcpListener::bind(bulk).await.expect("it is free");
            let socket = UdpSocket::bind(echo).await.expect("it is free");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(sink(stream, Arc::clone(&received)));
                }
            });
            tokio::spawn(async move {
                let mut packet = [0; PROBE_BYTES];
                while let Ok((bytes, from)) = socket.recv_from(&mut packet).await {
                    let _ = socket.send_to(&packet[..bytes], from).await;
                }
            });
            let _ = ready.send(());
        });
        let _ = is_ready.recv();
        let (mut compete, delays) = (handle.compete.subscribe(), Arc::clone(&handle.delays));
        let near = cable.run_at(End::Near, async move {
            tokio::spawn(async move {
                while compete.wait_for(|&compete| compete).await.is_ok() {
                    let stream = TcpStream::connect(bulk).await.expect("it listens");
                    let _ = tokio::select! {
                        sent = pour(stream) => sent,
                        _ = compete.wait_for(|&compete| !compete) => Ok(()),
                    };
                }
            });
            tokio::spawn(probe(echo, delays));
        });
        Self {
            handle,
            _running: [far, near],
        }
    }

    fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Sends without end. What the system still holds when this is dropped is thrown away.
async fn pour(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_zero_linger()?;
    let block = vec![0; 64 * 1024];
    loop {
        stream.write_all(&block).await?;
    }
}

async fn sink(mut stream: TcpStream, received: Arc<AtomicU64>) {
    let mut block = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = stream.read(&mut block).await {
        received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Sends a small packet every so often and notes how long each that comes back took.
async fn probe(echo: SocketAddr, delays: Arc<Mutex<Vec<Duration>>>) {
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a port is free");
    socket.connect(echo).await.expect("an address");
    let (clock, mut packet) = (Instant::now(), [0; PROBE_BYTES]);
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = clock.elapsed().as_nanos() as u64;
                let _ = socket.send(&now.to_be_bytes()).await;
            }
            Ok(_) = socket.recv(&mut packet) => {
                let sent = Duration::from_nanos(u64::from_be_bytes(packet));
                lock(&delays).push(clock.elapsed().saturating_sub(sent));
            }
        }
    }
}

/// 50 Mbit/s, and the queue that a cheap router has in front of it.
pub(crate) const NETWORK: Network = Network {
    kbit: 50_000,
    queue: Duration::from_millis(100),
    control: "cubic",
};

const STREAMS: usize = 4;
const PROBE_BYTES: usize = 8;
const PROBE_EVERY: Duration = Duration::from_millis(10);
