//! How long critical messages take on a link that the other classes fill, and on an idle one.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use valkyrie::Class;

use crate::ends::Ends;
use crate::measure::{
    Arrived, BETWEEN, Delays, FRAGMENT_BYTES, Network, mbit, milliseconds, saturate, stamp,
};
use crate::netns::Missing;

/// What the link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Idle,
    /// Full, with nothing configured.
    Full,
    /// As full as the capacity that the endpoint was told.
    Shaped,
}

/// What came of one transport and load.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    pub(crate) control: &'static str,
    pub(crate) load: Load,
    pub(crate) delays: Delays,
    /// What the other classes carried, in Mbit/s.
    pub(crate) carried: f64,
}

/// A line for each run, beside its idle one.
pub(crate) fn table(runs: &[Run], network: Network) -> String {
    let mut text = String::from(
        "| critical over | the link | others, Mbit/s | p50, ms | p99, ms | longest, ms | above idle, p99 | in fragments' times | fragments before, p99 |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let fragment = fragment_time(network);
    for run in runs {
        let (idle, over) = (idle_of(runs, run), run.over());
        let above = run.delays.time(99).saturating_sub(idle);
        let what = match run.load {
            Load::Idle => "idle",
            Load::Full => "full",
            Load::Shaped => "full, capacity configured",
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {over} | {what} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} |",
            run.carried,
            milliseconds(run.delays.time(50)),
            milliseconds(run.delays.time(99)),
            milliseconds(run.delays.time(100)),
            milliseconds(above),
            above.as_secs_f64() / fragment.as_secs_f64(),
            run.delays.before(99) as f64 / FRAGMENT_BYTES as f64,
        );
    }
    text
}

impl Run {
    /// The transport, and where it matters who decides what it may send.
    pub(crate) fn over(&self) -> String {
        match self.scheme {
            "quic" => self.scheme.to_string(),
            scheme => format!("{scheme}, {}", self.control),
        }
    }
}

/// The median delay of the idle link that belongs to a run.
pub(crate) fn idle_of(runs: &[Run], run: &Run) -> Duration {
    let idle = runs
        .iter()
        .find(|other| other.load == Load::Idle && (other.scheme, other.control) == (run.scheme, run.control));
    idle.map_or(Duration::ZERO, |idle| idle.delays.time(50))
}

/// What a fragment takes on the wire.
pub(crate) fn fragment_time(network: Network) -> Duration {
    Duration::from_secs_f64(FRAGMENT_BYTES as f64 * 8.0 / f64::from(network.kbit) / 1000.0)
}

/// Sends a critical message every 5 ms for so many seconds.
pub(crate) fn measure(
    scheme: &'static str,
    load: Load,
    network: Network,
    seconds: u64,
) -> Result<Run, Missing> {
    let cable = network.lay()?;
    let arrived = Arrived::new();
    let mut ends = Ends::new(&cable, scheme, arrived.services());
    if load == Load::Shaped {
        ends.qos.capacity = network.capacity();
    }
    let messages = (Duration::from_secs(seconds).as_millis() / BETWEEN.as_millis()) as usize;
    let (delays, carried) = ends.run(&cable, move |client, place| async move {
        let connection = client.connect(&place).await.expect("it answers");
        if load != Load::Idle {
            for class in [Class::System, Class::Job, Class::Data, Class::Bulk] {
                saturate(&connection, class, STREAMS, 0).await;
            }
            // The link is full, and its transport knows it.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let others = |arrived: &Arc<Arrived>| -> u64 {
            Class::ALL.into_iter().map(|class| arrived.of_class(class)).sum()
        };
        let (begun, before) = (std::time::Instant::now(), others(&arrived));
        stamp(&connection, &arrived, messages).await;
        let carried = mbit(others(&arrived) - before, begun.elapsed());
        connection.close();
        (arrived.delays(), carried)
    });
    Ok(Run {
        scheme,
        control: network.control,
        load,
        delays,
        carried,
    })
}

/// 100 Mbit/s and a queue of 50 ms, several times what a round trip over it takes.
pub(crate) const NETWORK: Network = Network {
    kbit: 100_000,
    queue: Duration::from_millis(50),
    control: "cubic",
};

const STREAMS: usize = 2;
