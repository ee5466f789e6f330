//! One measurement: a connection between two namespaces, bulk that never ends, and small messages of two other classes
//! that are timed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use valkyrie::{Class, Connection, Method, Services};

use crate::ends::{Ends, at, lock};
use crate::netns::{Cable, End, Missing};

/// The network between the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// What each end may send.
    pub(crate) kbit: u32,
    /// How much waits in front of that before it is dropped.
    pub(crate) queue_bytes: u32,
    /// How much of what arrives at either end is dropped.
    pub(crate) loss_percent: f64,
}

impl Network {
    /// Lays it.
    pub(crate) fn lay(self) -> Result<Cable, Missing> {
        let cable = Cable::lay(1500)?;
        for end in [End::Near, End::Far] {
            cable.limit(end, self.kbit, self.queue_bytes)?;
            if self.loss_percent > 0.0 {
                cable.lose(end, self.loss_percent)?;
            }
        }
        Ok(cable)
    }
}

/// What came of measuring, of one transport over one network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// From the call of the sender to the handler of the receiver, by the class of [`TIMED`].
    pub(crate) delays: [Vec<Duration>; TIMED.len()],
    /// How many bytes of bulk arrived in that time, by class: what the message waited for, whatever the machine was doing.
    pub(crate) before: [Vec<u64>; TIMED.len()],
    /// Bytes of bulk that handlers of the receiver have had, and in which time.
    pub(crate) bulk_bytes: u64,
    pub(crate) time: Duration,
}

impl Figures {
    /// These and those of another round. Delays are sorted after this.
    pub(crate) fn add(&mut self, other: Self) {
        for (delays, more) in self.delays.iter_mut().zip(other.delays) {
            delays.extend(more);
            delays.sort_unstable();
        }
        for (before, more) in self.before.iter_mut().zip(other.before) {
            before.extend(more);
            before.sort_unstable();
        }
        self.bulk_bytes += other.bulk_bytes;
        self.time += other.time;
    }

    /// The delay of `class` that so many of a thousand do not exceed.
    pub(crate) fn delay(&self, class: usize, permille: usize) -> Duration {
        at(&self.delays[class], permille)
    }

    /// The same of the bulk that went before.
    pub(crate) fn bulk_before(&self, class: usize, permille: usize) -> u64 {
        at(&self.before[class], permille)
    }

    /// Bits of bulk in a second.
    pub(crate) fn bulk_rate(&self) -> f64 {
        self.bulk_bytes as f64 * 8.0 / self.time.as_secs_f64()
    }
}

/// The classes whose messages are timed.
pub(crate) const TIMED: [Class; 2] = [Class::Critical, Class::Job];

/// Sends over `scheme` until `messages` of each timed class have arrived, beside as much bulk as there is room for.
pub(crate) fn measure(cable: &Cable, scheme: &str, messages: usize) -> Figures {
    let arrived = Arc::new(Arrived::new());
    let ends = Ends::new(cable, scheme, arrived.services());
    ends.run(cable, move |client, place| async move {
        let connection = client.connect(&place).await.expect("it answers");
        send(&connection, &arrived, messages).await
    })
}

async fn send(connection: &Connection, arrived: &Arrived, messages: usize) -> Figures {
    let bulk = Method::new("loss", "bulk").expect("a name");
    let timed = TIMED.map(|class| Method::new("loss", &class.to_string()).expect("a name"));
    let block = Bytes::from(vec![0; BULK_BYTES]);
    let mut senders = JoinSet::new();
    for _ in 0..BULK_CALLS {
        let (connection, bulk, block) = (connection.clone(), bulk.clone(), block.clone());
        senders.spawn(async move {
            loop {
                let sent = connection.call(&bulk, block.clone()).class(Class::Bulk).await;
                sent.expect("it is taken");
            }
        });
    }
    // The wire is full when the first of the last have come.
    let _ = arrived
        .bulk
        .subscribe()
        .wait_for(|&bytes| bytes >= (BULK_CALLS * BULK_BYTES) as u64)
        .await;
    let (began, before) = (Instant::now(), *arrived.bulk.borrow());
    let mut ticks = interval(BETWEEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..messages {
        ticks.tick().await;
        for (class, method) in TIMED.into_iter().zip(&timed) {
            let sent = connection.notify(method, arrived.stamp()).class(class).await;
            sent.expect("it goes");
        }
    }
    let bulk_bytes = *arrived.bulk.borrow() - before;
    let time = began.elapsed();
    let all = (TIMED.len() * messages) as u64;
    let _ = arrived.count.subscribe().wait_for(|&count| count == all).await;
    senders.abort_all();
    let mut figures = Figures {
        bulk_bytes,
        time,
        ..Figures::default()
    };
    for (class, timed) in arrived.timed.iter().enumerate() {
        for (delay, before) in &*lock(timed) {
            figures.delays[class].push(*delay);
            figures.before[class].push(*before);
        }
    }
    figures
}

/// What the receiver has had. Both ends are of one process and look at one clock.
struct Arrived {
    clock: Instant,
    /// How long each message took, and how much bulk arrived meanwhile.
    timed: [Mutex<Vec<(Duration, u64)>>; TIMED.len()],
    count: watch::Sender<u64>,
    bulk: watch::Sender<u64>,
}

impl Arrived {
    fn new() -> Self {
        Self {
            clock: Instant::now(),
            timed: Default::default(),
            count: watch::Sender::new(0),
            bulk: watch::Sender::new(0),
        }
    }

    /// A message that says when it was sent, and how much bulk had arrived then.
    fn stamp(&self) -> Bytes {
        let mut message = vec![0; TIMED_BYTES];
        message[..8].copy_from_slice(&self.nanos().to_be_bytes());
        message[8..16].copy_from_slice(&self.bulk.borrow().to_be_bytes());
        Bytes::from(message)
    }

    fn nanos(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn note(&self, class: usize, message: &[u8]) {
        let number = |place| message.get(place..).and_then(<[u8]>::first_chunk).copied();
        let [sent, bulk] = [0, 8].map(|place| number(place).map_or(0, u64::from_be_bytes));
        let delay = Duration::from_nanos(self.nanos().saturating_sub(sent));
        let before = self.bulk.borrow().saturating_sub(bulk);
        lock(&self.timed[class]).push((delay, before));
        self.count.send_modify(|count| *count += 1);
    }

    fn services(self: &Arc<Self>) -> Services {
        let bulk = Arc::clone(self);
        let services = Services::builder().unary("loss", "bulk", move |_, block| {
            bulk.bulk.send_modify(|bytes| *bytes += block.len() as u64);
            async { Ok(Bytes::new()) }
        });
        let timed = TIMED.into_iter().enumerate();
        let services = timed.fold(services, |services, (place, class)| {
            let arrived = Arc::clone(self);
            services.notify("loss", &class.to_string(), move |_, message| {
                arrived.note(place, &message);
                async {}
            })
        });
        services.build().expect("no mistake")
    }
}

/// One bulk message, and how many are under way: 2 MiB, more than any window on the way.
pub(crate) const BULK_BYTES: usize = 64 * 1024;
pub(crate) const BULK_CALLS: usize = 32;

/// One timed message.
const TIMED_BYTES: usize = 64;

/// Between two timed messages of a class.
const BETWEEN: Duration = Duration::from_millis(5);
