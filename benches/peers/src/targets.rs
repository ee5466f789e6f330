//! What Valkyrie is meant to reach, and whether it did.

use serde::Serialize;

use crate::address::Socket;
use crate::contender::Contender;
use crate::idle::Idle;
use crate::scenario::{Scenario, Shape};
use crate::summary::{Ratio, Summary};

/// One target beside what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) scenario: String,
    pub(crate) figure: String,
    pub(crate) wanted: Bound,
    pub(crate) measured: f64,
    pub(crate) met: bool,
}

/// Which side of a value is good.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// The targets whose figures were taken.
pub(crate) fn all(summaries: &[Summary], ratios: &[Ratio], idle: &[Idle]) -> Vec<Target> {
    let mut targets = Vec::new();
    for summary in summaries
        .iter()
        .filter(|summary| summary.contender == Contender::Plain)
    {
        let scenario = summary.scenario;
        if !scenario.socket.is_bare() {
            targets.extend(of_transport(summary, ratios));
            continue;
        }
        let to = |peer| {
            ratios.iter().find(move |ratio| {
                ratio.scenario == scenario && ratio.of == Contender::Plain && ratio.to == peer
            })
        };
        let mut target = |figure: &str, wanted: Bound, measured: Option<f64>| {
            targets.extend(measured.map(|measured| Target {
                scenario: scenario.to_string(),
                figure: figure.to_owned(),
                wanted,
                measured,
                met: wanted.holds(measured),
            }));
        };
        match scenario {
            Scenario {
                shape: Shape::Unary { in_flight: 1 },
                payload_bytes: SMALL,
                ..
            } => {
                let p50 = to(Contender::Raw).and_then(|ratio| ratio.p50);
                target("p50 to raw", Bound::AtMost(UNARY_P50_TO_RAW), p50);
                target(
                    "p99, µs",
                    Bound::AtMost(unary_p99_us(scenario.socket)),
                    summary.p99_us,
                );
            }
            Scenario {
                shape: Shape::Unary { .. },
                payload_bytes: SMALL,
                ..
            } => {
                target(
                    "calls/s",
                    Bound::AtLeast(UNARY_PER_SECOND),
                    Some(summary.per_second),
                );
                target("CPU s per million", Bound::AtMost(UNARY_CPU), Some(summary.cpu));
                let tonic = to(Contender::Tonic).map(|ratio| 1.0 / ratio.cpu);
                target(
                    "CPU, times less than tonic",
                    Bound::AtLeast(CPU_LESS_THAN_TONIC),
                    tonic,
                );
            }
            Scenario {
                shape: Shape::Stream,
                payload_bytes: SMALL,
                ..
            } => {
                target(
                    "messages/s",
                    Bound::AtLeast(STREAM_PER_SECOND),
                    Some(summary.per_second),
                );
                target("CPU s per million", Bound::AtMost(STREAM_CPU), Some(summary.cpu));
            }
            bulk if bulk.is_bulk() => {
                let raw = to(Contender::Raw).map(|ratio| ratio.per_second);
                target("bytes/s to raw", Bound::AtLeast(BULK_TO_RAW), raw);
            }
            _ => {}
        }
    }
    for ratio in ratios
        .iter()
        .filter(|ratio| ratio.of == Contender::Valkyrie && ratio.to == Contender::Plain)
        .filter(|ratio| ratio.scenario.socket.is_bare())
    {
        let (figure, wanted, measured) = match (ratio.scenario.shape, ratio.scenario.payload_bytes) {
            (Shape::Unary { in_flight: 1 }, SMALL) => ("sealed p50 to plain", SEALED_P50, ratio.p50),
            (Shape::Unary { .. }, SMALL) => ("sealed CPU to plain", SEALED_CPU, Some(ratio.cpu)),
            _ => continue,
        };
        targets.extend(measured.map(|measured| Target {
            scenario: ratio.scenario.to_string(),
            figure: figure.to_owned(),
            wanted: Bound::AtMost(wanted),
            measured,
            met: measured <= wanted,
        }));
    }
    for idle in idle {
        let bytes = |contender| {
            let held = idle.contenders.iter().find(|held| held.contender == contender);
            held.and_then(|held| held.bytes_per_connection)
        };
        let plain = bytes(Contender::Plain);
        let more = bytes(Contender::Valkyrie)
            .zip(plain)
            .map(|(sealed, plain)| sealed - plain);
        for (figure, wanted, measured) in [
            ("plain bytes a connection", IDLE_BYTES, plain),
            ("bytes more when sealed", SEALED_IDLE_BYTES, more),
        ] {
            targets.extend(measured.map(|measured| Target {
                scenario: format!("{}/idle/{}", idle.socket, idle.connections),
                figure: figure.to_owned(),
                wanted: Bound::AtMost(wanted),
                measured,
                met: measured <= wanted,
            }));
        }
    }
    targets
}

