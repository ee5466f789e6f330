//! Several connections of one endpoint over one link whose capacity it knows.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use valkyrie::Class;

use crate::ends::Ends;
use crate::measure::{
    Arrived, BETWEEN, Delays, FRAGMENT_BYTES, MARKS, Network, mbit, milliseconds, saturate, stamp,
};
use crate::netns::Missing;

/// The classes that share a link, from the top.
const CLASSES: [Class; 4] = [Class::System, Class::Job, Class::Data, Class::Bulk];

/// What came of one transport.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    pub(crate) capacity: f64,
    pub(crate) time: Duration,
    /// Bytes by connection, then by class.
    pub(crate) bytes: [[u64; 4]; MARKS],
    pub(crate) delays: Delays,
}

impl Run {
    fn all(&self) -> u64 {
        self.bytes.iter().flatten().sum()
    }

    /// What each class got over all connections, in percent.
    pub(crate) fn shares(&self) -> [f64; 4] {
        let all = self.all().max(1) as f64;
        std::array::from_fn(|class| {
            100.0 * self.bytes.iter().map(|bytes| bytes[class]).sum::<u64>() as f64 / all
        })
    }

    /// How far any connection is from an even part of a class, at most, in fragments. Bulk is left out, which its sender offers and does not
    /// wait to send.
    pub(crate) fn unevenness(&self) -> f64 {
        let classes = 0..3;
        let off = classes.flat_map(|class| {
            let even = self.bytes.iter().map(|bytes| bytes[class]).sum::<u64>() as f64 / MARKS as f64;
            self.bytes
                .iter()
                .map(move |bytes| (bytes[class] as f64 - even).abs() / FRAGMENT_BYTES as f64)
        });
        off.fold(0.0, f64::max)
    }

    /// What the connection with the most and that with the least carried of all that was carried, in percent.
    pub(crate) fn parts(&self) -> (f64, f64) {
        let all = self.all().max(1) as f64;
        let parts = self
            .bytes
            .map(|bytes| 100.0 * bytes.iter().sum::<u64>() as f64 / all);
        let (most, least) = (f64::max, f64::min);
        (
            parts.into_iter().fold(0.0, most),
            parts.into_iter().fold(100.0, least),
        )
    }
}

/// A line for each run.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| four connections over | capacity, Mbit/s | carried | system | job | data | bulk | a connection's part | fragments from even, a class | critical p50, ms | p99, ms |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for run in runs {
        let (shares, (most, least)) = (run.shares(), run.parts());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.1} to {:.1} % | {:.1} | {:.2} | {:.2} |",
            run.scheme,
            run.capacity,
            mbit(run.all(), run.time),
            shares[0],
            shares[1],
            shares[2],
            shares[3],
            least,
            most,
            run.unevenness(),
            milliseconds(run.delays.time(50)),
            milliseconds(run.delays.time(99)),
        );
    }
    text
}

/// Fills the link from four connections for so many seconds. The first has four times as many streams as the others, which must give it
/// nothing.
pub(crate) fn measure(scheme: &'static str, network: Network, seconds: u64) -> Result<Run, Missing> {
    let cable = network.lay()?;
    let arrived = Arrived::new();
    let mut ends = Ends::new(&cable, scheme, arrived.services());
    let capacity = network.capacity();
    ends.qos.capacity = capacity;
    let messages = (Duration::from_secs(seconds).as_millis() / BETWEEN.as_millis()) as usize;
    let (bytes, time, delays) = ends.run(&cable, move |client, place| async move {
        let mut connections = Vec::new();
        for mark in 0..MARKS {
            let connection = client.connect(&place).await.expect("it answers");
            for class in CLASSES {
                let streams = if mark == 0 { 4 } else { 1 };
                saturate(&connection, class, streams, mark).await;
            }
            connections.push(connection);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = |arrived: &Arc<Arrived>| -> [[u64; 4]; MARKS] {
            std::array::from_fn(|mark| CLASSES.map(|class| arrived.of(mark, class)))
        };
        let (begun, before) = (Instant::now(), now(&arrived));
        stamp(&connections[1], &arrived, messages).await;
        let (time, after) = (begun.elapsed(), now(&arrived));
        let bytes =
            std::array::from_fn(|mark| std::array::from_fn(|class| after[mark][class] - before[mark][class]));
        connections.iter().for_each(valkyrie::Connection::close);
        (bytes, time, arrived.delays())
    });
    Ok(Run {
        scheme,
        capacity: capacity.map_or(0.0, |capacity| capacity.get() as f64 * 8.0 / 1e6),
        time,
        bytes,
        delays,
    })
}
