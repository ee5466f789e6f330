//! Everything that was measured, as text and as JSON.

mod table;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::contender::Contender;
use crate::failure::Failure;
use crate::idle::Idle;
use crate::machine::Machine;
use crate::options::Options;
use crate::rounds::Measured;
use crate::scenario::Scenario;
use crate::summary::{self, Ratio, Summary};
use crate::targets::{self, Bound, Target};
use table::Table;

/// A scenario without figures.
#[derive(Debug, Serialize)]
struct LeftOut {
    scenario: Scenario,
    why: String,
}

/// The report of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    window_seconds: f64,
    rounds: usize,
    pinned: bool,
    measured: Vec<Measured>,
    left_out: Vec<LeftOut>,
    medians: Vec<Summary>,
    ratios: Vec<Ratio>,
    idle: Vec<Idle>,
    targets: Vec<Target>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            machine: Machine::this(),
            window_seconds: options.window().as_secs_f64(),
            rounds: options.rounds(),
            pinned: options.pin,
            measured: Vec::new(),
            left_out: Vec::new(),
            medians: Vec::new(),
            ratios: Vec::new(),
            idle: Vec::new(),
            targets: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        self.medians.extend(summary::summaries(&measured));
        self.ratios.extend(summary::ratios(&measured));
        self.measured.push(measured);
    }

    /// Notes what could not be measured with anybody.
    pub(crate) fn leave_out(&mut self, scenario: Scenario, why: String) {
        self.left_out.push(LeftOut { scenario, why });
    }

    pub(crate) fn add_idle(&mut self, idle: Idle) {
        self.idle.push(idle);
    }

    /// Compares with the targets, once everything is measured.
    pub(crate) fn finish(&mut self) {
        self.machine.finish();
        self.targets = targets::all(&self.medians, &self.ratios, &self.idle);
    }

    /// Whether everyone finished everything.
    pub(crate) fn is_complete(&self) -> bool {
        let windows = self.measured.iter().flat_map(|measured| &measured.contenders);
        let idle = self.idle.iter().flat_map(|idle| &idle.contenders);
        let failed = windows
            .map(|turns| &turns.failure)
            .chain(idle.map(|held| &held.failure));
        self.left_out.is_empty() && failed.flatten().next().is_none()
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::Report(std::io::Error::other(error)))?;
        text.push('\n');
        fs::write(path, text).map_err(Failure::Report)
    }

    /// The tables, for people.
    pub(crate) fn render(&self, markdown: bool) -> String {
        let mut text = format!(
            "{}; {} rounds of {} s{}\n",
            self.machine,
            self.rounds,
            self.window_seconds,
            if self.pinned {
                ", each process on a processor of its own"
            } else {
                ""
            },
        );
        for table in [self.medians(), self.idle(), self.targets()]
            .into_iter()
            .filter(|table| !table.is_empty())
        {
            text.push('\n');
            text.push_str(&table.render(markdown));
        }
        for LeftOut { scenario, why } in &self.left_out {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{scenario} was left out: {why}");
        }
        for (name, failure) in self.failures() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{name} failed: {failure}");
        }
        text
    }

    fn failures(&self) -> impl Iterator<Item = (String, &str)> {
        let windows = self.measured.iter().flat_map(|measured| {
            measured.contenders.iter().filter_map(|turns| {
                Some((
                    format!("{} {}", measured.scenario, turns.contender),
                    turns.failure.as_deref()?,
                ))
            })
        });
        let idle = self.idle.iter().flat_map(|idle| {
            idle.contenders.iter().filter_map(|held| {
                Some((
                    format!("{}/idle {}", idle.socket, held.contender),
                    held.failure.as_deref()?,
                ))
            })
        });
        windows.chain(idle)
    }

    fn medians(&self) -> Table {
        let mut table = Table::new([
            "scenario",
            "contender",
            "rate/s",
            "p50 µs",
            "p99 µs",
            "CPU client",
            "CPU server",
            "CPU both",
            "rate ×",
            "p50 ×",
            "CPU ×",
        ]);
        for summary in &self.medians {
            let ratio = self.ratios.iter().find(|ratio| {
                ratio.scenario == summary.scenario
                    && ratio.of == summary.contender
                    && ratio.to == Contender::alone_on(summary.scenario.socket)
            });
            let times = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
            let micros = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
            let rate = if summary.scenario.is_bulk() {
                bytes(summary.per_second * summary.scenario.payload_bytes as f64)
            } else {
                short(summary.per_second)
            };
            table.row([
                summary.scenario.to_string(),
                summary.contender.to_string(),
                rate,
                micros(summary.p50_us),
                micros(summary.p99_us),
                three_digits(summary.client_cpu),
                three_digits(summary.server_cpu),
                three_digits(summary.cpu),
                times(ratio.map(|ratio| ratio.per_second)),
                times(ratio.and_then(|ratio| ratio.p50)),
                times(ratio.map(|ratio| ratio.cpu)),
            ]);
        }
        table.note(
            "CPU: processor seconds of a process for a million messages. ×: divided by the first of the scenario, in the same \
             round. Every figure is the median of the rounds.",
        )
    }

    fn idle(&self) -> Table {
        let mut table = Table::new(["idle connections", "contender", "KiB each on the server"]);
        for idle in &self.idle {
            for held in &idle.contenders {
                table.row([
                    format!("{} × {}", idle.connections, idle.socket),
                    held.contender.to_string(),
                    held.bytes_per_connection
                        .map_or_else(String::new, |bytes| format!("{:.2}", bytes / 1024.0)),
                ]);
            }
        }
        table.note("Each connection was used once before. The kernel's part of a socket is not counted.")
    }

    fn targets(&self) -> Table {
        let mut table = Table::new(["target for valkyrie", "figure", "wanted", "measured", "verdict"]);
        for target in &self.targets {
            let wanted = match target.wanted {
                Bound::AtMost(bound) => format!("≤ {}", short(bound)),
                Bound::AtLeast(bound) => format!("≥ {}", short(bound)),
            };
            table.row([
                target.scenario.clone(),
                target.figure.clone(),
                wanted,
                short(target.measured),
                if target.met { "met" } else { "missed" }.to_owned(),
            ]);
        }
        table
    }
}

/// A number with a unit of thousands.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn bytes(value: f64) -> String {
    format!("{:.2} GB", value / 1e9)
}

fn three_digits(value: f64) -> String {
    match value {
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
