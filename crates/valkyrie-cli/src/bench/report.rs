//! What a benchmark found, for people and for scripts.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use valkyrie::security::SuiteId;

use super::{BenchArgs, Ran, Sample};
use crate::exit::CliError;
use crate::out::Out;
use crate::units::{Count, Size, Span};
use crate::who;

/// The whole result.
#[derive(Serialize)]
pub(crate) struct Report {
    locator: String,
    /// Nothing is encrypted.
    plain: bool,
    /// The suite of the handshake; null when the connection is plain.
    suite: Option<String>,
    cipher: Option<&'static str>,
    shape: &'static str,
    class: &'static str,
    payload_bytes: usize,
    in_flight: u32,
    connections: u32,
    rate_wanted: Option<f64>,
    messages_wanted: Option<u64>,
    /// From the first message until the last was done.
    seconds: f64,
    pub(crate) messages: u64,
    pub(crate) failed: u64,
    messages_per_second: f64,
    payload_bytes_per_second: f64,
    latency: Option<Latency>,
    cpu_seconds_per_million_messages: Cpu,
    server_resident_bytes: Option<u64>,
    /// Messages that were due in an open loop and that nobody was free to send.
    overdue: u64,
    pub(crate) interrupted: bool,
    #[serde(skip)]
    echoes: bool,
}

/// Microseconds from when a message was due until its answer was here.
#[derive(Serialize)]
struct Latency {
    count: u64,
    min_us: f64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
    /// Rows of equal width on a logarithmic scale.
    histogram: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    up_to_us: f64,
    count: u64,
}

/// CPU seconds of whole processes for each million messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpu {
    client: Option<f64>,
    server: Option<f64>,
    both: Option<f64>,
}

impl Cpu {
    fn between(first: &Sample, last: &Sample, messages: u64) -> Self {
        let per_million = |seconds: f64| (messages > 0).then(|| seconds / messages as f64 * 1e6);
        let client = per_million(last.own_cpu.saturating_sub(first.own_cpu).as_secs_f64());
        let server = match (&first.server, &last.server) {
            // Another process would mean that the server was started again in between.
            (Some(first), Some(last)) if first.pid == last.pid => {
                per_million(last.cpu_seconds - first.cpu_seconds)
            }
            _ => None,
        };
        Self {
            client,
            server,
            both: client.zip(server).map(|(client, server)| client + server),
        }
    }
}

impl Report {
    pub(super) fn new(args: &BenchArgs, ran: &Ran, first: &Sample, last: &Sample) -> Self {
        let seconds = ran.time.as_secs_f64();
        let per_second = if seconds > 0.0 {
            ran.done as f64 / seconds
        } else {
            0.0
        };
        Self {
            locator: args.dial.locator.to_string(),
            plain: true,
            suite: None,
            cipher: None,
            shape: args.shape.name(),
            class: args.class.name(),
            payload_bytes: args.payload,
            in_flight: args.in_flight,
            connections: args.connections,
            rate_wanted: args.rate,
            messages_wanted: args.messages,
            seconds,
            messages: ran.done,
            failed: ran.reading.failed,
            messages_per_second: per_second,
            payload_bytes_per_second: per_second * args.payload as f64,
            latency: Latency::of(&ran.reading.latency),
            cpu_seconds_per_million_messages: Cpu::between(first, last, ran.done),
            server_resident_bytes: last.server.as_ref().and_then(|server| server.resident_bytes),
            overdue: ran.overdue,
            interrupted: false,
            echoes: args.shape.echoes(),
        }
    }

    /// Notes what protected the connections.
    pub(super) fn protected_by(&mut self, suite: Option<SuiteId>) {
        self.plain = suite.is_none();
        self.suite = suite.map(|id| id.to_string());
        self.cipher = suite
            .and_then(SuiteId::suite)
            .map(|suite| who::cipher(suite.cipher));
    }
}

impl Latency {
    fn of(latency: &Histogram<u64>) -> Option<Self> {
        if latency.is_empty() {
            return None;
        }
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        Some(Self {
            count: latency.len(),
            min_us: latency.min() as f64 / 1e3,
            mean_us: latency.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: latency.max() as f64 / 1e3,
            histogram: rows(latency),
        })
    }
}

/// Counts in steps that grow by a constant factor from the least latency to the greatest.
fn rows(latency: &Histogram<u64>) -> Vec<Row> {
    let (low, high) = (latency.min().max(1) as f64, latency.max().max(2) as f64);
    let factor = (high / low).powf(1.0 / HISTOGRAM_ROWS as f64).max(1.01);
    let mut rows = Vec::with_capacity(HISTOGRAM_ROWS);
    let (mut from, mut left) = (0, latency.len());
    for number in 1..=HISTOGRAM_ROWS {
        let up_to = (low * factor.powi(number as i32)) as u64;
        // A value belongs to the row in which its bucket ends, so neighbours never count one twice.
        let count = if number == HISTOGRAM_ROWS {
            left
        } else {
            let until_here = (latency.quantile_below(up_to) * latency.len() as f64).round() as u64;
            until_here.saturating_sub(from).min(left)
        };
        from += count;
        left -= count;
        rows.push(Row {
            up_to_us: up_to as f64 / 1e3,
            count,
        });
        if left == 0 {
            break;
        }
    }
    rows
}

