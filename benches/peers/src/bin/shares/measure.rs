//! Four flows over one connection, what arrives of each in every tenth of a second, and how long a small call takes beside them; and
//! Valkyrie's part, streams of every class. The others' parts, in files of their own, do the same with what they have.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{AccessPolicy, Class, Connection, EndpointBuilder, Locator, Services};

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

/// What came of one contender.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    /// What the flows are called, from the one that falls silent first.
    pub(crate) flows: [&'static str; 4],
    /// What they should get, where anything says so.
    pub(crate) wanted: Option<[[f64; 4]; 4]>,
    /// Seconds of a phase.
    pub(crate) seconds: u64,
    pub(crate) seen: Seen,
}

/// What was seen during the phases.
pub(crate) struct Seen {
    /// Bytes of each flow in each tenth of a second.
    pub(crate) tenths: Vec<[u64; 4]>,
    /// What each small call beside them took, the shortest first.
    pub(crate) calls: Vec<Duration>,
}

impl Run {
    /// What each flow got in a phase, in percent. Its first second is left out: what was under way when it began is of the one
    /// before.
    pub(crate) fn got(&self, phase: usize) -> [f64; 4] {
        let length = self.seconds as usize * 10;
        let tenths = self
            .seen
            .tenths
            .iter()
            .skip(phase * length + 10)
            .take(length - 10);
        let sums = tenths.fold([0; 4], |sums: [u64; 4], tenth| {
            std::array::from_fn(|at| sums[at] + tenth[at])
        });
        let all = sums.iter().sum::<u64>().max(1) as f64;
        sums.map(|sum| 100.0 * sum as f64 / all)
    }

    /// How many points any flow is from what the policy gives it, at most. `None` without a policy.
    pub(crate) fn farthest(&self) -> Option<f64> {
        let phases = self.wanted.as_ref()?.iter().enumerate();
        let points = phases.flat_map(|(phase, wanted)| {
            let got = self.got(phase);
            (0..4).map(move |at| (got[at] - wanted[at]).abs())
        });
        Some(points.fold(0.0, f64::max))
    }

    pub(crate) fn table(&self) -> String {
        let flows = self.flows;
        let mut text = format!(
            "{}\n| who sends | {} | all, Mbit/s |\n|---|---:|---:|---:|---:|---:|\n",
            self.scheme,
            flows.join(" | ")
        );
        for phase in 0..4 {
            let who = match phase {
                0 => "all".to_owned(),
                _ => flows[phase..].join(", "),
            };
            let got = self.got(phase);
            let length = self.seconds as usize * 10;
            let tenths = self.seen.tenths.iter().skip(phase * length).take(length);
            let rate = tenths.flatten().sum::<u64>() as f64 * 8.0 / self.seconds as f64 / 1e6;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {who} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {rate:.1} |",
                got[0], got[1], got[2], got[3]
            );
        }
        let _ = writeln!(text, "{}", self.calls());
        text
    }

    /// How long the small calls took, in words.
    pub(crate) fn calls(&self) -> String {
        let millis = |percent: usize| {
            let last = self.seen.calls.len().saturating_sub(1);
            let took = self.seen.calls.get(last * percent / 100);
            took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        format!(
            "a small call beside all four: p50 {:.1} ms, p99 {:.1} ms",
            millis(50),
            millis(99)
        )
    }
}

/// What the two ends of four flows have in common.
#[derive(Clone, Default)]
pub(crate) struct Flows {
    arrived: Arc<[AtomicU64; 4]>,
    silent: Arc<[AtomicBool; 4]>,
}

