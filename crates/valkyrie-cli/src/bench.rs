//! `valkyrie bench`: how fast is this peer, seen from here.
//!
//! Closed loop (no `--rate`): as soon as a message is done the next begins, and latency is what a message took. Open
//! loop (`--rate`): messages are due at fixed times whatever the peer does, and latency counts from the time a message
//! was due, so a peer that stalls is charged for every message that the stall kept waiting. Read [`load`] next.

mod load;
mod meter;
mod pacer;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use valkyrie::frame::MAX_PAYLOAD_BYTES;
use valkyrie::{CallError, Class, Connection, ErrorCode, Method};

use self::load::Load;
use self::meter::{Meter, Reading};
use self::pacer::Pacer;
use self::report::Report;
use crate::access::Access;
use crate::exit::{CliError, Exit};
use crate::net::{self, Dial, DialArgs, parse_class};
use crate::out::{Notes, Out};
use crate::process;
use crate::serve::ProcessReport;
use crate::signals::{Caught, Signals};
use crate::units::{Count, Span, parse_duration, parse_rate, parse_size};

/// Measures rate, latency and CPU time against a server of `valkyrie serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --rate the next message begins when one is done (a closed loop). With --rate messages are due at fixed
times, and latency counts from when a message was due, whether or not it could be sent then.

CPU time is of the whole processes. The server's is asked of its service health/process.
Connections are encrypted; --plain on both ends shows what that costs.

Examples:
  valkyrie bench tcp://127.0.0.1:7000
  valkyrie bench tcp://127.0.0.1:7000 --in-flight 256
  valkyrie bench tcp://127.0.0.1:7000 --in-flight 64 --rate 20k --seconds 30
  valkyrie bench uds:///run/valkyrie.sock --shape one-way --payload 64KiB --json")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    dial: DialArgs,

    /// What is measured.
    #[arg(short, long, value_enum, default_value_t)]
    shape: Shape,

    /// Payload bytes of each message.
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = parse_size)]
    payload: usize,

    /// Messages on their way at once, on each connection. One-way shapes are bounded by the peer's credit instead.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,

    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse_duration)]
    seconds: Duration,

    /// How long runs before that unmeasured.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    warm_up: Duration,

    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    connections: u32,

    /// Messages due in a second, over all connections; as many as go unless given.
    #[arg(short, long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,

    /// The class of service: system, job, data or bulk.
    #[arg(short, long, value_name = "CLASS", default_value = "data", value_parser = parse_class)]
    class: Class,

    /// How long each answer may take.
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,

    /// Threads of this side; one for each connection, as far as there are cores, unless told otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// A call of echo/echo: one request, one response.
    #[default]
    Unary,
    /// A message on a stream that echo/stream sends back.
    Stream,
    /// A message on a stream that echo/discard takes.
    OneWay,
    /// A notification that echo/notify takes.
    Notify,
}