/// Beside each library that takes part: no longer for a lone call than a quarter more, and at least as many messages.
fn of_transport(summary: &Summary, ratios: &[Ratio]) -> Vec<Target> {
    let scenario = summary.scenario;
    let target = |figure: String, wanted: Bound, measured: f64| Target {
        scenario: scenario.to_string(),
        figure,
        wanted,
        measured,
        met: wanted.holds(measured),
    };
    let peers = ratios
        .iter()
        .filter(|ratio| ratio.scenario == scenario && ratio.of == Contender::Plain && ratio.to.is_peer())
        // How many messages a library carries that makes no calls is compared where we make none either.
        .filter(|ratio| match scenario.shape {
            Shape::Unary { in_flight: 1 } | Shape::Stream => true,
            Shape::Unary { .. } => !ratio.to.is_pipe(),
            Shape::Echo { in_flight } => in_flight > 1,
        });
    let mut targets: Vec<Target> = peers
        .filter_map(|ratio| match scenario.shape {
            Shape::Unary { in_flight: 1 } => {
                let bound = Bound::AtMost(LIBRARY_P50);
                Some(target(format!("p50 to {}", ratio.to), bound, ratio.p50?))
            }
            Shape::Unary { .. } | Shape::Echo { .. } | Shape::Stream => {
                let bound = Bound::AtLeast(LIBRARY_RATE);
                Some(target(format!("rate to {}", ratio.to), bound, ratio.per_second))
            }
        })
        .collect();
    if scenario.shape == Shape::Stream && scenario.payload_bytes == SMALL {
        let absolute = transport_stream_per_second(scenario.socket).iter();
        targets.extend(absolute.map(|wanted| {
            target(
                "messages/s".to_owned(),
                Bound::AtLeast(*wanted),
                summary.per_second,
            )
        }));
    }
    targets
}

/// Small messages one way on two processors; where there are two, the second is what would be good to have.
fn transport_stream_per_second(socket: Socket) -> &'static [f64] {
    match socket {
        Socket::Uds | Socket::Tcp | Socket::Ws => &[],
        Socket::Quic => &[5e6],
        Socket::Http => &[1e6],
        Socket::Redis => &[1e6, 3e6],
    }
}

fn unary_p99_us(socket: Socket) -> f64 {
    match socket {
        Socket::Uds => 50.0,
        _ => 100.0,
    }
}

const SMALL: usize = 64;
/// A frame, a session and a table between the caller and the socket may cost this much.
const UNARY_P50_TO_RAW: f64 = 1.15;
const UNARY_PER_SECOND: f64 = 1.5e6;
const UNARY_CPU: f64 = 0.8;
const CPU_LESS_THAN_TONIC: f64 = 25.0;
const STREAM_PER_SECOND: f64 = 10e6;
const STREAM_CPU: f64 = 0.2;
const BULK_TO_RAW: f64 = 0.85;
/// What a library's own user may lose with Valkyrie on top of it.
const LIBRARY_P50: f64 = 1.25;
const LIBRARY_RATE: f64 = 1.0;
const IDLE_BYTES: f64 = 2.5 * 1024.0;
/// What authentication and sealing may add.
const SEALED_P50: f64 = 1.15;
const SEALED_CPU: f64 = 1.3;
const SEALED_IDLE_BYTES: f64 = 2048.0;
