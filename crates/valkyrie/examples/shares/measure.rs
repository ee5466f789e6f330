//! Streams of every class over one connection, and what arrives of each in every tenth of a second.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Class, EndpointBuilder, Locator, Services};

use crate::netns::{Cable, End, Missing};

/// The classes that share a link, from the top.
pub(crate) const CLASSES: [Class; 4] = [Class::System, Class::Job, Class::Data, Class::Bulk];

/// What the policy gives each in each phase, in percent: all, then without the highest, and so on.
pub(crate) const WANTED: [[f64; 4]; 4] = [
    [80.0, 12.0, 3.2, 4.8],
    [0.0, 60.0, 16.0, 24.0],
    [0.0, 0.0, 40.0, 60.0],
    [0.0, 0.0, 0.0, 100.0],
];

/// What came of one transport.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    /// Seconds of a phase.
    pub(crate) seconds: u64,
    /// Bytes of each class in each tenth of a second.
    pub(crate) tenths: Vec<[u64; 4]>,
}

impl Run {
    /// What each class got in a phase, in percent. Its first second is left out: what was under way when it began is of the one
    /// before.
    pub(crate) fn got(&self, phase: usize) -> [f64; 4] {
        let length = self.seconds as usize * 10;
        let tenths = self.tenths.iter().skip(phase * length + 10).take(length - 10);
        let sums = tenths.fold([0; 4], |sums: [u64; 4], tenth| {
            std::array::from_fn(|at| sums[at] + tenth[at])
        });
        let all = sums.iter().sum::<u64>().max(1) as f64;
        sums.map(|sum| 100.0 * sum as f64 / all)
    }

    /// How many points any class is from what the policy gives it, at most.
    pub(crate) fn farthest(&self) -> f64 {
        let phases = WANTED.iter().enumerate();
        let points = phases.flat_map(|(phase, wanted)| {
            let got = self.got(phase);
            (0..4).map(move |at| (got[at] - wanted[at]).abs())
        });
        points.fold(0.0, f64::max)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{}\n| who sends | system | job | data | bulk | all, Mbit/s |\n|---|---:|---:|---:|---:|---:|\n",
            self.scheme
        );
        for (phase, who) in ["all", "job, data, bulk", "data, bulk", "bulk"]
            .into_iter()
            .enumerate()
        {
            let got = self.got(phase);
            let length = self.seconds as usize * 10;
            let bytes: u64 = self
                .tenths
                .iter()
                .skip(phase * length)
                .take(length)
                .flatten()
                .sum();
            let rate = bytes as f64 * 8.0 / self.seconds as f64 / 1e6;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {who} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {rate:.1} |",
                got[0], got[1], got[2], got[3]
            );
        }
        text
    }
}

/// Sends over `scheme` and a cable of so many kbit/s, each phase for so many seconds. What waits in front of the cable waits 20 ms: a longer
/// delay would make data yield.
pub(crate) fn measure(scheme: &'static str, kbit: u32, seconds: u64) -> Result<Run, Missing> {
    let cable = Cable::lay(1500)?;
    for end in [End::Near, End::Far] {
        cable.limit(end, kbit, kbit / 8 * 20)?;
    }
    let host = cable.ipv4(End::Far);
    let place: Locator = format!("{scheme}://{host}:7000").parse().expect("a locator");
    let arrived: Arc<[AtomicU64; 4]> = Arc::default();
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let server = cable.run_at(End::Far, {
        let (place, arrived) = (place.clone(), Arc::clone(&arrived));
        async move {
            let server = endpoint("receiver")
                .services(services(&arrived))
                .build()
                .expect("no mistake");
            server.listen(&place).await.expect("it is free");
            ready.send(()).expect("the dialler waits");
            let _ = is_over.await;
        }
    });
    let dialler = cable.run_at(End::Near, async move {
        is_ready.await.expect("it listens");
        let client = endpoint("sender").build().expect("no mistake");
        let connection = client.connect(&place).await.expect("it answers");
        let silent: [Arc<AtomicBool>; 4] = Default::default();
        for (at, class) in CLASSES.into_iter().enumerate() {
            for _ in 0..STREAMS {
                let opened = connection.open(("shares", class.name())).class(class).await;
                let (mut send, _recv) = opened.expect("it is taken");
                let silent = Arc::clone(&silent[at]);
                tokio::spawn(async move {
                    let block = Bytes::from(vec![0; BLOCK_BYTES]);
                    while !silent.load(Ordering::Relaxed) {
                        if send.send(block.clone()).await.is_err() {
                            break;
                        }
                        if class == Class::Bulk {
                            // Bulk is never blocked but dropped when it is too much; whoever has nothing else to do gives way.
                            tokio::time::sleep(BULK_PAUSE).await;
                        }
                    }
                });
            }
        }
        let mut tenths = Vec::new();
        let (begun, mut before) = (Instant::now(), [0; 4]);
        for silenced in 0..4 {
            if silenced > 0 {
                silent[silenced - 1].store(true, Ordering::Relaxed);
            }
            for _ in 0..seconds * 10 {
                let next = TENTH * (tenths.len() as u32 + 1);
                tokio::time::sleep_until((begun + next).into()).await;
                let now: [u64; 4] = std::array::from_fn(|at| arrived[at].load(Ordering::Relaxed));
                tenths.push(std::array::from_fn(|at| now[at] - before[at]));
                before = now;
            }
        }
        let _ = over.send(());
        connection.close();
        tenths
    });
    let tenths = dialler.result();
    server.result();
    Ok(Run {
        scheme,
        seconds,
        tenths,
    })
}

fn services(arrived: &Arc<[AtomicU64; 4]>) -> Services {
    let classes = CLASSES.into_iter().enumerate();
    let services = classes.fold(Services::builder(), |services, (at, class)| {
        let arrived = Arc::clone(arrived);
        services.stream("shares", class.name(), move |_, _send, mut recv| {
            let arrived = Arc::clone(&arrived);
            async move {
                while let Ok(Some(message)) = recv.recv().await {
                    arrived[at].fetch_add(message.payload.len() as u64, Ordering::Relaxed);
                }
                Ok(())
            }
        })
    });
    services.build().expect("no mistake")
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

/// 100 Mbit/s.
pub(crate) const KBIT: u32 = 100_000;
/// Streams of each class.
const STREAMS: usize = 4;
const BLOCK_BYTES: usize = 16 * 1024;
const TENTH: Duration = Duration::from_millis(100);
/// Four streams that send a block each so often offer twice what the link carries.
const BULK_PAUSE: Duration = Duration::from_millis(2);