impl Shape {
    fn method(self) -> (&'static str, &'static str) {
        match self {
            Self::Unary => ("echo", "echo"),
            Self::Stream => ("echo", "stream"),
            Self::OneWay => ("echo", "discard"),
            Self::Notify => ("echo", "notify"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Stream => "stream",
            Self::OneWay => "one-way",
            Self::Notify => "notify",
        }
    }

    /// Whether something comes back for each message, by which its latency is known.
    fn echoes(self) -> bool {
        matches!(self, Self::Unary | Self::Stream)
    }
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    check(args)?;
    let threads = args
        .threads
        .map_or_else(|| net::cores().min(args.connections as usize), usize::from);
    let access = args.dial.access(notes)?;
    net::block_on(threads, bench(args, access, out, notes))
}

fn check(args: &BenchArgs) -> Result<(), CliError> {
    if args.payload > MAX_PAYLOAD_BYTES as usize {
        return Err(CliError::new(Exit::Usage, "a message holds 64 MiB at most"));
    }
    if args.class == Class::Critical {
        return Err(CliError::new(
            Exit::Usage,
            "the critical class is rate-limited and no measure of anything",
        ));
    }
    if args.class == Class::Bulk && args.shape != Shape::Unary {
        return Err(CliError::new(
            Exit::Usage,
            "the bulk class may drop messages, and a dropped one has no latency",
        )
        .hint("choose class system, job or data"));
    }
    if args.seconds.is_zero() {
        return Err(CliError::new(Exit::Usage, "nothing can be measured in no time"));
    }
    Ok(())
}

async fn bench(
    args: &BenchArgs,
    access: Option<Access>,
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let mut signals = Signals::install()?;
    let dial = args.dial.endpoint(access)?;
    let connecting = connect(args, &dial);
    let (control, connections) = tokio::select! {
        connected = connecting => connected?,
        caught = signals.next() => return Err(CliError::silent(caught.exit())),
    };
    let peer = control.peer().to_owned();
    let ended = measure(args, &control, connections, &mut signals, notes).await;
    notes.end_live();
    drop(control);
    tokio::select! {
        _ = dial.endpoint.drain(GOODBYE) => {}
        _ = signals.next() => {}
    }
    let (report, caught) = ended?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        report::show(out, &report, &peer)?;
    }
    match caught {
        Some(caught) => Err(CliError::silent(caught.exit())),
        None if report.failed > 0 => Err(CliError::new(
            Exit::Failed,
            format!(
                "{} of {} messages failed",
                report.failed,
                report.failed + report.messages
            ),
        )),
        None => Ok(()),
    }
}

/// One connection to ask the server questions on, and those that carry the load.
async fn connect(args: &BenchArgs, dial: &Dial<'_>) -> Result<(Connection, Vec<Connection>), CliError> {
    let control = dial.connect().await?;
    let mut connections = Vec::with_capacity(args.connections as usize);
    for _ in 0..args.connections {
        connections.push(dial.connect().await?);
    }
    Ok((control, connections))
}

async fn measure(
    args: &BenchArgs,
    control: &Connection,
    connections: Vec<Connection>,
    signals: &mut Signals,
    notes: Notes,
) -> Result<(Report, Option<Caught>), CliError> {
    let (service, method) = args.shape.method();
    let begun = Instant::now();
    let from = begun + args.warm_up;
    let to = from + args.seconds;
    let pacer = args.rate.map(|rate| Pacer::start(rate, begun)).transpose()?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = Arc::new(Load {
        method: Method::new(service, method)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?,
        payload: Bytes::from(pattern(args.payload)),
        class: args.class,
        in_flight: args.in_flight as usize,
        timeout: args.timeout,
        meter: Meter::new(connections.len(), from, to),
        pacer,
        stopped,
    });
    let mut workers = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        load::spawn(args.shape, &load, index, &connection, &mut workers);
    }

    let mut watch = Watch {
        workers,
        signals,
        notes,
        caught: None,
        failed: None,
    };
    watch.until(from, &load.meter, begun, to).await;
    let first = sample(control, &load.meter).await;
    watch.until(to, &load.meter, begun, to).await;
    let last = sample(control, &load.meter).await;
    let over = Instant::now();
    let overdue = load.pacer.as_ref().map_or(0, Pacer::overdue);
    let _ = stop.send(true);
    let caught = watch.finish(args.timeout + GRACE).await?;
    let reading = load.meter.reading();
    let seconds = over.min(to).saturating_duration_since(from.min(over));
    let mut report = Report::new(args, &reading, seconds, &first, &last);
    report.overdue = overdue;
    report.interrupted = caught.is_some();
    report.protected_by(control.identity().suite());
    Ok((report, caught))
}

/// Waits for the workers. Whatever ends the wait, what was measured until then counts.
struct Watch<'a> {
    workers: JoinSet<Result<(), CliError>>,
    signals: &'a mut Signals,
    notes: Notes,
    caught: Option<Caught>,
    failed: Option<CliError>,
}

