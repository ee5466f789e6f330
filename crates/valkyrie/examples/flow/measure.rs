//! What every measurement here stands on: a link, endpoints at its two ends, streams that send without end, and what arrives.

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;
use valkyrie::proto::Config;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Class, Connection, Endpoint, EndpointBuilder, Locator, Qos, Services};

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

/// The two endpoints of a measurement.
pub(crate) struct Ends {
    pub(crate) services: Services,
    /// Of both.
    pub(crate) config: Config,
    /// Of the one that dials.
    pub(crate) qos: Qos,
    /// Where the other listens, and where it is dialled: not the same where something lies between.
    pub(crate) listen: Locator,
    pub(crate) dial: Locator,
}

impl Ends {
    /// Endpoints as they are without configuration, of whom the far one has these services.
    pub(crate) fn new(cable: &Cable, scheme: &str, services: Services) -> Self {
        let host = cable.ipv4(End::Far);
        let locator: Locator = format!("{scheme}://{host}:7000").parse().expect("a locator");
        Self {
            services,
            config: Config::default(),
            qos: Qos::default(),
            listen: locator.clone(),
            dial: locator,
        }
    }

    /// Has `work` done at the near end, with its endpoint and the place of the far one.
    pub(crate) fn run<F>(
        self,
        cable: &Cable,
        work: impl FnOnce(Endpoint, Locator) -> F + Send + 'static,
    ) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (ready, is_ready) = oneshot::channel();
        let (over, is_over) = oneshot::channel::<()>();
        let (config, listen, services) = (self.config.clone(), self.listen, self.services);
        let server = cable.run_at(End::Far, async move {
            let server = endpoint("receiver").config(config).services(services);
            let server = server.build().expect("no mistake");
            server.listen(&listen).await.expect("it is free");
            ready.send(()).expect("the dialler waits");
            let _ = is_over.await;
        });
        let dialler = cable.run_at(End::Near, async move {
            is_ready.await.expect("it listens");
            let client = endpoint("sender").config(self.config).qos(self.qos);
            let client = client.build().expect("no mistake");
            let result = work(client, self.dial).await;
            let _ = over.send(());
            result
        });
        let result = dialler.result();
        server.result();
        result
    }
}

/// An endpoint that trusts whom it meets, for a network that nobody else is on.
fn endpoint(name: &str) -> EndpointBuilder {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let identity = Identity::generate(name, UnixTime::from_secs(now.as_secs())).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    valkyrie::endpoint()
        .security(Security::new(Live::new(identity), Live::new(trust)))
        // Nobody is let into the system class who is not named, unless everybody is.
        .policy(AccessPolicy::allow_all())
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
        at(&self.times, percent)
    }

    pub(crate) fn before(&self, percent: usize) -> u64 {
        at(&self.before, percent)
    }
}

/// The value that so many of a hundred do not exceed.
pub(crate) fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
