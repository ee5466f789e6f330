//! What loss in bulk does to the other classes, over QUIC and over TCP: a table, and a plot if a place for one is named.
//!
//! ```text
//! cargo xtask loss
//! cargo run --release -p valkyrie --features full --example loss -- --rounds 3 --plot docs/book/loss.svg
//! ```
//!
//! Two network namespaces have a cable between them whose rate is limited (`tbf`) and that drops packets at random both ways
//! (`iptables -m statistic`). One end sends bulk without end, and every five milliseconds a small critical message and one of the
//! job class, which are timed. It needs root, `ip`, `tc` and `iptables`, and Linux.

#[cfg(target_os = "linux")]
#[path = "../support/ends.rs"]
mod ends;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;

    let options = Options::read(std::env::args().skip(1))?;
    let mut out = std::io::stdout();
    let mut rows = Vec::new();
    for loss_percent in LOSSES {
        let network = measure::Network {
            kbit: KBIT,
            queue_bytes: QUEUE_BYTES,
            loss_percent,
        };
        let cable = network.lay().map_err(|missing| missing.to_string())?;
        let mut figures: [measure::Figures; SCHEMES.len()] = Default::default();
        // One after the other and again, so that what else the machine does meets both.
        for round in 1..=options.rounds {
            for (scheme, figures) in SCHEMES.into_iter().zip(&mut figures) {
                writeln!(out, "{loss_percent} % loss, round {round}, {scheme}")?;
                figures.add(measure::measure(&cable, scheme, MESSAGES));
            }
        }
        let figures = SCHEMES.into_iter().zip(figures);
        rows.extend(figures.map(|(scheme, figures)| table::Row {
            scheme,
            loss_percent,
            figures,
        }));
    }
    writeln!(out, "\n{}", table::markdown(&rows))?;
    if let Some(path) = options.plot {
        std::fs::write(&path, plot::svg(&rows))?;
        writeln!(out, "wrote {}", path.display())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("network namespaces are Linux's".into())
}

#[cfg(target_os = "linux")]
struct Options {
    rounds: u32,
    plot: Option<std::path::PathBuf>,
}

#[cfg(target_os = "linux")]
impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 3,
            plot: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match &*name {
                "--rounds" => options.rounds = value.parse().map_err(|_| format!("{value} is no number"))?,
                "--plot" => options.plot = Some(value.into()),
                _ => {
                    return Err(format!(
                        "there is no option {name}; there are --rounds and --plot"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// In the order of the table.
#[cfg(target_os = "linux")]
const SCHEMES: [&str; 2] = ["tcp", "quic"];

/// In percent.
#[cfg(target_os = "linux")]
const LOSSES: [f64; 3] = [0.0, 1.0, 5.0];

/// A slow uplink, with room for 50 ms in front of it.
#[cfg(target_os = "linux")]
const KBIT: u32 = 10_000;
#[cfg(target_os = "linux")]
const QUEUE_BYTES: u32 = 64 * 1024;

/// Of each class in each round: ten seconds.
#[cfg(target_os = "linux")]
const MESSAGES: usize = 2000;