impl Watch<'_> {
    /// Waits until `deadline`, a signal or a worker's failure, and shows progress meanwhile.
    async fn until(&mut self, deadline: Instant, meter: &Meter, begun: Instant, to: Instant) {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        while self.caught.is_none() && self.failed.is_none() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => return,
                caught = self.signals.next() => self.caught = Some(caught),
                Some(ended) = self.workers.join_next() => self.failed = failure_of(ended),
                _ = ticks.tick(), if self.notes.is_live() => progress(meter, begun, to, self.notes),
            }
        }
    }

    /// Lets the workers, which have been told to stop, finish what they began.
    async fn finish(mut self, grace: Duration) -> Result<Option<Caught>, CliError> {
        let deadline = Instant::now() + grace;
        while self.caught.is_none() && self.failed.is_none() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => break,
                caught = self.signals.next() => self.caught = Some(caught),
                ended = self.workers.join_next() => match ended {
                    Some(ended) => self.failed = failure_of(ended),
                    None => break,
                },
            }
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.caught),
        }
    }
}

/// What a worker's end says about the measurement; `None` for an end that was due.
fn failure_of(ended: Result<Result<(), CliError>, tokio::task::JoinError>) -> Option<CliError> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(CliError::new(
            Exit::Local,
            format!("a part of the benchmark broke: {error}"),
        )),
    }
}

/// The counters of both sides at one moment.
struct Sample {
    at: Instant,
    done: u64,
    own_cpu: Duration,
    server: Option<ProcessReport>,
}

async fn sample(control: &Connection, meter: &Meter) -> Sample {
    let server = server_report(control).await;
    Sample {
        at: Instant::now(),
        done: meter.done(),
        own_cpu: process::cpu_time(),
        server,
    }
}

/// What the server has used. A server without that service has said everything it has to say.
async fn server_report(control: &Connection) -> Option<ProcessReport> {
    let call = control
        .call(("health", "process"), Bytes::new())
        .class(Class::Job)
        .timeout(ASK_TIMEOUT);
    let answer = call.await.ok()?;
    serde_json::from_slice(&answer).ok()
}

fn progress(meter: &Meter, begun: Instant, to: Instant, notes: Notes) {
    let now = Instant::now();
    let whole = to.duration_since(begun).as_secs_f64();
    let part = (now.duration_since(begun).as_secs_f64() / whole).min(1.0);
    let filled = (part * PROGRESS_CELLS as f64) as usize;
    let paint = notes.paint();
    let Reading { latency, .. } = meter.reading();
    let mut line = format!(
        "{}{} {:>4.1} s  {}/s",
        paint.name("━".repeat(filled)),
        paint.dim("━".repeat(PROGRESS_CELLS - filled)),
        (whole * (1.0 - part)).max(0.0),
        Count(meter.rate_since_last(now)),
    );
    if !latency.is_empty() {
        let at = |quantile| Span(Duration::from_nanos(latency.value_at_quantile(quantile)));
        line.push_str(&format!("  p50 {}  p99 {}", at(0.5), at(0.99)));
    }
    notes.live(line);
}

/// Bytes that no compression or shortcut makes cheap.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..len)
        .map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Whether the load goes on after a call that failed so. The others would fail again and again.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::DeadlineExceeded => true,
        CallError::Failed(failure) => matches!(
            failure.code,
            ErrorCode::OVERLOADED
                | ErrorCode::REFUSED
                | ErrorCode::RESOURCE_EXHAUSTED
                | ErrorCode::UNAVAILABLE
                | ErrorCode::DEADLINE_EXCEEDED
        ),
        _ => false,
    }
}

/// How often a person sees progress: often enough to live, rarely enough to read.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

const PROGRESS_CELLS: usize = 24;

/// How long the server may take to say what it has used.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What answers that are due may take on top of their timeout.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait for the peer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