impl Flows {
    /// The receiver has got so many bytes.
    pub(crate) fn arrived(&self, flow: usize, bytes: usize) {
        self.arrived[flow].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the sender is to end.
    pub(crate) fn is_silent(&self, flow: usize) -> bool {
        self.silent[flow].load(Ordering::Relaxed)
    }

    /// Watches four phases of so many seconds and silences a flow before each but the first. In the first, when its first second is
    /// over, it makes a call every 20 ms, whether those before have been answered or not.
    pub(crate) async fn observe<F, Call>(&self, seconds: u64, mut call: F) -> Seen
    where
        F: FnMut() -> Call,
        Call: Future<Output = ()> + Send + 'static,
    {
        let (mut tenths, mut calls) = (Vec::new(), JoinSet::new());
        let (begun, mut before) = (Instant::now(), [0; 4]);
        for silenced in 0..4 {
            if silenced > 0 {
                self.silent[silenced - 1].store(true, Ordering::Relaxed);
            }
            for tenth in 0..seconds * 10 {
                if silenced == 0 && tenth >= 10 {
                    for at in 0..CALLS_PER_TENTH {
                        let due = begun + TENTH * tenth as u32 + TENTH / CALLS_PER_TENTH * at;
                        tokio::time::sleep_until(due.into()).await;
                        let call = call();
                        calls.spawn(async move {
                            call.await;
                            // A call made late, because the machine was busy, has waited as well.
                            due.elapsed()
                        });
                    }
                }
                let next = TENTH * (tenths.len() as u32 + 1);
                tokio::time::sleep_until((begun + next).into()).await;
                let now: [u64; 4] = std::array::from_fn(|at| self.arrived[at].load(Ordering::Relaxed));
                tenths.push(std::array::from_fn(|at| now[at] - before[at]));
                before = now;
            }
        }
        let mut calls = calls.join_all().await;
        calls.sort_unstable();
        Seen { tenths, calls }
    }
}

/// A cable of so many kbit/s. What waits in front of it waits 20 ms: a longer delay would make data yield.
pub(crate) fn lay(kbit: u32) -> Result<Cable, Missing> {
    let cable = Cable::lay(1500)?;
    for end in [End::Near, End::Far] {
        cable.limit(end, kbit, kbit / 8 * 20)?;
    }
    Ok(cable)
}

/// Sends in every class of Valkyrie over `scheme` and a cable of so many kbit/s, each phase for so many seconds.
pub(crate) fn measure(scheme: &'static str, kbit: u32, seconds: u64) -> Result<Run, Missing> {
    let cable = lay(kbit)?;
    let host = cable.ipv4(End::Far);
    let place: Locator = format!("{scheme}://{host}:{PORT}").parse().expect("a locator");
    let flows = Flows::default();
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let server = cable.run_at(End::Far, {
        let (place, flows) = (place.clone(), flows.clone());
        async move {
            let server = endpoint("receiver")
                .services(services(&flows))
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
        for (flow, class) in CLASSES.into_iter().enumerate() {
            for _ in 0..STREAMS {
                send(&connection, &flows, flow, class).await;
            }
        }
        let seen = flows.observe(seconds, || {
            let connection = connection.clone();
            async move {
                let call = connection.call(("shares", "urgent"), CALL);
                call.class(Class::Critical).await.expect("it is answered");
            }
        });
        let seen = seen.await;
        let _ = over.send(());
        connection.close();
        seen
    });
    let seen = dialler.result();
    server.result();
    Ok(Run {
        scheme,
        flows: CLASSES.map(Class::name),
        wanted: Some(WANTED),
        seconds,
        seen,
    })
}

/// Sends a stream of the class until the flow is to be silent.
async fn send(connection: &Connection, flows: &Flows, flow: usize, class: Class) {
    let opened = connection.open(("shares", class.name())).class(class).await;
    let (mut send, _recv) = opened.expect("it is taken");
    let flows = flows.clone();
    tokio::spawn(async move {
        let block = Bytes::from_static(&BLOCK);
        while !flows.is_silent(flow) {
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

fn services(flows: &Flows) -> Services {
    let services =
        Services::builder().unary("shares", "urgent", |_, payload: Bytes| async move { Ok(payload) });
    let classes = CLASSES.into_iter().enumerate();
    let services = classes.fold(services, |services, (flow, class)| {
        let flows = flows.clone();
        services.stream("shares", class.name(), move |_, _send, mut recv| {
            let flows = flows.clone();
            async move {
                while let Ok(Some(message)) = recv.recv().await {
                    flows.arrived(flow, message.payload.len());
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
/// Streams of each flow.
pub(crate) const STREAMS: usize = 4;
/// What a stream sends again and again.
pub(crate) static BLOCK: [u8; 16 * 1024] = [0; 16 * 1024];
/// What a small call carries, both ways.
pub(crate) const CALL: Bytes = Bytes::from_static(&[7; 64]);
pub(crate) const PORT: u16 = 7000;
/// One every 20 ms.
const CALLS_PER_TENTH: u32 = 5;
const TENTH: Duration = Duration::from_millis(100);
/// Four streams that send a block each so often offer twice what the link carries.
const BULK_PAUSE: Duration = Duration::from_millis(2);
