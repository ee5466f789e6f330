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
    pub(crate) figure: &'static str,
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
        let to = |peer| {
            ratios.iter().find(move |ratio| {
                ratio.scenario == scenario && ratio.of == Contender::Plain && ratio.to == peer
            })
        };
        let mut target = |figure, wanted: Bound, measured: Option<f64>| {
            targets.extend(measured.map(|measured| Target {
                scenario: scenario.to_string(),
                figure,
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
    {
        let (figure, wanted, measured) = match (ratio.scenario.shape, ratio.scenario.payload_bytes) {
            (Shape::Unary { in_flight: 1 }, SMALL) => ("sealed p50 to plain", SEALED_P50, ratio.p50),
            (Shape::Unary { .. }, SMALL) => ("sealed CPU to plain", SEALED_CPU, Some(ratio.cpu)),
            _ => continue,
        };
        targets.extend(measured.map(|measured| Target {
            scenario: ratio.scenario.to_string(),
            figure,
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
                figure,
                wanted: Bound::AtMost(wanted),
                measured,
                met: measured <= wanted,
            }));
        }
    }
    targets
}

fn unary_p99_us(socket: Socket) -> f64 {
    match socket {
        Socket::Uds => 50.0,
        Socket::Tcp => 100.0,
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
const IDLE_BYTES: f64 = 2.5 * 1024.0;
/// What authentication and sealing may add.
const SEALED_P50: f64 = 1.15;
const SEALED_CPU: f64 = 1.3;
const SEALED_IDLE_BYTES: f64 = 2048.0;
