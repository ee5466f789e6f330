//! What every measurement here stands on: a link, streams that send without end, and what arrives.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie::{Class, Connection, Services};

use crate::ends::{at, lock};
use crate::netns::{Cable, End, Missing};

/// The network between the two ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// What each end may send.
    pub(crate) kbit: u32,
    /// How long what waits in front of that waits at most; what does not fit is dropped.
    pub(crate) queue: Duration,
    /// How TCP finds out what it may send.
    pub(crate) control: &'static str,
}

impl Network {
    /// Lays it.
    pub(crate) fn lay(self) -> Result<Cable, Missing> {
        let cable = Cable::lay_halves(1500)?;
        for end in [End::Near, End::Far] {
            let bytes = u64::from(self.kbit) * self.queue.as_millis() as u64 / 8;
            cable.limit(end, self.kbit, bytes as u32)?;
            cable.congestion_control(end, self.control)?;
        }
        Ok(cable)
    }

    /// A capacity to configure for it: what is left when the headers of the packets are taken off, and a little for what was not
    /// counted.
    pub(crate) fn capacity(self) -> Option<NonZeroU64> {
        NonZeroU64::new(u64::from(self.kbit) * 1000 / 8 * CAPACITY_PERCENT / 100)
    }
}

/// What has arrived, and how long what was stamped took. Both ends are of one process and look at one clock.
pub(crate) struct Arrived {
    clock: Instant,
    /// Payload bytes by the mark of their sender, then by class.
    bytes: [[AtomicU64; Class::COUNT]; MARKS],
    /// How long each stamped message took, and what arrived meanwhile.
    stamped: Mutex<Vec<(Duration, u64)>>,
    /// The window of the job stream that last had a message.
    window: AtomicU64,
}

impl Arrived {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Instant::now(),
            bytes: Default::default(),
            stamped: Mutex::default(),
            window: AtomicU64::new(0),
        })
    }

    /// Bytes of a class from whoever marks them so.
    pub(crate) fn of(&self, mark: usize, class: Class) -> u64 {
        self.bytes[mark][class.index()].load(Ordering::Relaxed)
    }

    /// Bytes of a class from anybody.
    pub(crate) fn of_class(&self, class: Class) -> u64 {
        (0..MARKS).map(|mark| self.of(mark, class)).sum()
    }

    pub(crate) fn window(&self) -> u64 {
        self.window.load(Ordering::Relaxed)
    }

    fn all(&self) -> u64 {
        Class::ALL.into_iter().map(|class| self.of_class(class)).sum()
    }

    fn nanos(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// A message that says when it was sent, and how much had arrived then.
    pub(crate) fn stamp(&self) -> Bytes {
        let mut message = vec![0; STAMPED_BYTES];
        message[..8].copy_from_slice(&self.nanos().to_be_bytes());
        message[8..16].copy_from_slice(&self.all().to_be_bytes());
        Bytes::from(message)
    }

    /// What came of the stamped messages.
    pub(crate) fn delays(&self) -> Delays {
        let stamped = lock(&self.stamped);
        let mut delays = Delays {
            times: stamped.iter().map(|stamped| stamped.0).collect(),
            before: stamped.iter().map(|stamped| stamped.1).collect(),
        };
        delays.times.sort_unstable();
        delays.before.sort_unstable();
        delays
    }

    pub(crate) fn stamped(&self) -> usize {
        lock(&self.stamped).len()
    }

    /// Services that take all this in.
    pub(crate) fn services(self: &Arc<Self>) -> Services {
        let classes = Class::ALL.into_iter();
        let services = classes.fold(Services::builder(), |services, class| {
            let arrived = Arc::clone(self);
            services.stream("flow", class.name(), move |_, _send, mut recv| {
                let arrived = Arc::clone(&arrived);
                async move {
                    while let Ok(Some(message)) = recv.recv().await {
                        let mark = message.payload.first().map_or(0, |&mark| usize::from(mark));
                        let sum = &arrived.bytes[mark.min(MARKS - 1)][class.index()];
                        sum.fetch_add(message.payload.len() as u64, Ordering::Relaxed);
                        if class == Class::Job {
                            arrived
                                .window
                                .store(recv.window_bytes().into(), Ordering::Relaxed);
                        }
                    }
                    Ok(())
                }
            })
        });
        let arrived = Arc::clone(self);
        let services = services.notify("flow", "stamped", move |_, message| {
            let number = |place: usize| message.get(place..).and_then(<[u8]>::first_chunk).copied();
            let [sent, before] = [0, 8].map(|place| number(place).map_or(0, u64::from_be_bytes));
            let delay = Duration::from_nanos(arrived.nanos().saturating_sub(sent));
            let before = arrived.all().saturating_sub(before);
            lock(&arrived.stamped).push((delay, before));
            async {}
        });
        services.build().expect("no mistake")
    }
}

/// How long messages took, and how many bytes of others arrived between their sending and their arrival. Both are sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) times: Vec<Duration>,
    pub(crate) before: Vec<u64>,
}

impl Delays {
    /// What so many of a hundred did not exceed.
    pub(crate) fn time(&self, percent: usize) -> Duration {
        at(&self.times, 10 * percent)
    }

    pub(crate) fn before(&self, percent: usize) -> u64 {
        at(&self.before, 10 * percent)
    }
}

/// Opens so many streams of a class and sends on them, until the connection ends, as much as goes.
pub(crate) async fn saturate(connection: &Connection, class: Class, streams: usize, mark: usize) {
    for _ in 0..streams {
        let opened = connection.open(("flow", class.name())).class(class).await;
        let (mut send, _recv) = opened.expect("it is taken");
        tokio::spawn(async move {
            let block = Bytes::from(vec![mark as u8; BLOCK_BYTES]);
            while send.send(block.clone()).await.is_ok() {
                if class == Class::Bulk {
                    // Bulk is never blocked but dropped when it is too much; whoever has nothing else to do gives way.
                    tokio::time::sleep(BULK_PAUSE).await;
                }
            }
        });
    }
}

/// Sends a stamped message of the critical class every so often, so many in all, and waits until the last has come.
pub(crate) async fn stamp(connection: &Connection, arrived: &Arrived, messages: usize) {
    let mut ticks = tokio::time::interval(BETWEEN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let before = arrived.stamped();
    for _ in 0..messages {
        ticks.tick().await;
        let sent = connection.notify(("flow", "stamped"), arrived.stamp());
        sent.class(Class::Critical).await.expect("it goes");
    }
    while arrived.stamped() < before + messages {
        ticks.tick().await;
    }
}

/// Bits a second, in millions.
pub(crate) fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What is read off once in so long.
pub(crate) const TENTH: Duration = Duration::from_millis(100);

/// One message of those that fill the link: a frame.
pub(crate) const BLOCK_BYTES: usize = 16 * 1024;

/// A frame with its header is this and little more. At 100 Mbit/s it takes 1.31 ms.
pub(crate) const FRAGMENT_BYTES: u64 = 16 * 1024;

/// How many senders are told from each other.
pub(crate) const MARKS: usize = 4;

/// Between two stamped messages.
pub(crate) const BETWEEN: Duration = Duration::from_millis(5);

const STAMPED_BYTES: usize = 64;

/// Four streams that send a block each so often offer 260 Mbit/s.
const BULK_PAUSE: Duration = Duration::from_millis(2);

/// Of 1,514 bytes on the cable, which `tbf` counts, a session has 1,390 to 1,420, by transport: 92 to 94 %.
const CAPACITY_PERCENT: u64 = 90;