const HISTOGRAM_ROWS: usize = 14;

const BAR_CELLS: usize = 40;

/// Prints the result for a person.
pub(crate) fn show(out: &mut Out, report: &Report, peer: &str) -> Result<(), CliError> {
    let paint = out.paint();
    let mut title = format!(
        "{} · {} · class {} · {} in flight · {} connection{} · {:.1} s · {} · {peer}",
        report.shape,
        Size(report.payload_bytes as f64),
        report.class,
        report.in_flight,
        report.connections,
        if report.connections == 1 { "" } else { "s" },
        report.seconds,
        report.cipher.unwrap_or("plain"),
    );
    if !report.echoes {
        title = title.replace(&format!("{} in flight · ", report.in_flight), "");
    }
    if report.interrupted {
        title.push_str(" · interrupted");
    }
    out.line(paint.bold(title))?;
    out.line("")?;
    let mut row = |label: &str, text: String| {
        out.line(format_args!("  {} {text}", paint.dim(format_args!("{label:<8}"))))
    };

    let ways = if report.echoes { " each way" } else { "" };
    let mut rate = format!(
        "{}/s   {}/s of payload{ways}   {} messages",
        paint.bold(Count(report.messages_per_second.round())),
        Size(report.payload_bytes_per_second),
        Count(report.messages as f64),
    );
    if let Some(wanted) = report.rate_wanted {
        let short = report.messages_per_second < wanted * RATE_MET;
        let text = format!("   wanted {}/s", Count(wanted));
        rate.push_str(&if short {
            paint.warn(text).to_string()
        } else {
            paint.dim(text).to_string()
        });
    }
    row("rate", rate)?;
    if let Some(latency) = &report.latency {
        let span = |micros: f64| Span(Duration::from_nanos((micros * 1e3) as u64));
        row(
            "latency",
            format!(
                "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
                paint.bold(span(latency.p50_us)),
                span(latency.p90_us),
                paint.bold(span(latency.p99_us)),
                span(latency.p99_9_us),
                span(latency.max_us),
            ),
        )?;
    }
    let cpu = &report.cpu_seconds_per_million_messages;
    let seconds = |cpu: Option<f64>| cpu.map_or_else(|| "?".to_owned(), |cpu| format!("{cpu:.2} s"));
    let both = match cpu.both {
        Some(_) => format!("both {}   for a million messages", paint.bold(seconds(cpu.both))),
        None => "for a million messages (the server does not say what it used)".to_owned(),
    };
    row(
        "CPU",
        format!(
            "client {}   server {}   {both}",
            seconds(cpu.client),
            seconds(cpu.server)
        ),
    )?;
    if report.overdue > 0 {
        let text = format!(
            "{} messages were due and never sent",
            Count(report.overdue as f64)
        );
        row("overdue", paint.warn(text).to_string())?;
    }
    if report.failed > 0 {
        row("failed", paint.error(Count(report.failed as f64)).to_string())?;
    }
    if let Some(latency) = &report.latency {
        out.line("")?;
        bars(out, latency)?;
    }
    out.flush()
}

fn bars(out: &mut Out, latency: &Latency) -> Result<(), CliError> {
    let paint = out.paint();
    let most = latency
        .histogram
        .iter()
        .map(|row| row.count)
        .max()
        .unwrap_or(0)
        .max(1);
    for row in &latency.histogram {
        let eighths = (row.count as f64 / most as f64 * (BAR_CELLS * 8) as f64).ceil() as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.push_str(EIGHTHS[eighths % 8]);
        let share = row.count as f64 / latency.count as f64 * 100.0;
        let up_to = Span(Duration::from_nanos((row.up_to_us * 1e3) as u64));
        let mut line = format!("  {}", paint.dim(format_args!("≤ {up_to:>9}")));
        if row.count > 0 {
            let bar = paint.name(format!("{bar:<BAR_CELLS$}"));
            line.push_str(&format!(" {bar} {share:>6.2} %  {}", Count(row.count as f64)));
        }
        out.line(line)?;
    }
    Ok(())
}

const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A rate this near to the wanted one is met.
const RATE_MET: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_every_message_once() {
        let mut latency = Histogram::<u64>::new_with_bounds(16, 3_600_000_000_000, 3).expect("bounds");
        for nanos in [900, 1000, 1100, 5000, 50_000, 50_001, 9_000_000] {
            latency.record(nanos).expect("within the bounds");
        }
        let rows = rows(&latency);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 7);
        assert!(rows.windows(2).all(|pair| pair[0].up_to_us < pair[1].up_to_us));
        let last = rows.last().expect("rows");
        assert_eq!(last.count, 1, "the slowest message stands alone");
    }

    #[test]
    fn rows_of_one_value_are_one_row() {
        let mut latency = Histogram::<u64>::new_with_bounds(16, 3_600_000_000_000, 3).expect("bounds");
        latency.record_n(10_000, 50).expect("within the bounds");
        let rows = rows(&latency);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 50);
        assert_eq!(rows.iter().filter(|row| row.count > 0).count(), 1);
    }
}
