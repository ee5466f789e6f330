//! A job stream over a path that holds more than its first window: what it carries, and how its window grows.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use valkyrie::{Class, Locator};

use crate::delay;
use crate::ends::Ends;
use crate::measure::{Arrived, Network, TENTH, mbit, saturate};
use crate::netns::{End, Missing};

/// What came of one transport and kind of window.
pub(crate) struct Run {
    pub(crate) scheme: &'static str,
    pub(crate) grows: bool,
    /// In each tenth of a second: bytes, and the window at its end.
    pub(crate) tenths: Vec<(u64, u64)>,
}

impl Run {
    /// What the second half carried, in Mbit/s.
    pub(crate) fn rate(&self) -> f64 {
        let half = &self.tenths[self.tenths.len() / 2..];
        mbit(half.iter().map(|tenth| tenth.0).sum(), TENTH * half.len() as u32)
    }

    /// The window at the end.
    pub(crate) fn window(&self) -> u64 {
        self.tenths.last().map_or(0, |tenth| tenth.1)
    }

    /// When it carried nine tenths of what it carries in the end.
    fn full_after(&self) -> f64 {
        let full = self.rate() * 0.9;
        let at = self.tenths.iter().position(|tenth| mbit(tenth.0, TENTH) >= full);
        at.map_or(f64::NAN, |at| (at + 1) as f64 / 10.0)
    }
}

/// A line for each run.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::from(
        "| one job stream over | window | at first, KiB | in the end, KiB | Mbit/s, second half | nine tenths of that after, s |\n\
         |---|---|---:|---:|---:|---:|\n",
    );
    for run in runs {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {:.1} |",
            run.scheme,
            if run.grows { "grows" } else { "fixed" },
            FIRST_WINDOW_BYTES / 1024,
            run.window() / 1024,
            run.rate(),
            run.full_after()
        );
    }
    text
}

/// Sends one job stream for so many seconds over a path of [`DELAY`] each way.
pub(crate) fn measure(
    scheme: &'static str,
    grows: bool,
    network: Network,
    seconds: u64,
) -> Result<Run, Missing> {
    let cable = network.lay()?;
    let arrived = Arrived::new();
    let mut ends = Ends::new(&cable, scheme, arrived.services());
    ends.config.limits.window_job = FIRST_WINDOW_BYTES;
    if !grows {
        ends.config.limits.window_job_max = FIRST_WINDOW_BYTES;
    }
    ends.listen = format!("{scheme}://127.0.0.1:7000")
        .parse::<Locator>()
        .expect("a locator");
    let from = SocketAddr::new(cable.ipv4(End::Far), 7000);
    let to = SocketAddr::from(([127, 0, 0, 1], 7000));
    let way = cable.run_at(End::Far, async move {
        let begun = match scheme {
            "quic" => delay::udp(from, to, DELAY).await,
            _ => delay::tcp(from, to, DELAY).await,
        };
        begun.expect("it is free");
    });
    way.result();
    let tenths = ends.run(&cable, {
        let arrived = Arc::clone(&arrived);
        move |client, place| async move {
            let connection = client.connect(&place).await.expect("it answers");
            let (begun, mut tenths, mut before) = (Instant::now(), Vec::new(), 0);
            saturate(&connection, Class::Job, 1, 0).await;
            for tenth in 1..=seconds as u32 * 10 {
                tokio::time::sleep_until((begun + TENTH * tenth).into()).await;
                let now = arrived.of_class(Class::Job);
                tenths.push((now - before, arrived.window()));
                before = now;
            }
            connection.close();
            tenths
        }
    });
    Ok(Run {
        scheme,
        grows,
        tenths,
    })
}

/// 100 Mbit/s: with the delay below the path holds 610 KiB.
pub(crate) const NETWORK: Network = Network {
    kbit: 100_000,
    queue: Duration::from_millis(50),
    control: "cubic",
};

/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(25);

/// A tenth of what the path holds.
pub(crate) const FIRST_WINDOW_BYTES: u32 = 64 * 1024;
