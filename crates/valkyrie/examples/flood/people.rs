//! The server and those who are welcome there: newcomers, each with a handshake of first contact, and regulars, who came before the flood.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use valkyrie::security::time::UnixTime;
use valkyrie::security::trust::FirstUse;
use valkyrie::security::{Identity, Live, Security, Trust};
use valkyrie::{
    AccessPolicy, ConnectError, Connection, Endpoint, EndpointBuilder, HandshakeError, Locator, Method,
    Services, TcpTransport,
};

/// The server as it is by default, with one service. Its policy lets whoever has shown a key call it.
pub(crate) fn server() -> EndpointBuilder {
    let services = Services::builder()
        .unary("flood", "echo", |_, payload| async move { Ok(payload) })
        .build()
        .expect("no mistake");
    valkyrie::endpoint()
        .security(security("server"))
        .policy(AccessPolicy::allow_authenticated())
        .services(services)
}

/// Somebody who trusts whom it meets, for a network that nobody else is on.
pub(crate) fn security(name: &str) -> Security {
    let identity = Identity::generate(name, unix_now()).expect("random bytes");
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    Security::new(Live::new(identity), Live::new(trust))
}

pub(crate) fn unix_now() -> UnixTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixTime::from_secs(now.as_secs())
}

/// What newcomers met with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newcomers {
    pub(crate) tried: usize,
    /// Those who got in at their first try.
    pub(crate) at_once: usize,
    /// From the first try to the answer of the first call, of those who got in. Sorted.
    pub(crate) times: Vec<Duration>,
    /// Why tries came to nothing.
    pub(crate) busy: usize,
    pub(crate) hung_up: usize,
    pub(crate) timed_out: usize,
    pub(crate) otherwise: Vec<String>,
}

impl Newcomers {
    fn add(&mut self, one: Self) {
        self.tried += one.tried;
        self.at_once += one.at_once;
        self.times.extend(one.times);
        self.busy += one.busy;
        self.hung_up += one.hung_up;
        self.timed_out += one.timed_out;
        self.otherwise.extend(one.otherwise);
    }

    fn failed(&mut self, error: &ConnectError) {
        match error {
            ConnectError::Handshake { source, .. } => match &**source {
                HandshakeError::LinkLost => self.hung_up += 1,
                HandshakeError::TimedOut => self.timed_out += 1,
                error if error.code() == valkyrie::ErrorCode::OVERLOADED => self.busy += 1,
                error => self.otherwise.push(error.to_string()),
            },
            error => self.otherwise.push(error.to_string()),
        }
    }
}

/// Sends `count` newcomers, `every` so often, from addresses by turns, and waits until all of them are in or have lost their `patience`.
pub(crate) async fn newcomers(
    place: &Locator,
    sources: &[Ipv4Addr],
    every: Duration,
    count: usize,
    patience: Duration,
) -> Newcomers {
    let security = security("newcomer");
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        let source = sources[number % sources.len()];
        let transport = TcpTransport::new().with_source(Some(IpAddr::V4(source)));
        let endpoint = valkyrie::endpoint()
            .security(security.clone())
            .transport(transport);
        let endpoint = endpoint.build().expect("no mistake");
        running.spawn(come_in(endpoint, place.clone(), patience));
    }
    let mut all = Newcomers::default();
    while let Some(one) = running.join_next().await {
        all.add(one.expect("it does not panic"));
    }
    all.times.sort_unstable();
    all
}

/// Tries until it is in or its patience is at an end.
async fn come_in(endpoint: Endpoint, place: Locator, patience: Duration) -> Newcomers {
    let mut one = Newcomers {
        tried: 1,
        ..Newcomers::default()
    };
    let mut tries = interval(TRY_AGAIN_AFTER);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    while begun.elapsed() < patience {
        tries.tick().await;
        let connection = match endpoint.connect(&place).await {
            Ok(connection) => connection,
            Err(error) => {
                one.failed(&error);
                continue;
            }
        };
        match connection.call(echo(), payload()).await {
            Ok(answer) => {
                assert_eq!(answer, payload());
                one.at_once += usize::from(one.busy + one.hung_up + one.timed_out + one.otherwise.len() == 0);
                one.times.push(begun.elapsed());
                break;
            }
            Err(error) => one.otherwise.push(error.to_string()),
        }
    }
    one
}

/// Connections that are there already.
pub(crate) struct Regulars {
    connections: Vec<Connection>,
}

impl Regulars {
    pub(crate) async fn connect(place: &Locator, sources: &[Ipv4Addr]) -> Self {
        let security = security("regular");
        let mut connections = Vec::new();
        for source in sources {
            let transport = TcpTransport::new().with_source(Some(IpAddr::V4(*source)));
            let endpoint = valkyrie::endpoint()
                .security(security.clone())
                .transport(transport);
            let endpoint = endpoint.build().expect("no mistake");
            connections.push(endpoint.connect(place).await.expect("nobody keeps it out yet"));
        }
        Self { connections }
    }

    /// Each calls `every` so often, `count` times; sorted times, the longest where there was no answer is none of them.
    ///
    /// # Panics
    /// If a call is not answered.
    pub(crate) async fn call(&self, every: Duration, count: usize) -> Vec<Duration> {
        let mut running = JoinSet::new();
        for connection in &self.connections {
            let connection = connection.clone();
            running.spawn(async move {
                let mut times = Vec::with_capacity(count);
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for _ in 0..count {
                    ticks.tick().await;
                    let begun = Instant::now();
                    let answer = connection.call(echo(), payload()).await.expect("it is answered");
                    times.push(begun.elapsed());
                    assert_eq!(answer, payload());
                }
                times
            });
        }
        let mut all = Vec::new();
        while let Some(times) = running.join_next().await {
            all.extend(times.expect("every call is answered"));
        }
        all.sort_unstable();
        all
    }
}

fn echo() -> Method {
    Method::new("flood", "echo").expect("a name")
}

fn payload() -> Bytes {
    Bytes::from_static(&[7; 64])
}

/// Between two tries of a newcomer.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
