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
use std::sync::atomic::AtomicU64;
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
use crate::units::{Count, Span, parse_duration, parse_messages, parse_rate, parse_size};

/// Measures rate, latency and CPU time against a server of `valkyrie serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --rate the next message begins when one is done (a closed loop). With --rate messages are due at fixed
times, and latency counts from when a message was due, whether or not it could be sent then.

The measurement ends at --seconds or after --messages, at the first of both where both are given. Notifications and
messages of one-way shapes count when the server has confirmed that it took them.

CPU time is of the whole processes. The server's is asked of its service health/process.
Connections are encrypted; --plain on both ends shows what that costs.

Examples:
  valkyrie bench tcp://127.0.0.1:7000
  valkyrie bench tcp://127.0.0.1:7000 --in-flight 256
  valkyrie bench tcp://127.0.0.1:7000 -n 100k
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

    /// How many messages are measured, over all connections.
    #[arg(short = 'n', long, value_name = "N", value_parser = parse_messages)]
    messages: Option<u64>,

    /// How long is measured; 5 seconds where --messages is not given either.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    seconds: Option<Duration>,

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

impl BenchArgs {
    /// Where the measurement ends.
    fn bounds(&self) -> Bounds {
        Bounds {
            time: self
                .seconds
                .or_else(|| self.messages.is_none().then_some(SECONDS_DEFAULT)),
            messages: self.messages,
        }
    }
}

/// Where a run of the load ends: at the first of both.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time: Option<Duration>,
    messages: Option<u64>,
}

impl Bounds {
    /// How much of it is over, from 0 to 1.
    fn part(&self, elapsed: Duration, done: u64) -> f64 {
        let of_time = self.time.map(|time| elapsed.as_secs_f64() / time.as_secs_f64());
        let of_messages = self.messages.map(|messages| done as f64 / messages as f64);
        of_time
            .unwrap_or(0.0)
            .max(of_messages.unwrap_or(0.0))
            .clamp(0.0, 1.0)
    }
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
    if args.seconds.is_some_and(|seconds| seconds.is_zero()) {
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
    let dial = args.dial.endpoint(access).await?;
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
    let mut watch = Watch {
        signals,
        notes,
        caught: None,
    };
    if !args.warm_up.is_zero() {
        let bounds = Bounds {
            time: Some(args.warm_up),
            messages: None,
        };
        drop(run_load(args, &connections, bounds, &mut watch).await?);
    }
    let first = sample(control, args.timeout).await;
    let ran = run_load(args, &connections, args.bounds(), &mut watch).await?;
    // Who interrupts does not want to wait for a server that is busy.
    let patience = watch
        .caught
        .map_or(args.timeout, |_| args.timeout.min(ASK_WHEN_INTERRUPTED));
    let last = sample(control, patience).await;
    let mut report = Report::new(args, &ran, &first, &last);
    report.interrupted = watch.caught.is_some();
    report.protected_by(control.identity().suite());
    Ok((report, watch.caught))
}

/// What became of the load from its first message to the confirmation of its last.
struct Ran {
    /// Messages that are done: answered, or taken where nothing is answered.
    done: u64,
    reading: Reading,
    time: Duration,
    overdue: u64,
}

/// Lets workers run until a bound, a signal or a failure. What they began by then they bring to its end, which
/// belongs to the time and to the count: a server that is slow to confirm was slow to do it.
async fn run_load(
    args: &BenchArgs,
    connections: &[Connection],
    bounds: Bounds,
    watch: &mut Watch<'_>,
) -> Result<Ran, CliError> {
    let (service, method) = args.shape.method();
    let begun = Instant::now();
    let pacer = args.rate.map(|rate| Pacer::start(rate, begun)).transpose()?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = Arc::new(Load {
        method: Method::new(service, method)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?,
        payload: Bytes::from(pattern(args.payload)),
        class: args.class,
        in_flight: args.in_flight as usize,
        timeout: args.timeout,
        meter: Meter::new(connections.len()),
        pacer,
        left: bounds.messages.map(AtomicU64::new),
        stopped,
    });
    let mut workers = JoinSet::new();
    for (index, connection) in connections.iter().enumerate() {
        load::spawn(args.shape, &load, index, connection, &mut workers);
    }
    watch.until_over(&mut workers, &load.meter, begun, bounds).await?;
    let overdue = load.overdue(Instant::now());
    let _ = stop.send(true);
    watch.finish(&mut workers, args.timeout + GRACE).await?;
    Ok(Ran {
        done: load.meter.done(),
        reading: load.meter.reading(),
        time: begun.elapsed(),
        overdue,
    })
}

/// Waits for the workers. Where a signal ends the wait, what was measured until then counts.
struct Watch<'a> {
    signals: &'a mut Signals,
    notes: Notes,
    caught: Option<Caught>,
}

type Workers = JoinSet<Result<(), CliError>>;

impl Watch<'_> {
    /// Waits until a bound or a signal, and shows progress meanwhile.
    async fn until_over(
        &mut self,
        workers: &mut Workers,
        meter: &Meter,
        begun: Instant,
        bounds: Bounds,
    ) -> Result<(), CliError> {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let end = async {
            match bounds.time {
                Some(time) => tokio::time::sleep_until((begun + time).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        while self.caught.is_none() {
            tokio::select! {
                () = &mut end => break,
                caught = self.signals.next() => self.caught = Some(caught),
                ended = workers.join_next() => match ended {
                    Some(ended) => result_of(ended)?,
                    None => break,
                },
                _ = ticks.tick(), if self.notes.is_live() => progress(meter, begun, bounds, self.notes),
            }
        }
        Ok(())
    }

    /// Lets the workers, which have been told to stop, finish what they began.
    async fn finish(&mut self, workers: &mut Workers, grace: Duration) -> Result<(), CliError> {
        let deadline = Instant::now() + grace;
        while self.caught.is_none() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {
                    let message = "the peer did not confirm in time what it was sent";
                    return Err(CliError::new(Exit::Deadline, message).hint("--timeout gives it longer"));
                }
                caught = self.signals.next() => self.caught = Some(caught),
                ended = workers.join_next() => match ended {
                    Some(ended) => result_of(ended)?,
                    None => break,
                },
            }
        }
        Ok(())
    }
}

/// What a worker's end says about the measurement.
fn result_of(ended: Result<Result<(), CliError>, tokio::task::JoinError>) -> Result<(), CliError> {
    ended.unwrap_or_else(|error| {
        Err(CliError::new(
            Exit::Local,
            format!("a part of the benchmark broke: {error}"),
        ))
    })
}

/// What both sides have used until one moment.
struct Sample {
    own_cpu: Duration,
    server: Option<ProcessReport>,
}

async fn sample(control: &Connection, patience: Duration) -> Sample {
    Sample {
        own_cpu: process::cpu_time(),
        server: server_report(control, patience).await,
    }
}

/// What the server has used. A server without that service has said everything it has to say.
async fn server_report(control: &Connection, patience: Duration) -> Option<ProcessReport> {
    let call = control
        .call(("health", "process"), Bytes::new())
        .class(Class::Job)
        .timeout(patience);
    let answer = call.await.ok()?;
    serde_json::from_slice(&answer).ok()
}

fn progress(meter: &Meter, begun: Instant, bounds: Bounds, notes: Notes) {
    let now = Instant::now();
    let elapsed = now.duration_since(begun);
    let part = bounds.part(elapsed, meter.done());
    let filled = (part * PROGRESS_CELLS as f64) as usize;
    let paint = notes.paint();
    let Reading { latency, .. } = meter.reading();
    let mut line = format!(
        "{}{} {:>4.1} s  {}/s",
        paint.name("━".repeat(filled)),
        paint.dim("━".repeat(PROGRESS_CELLS - filled)),
        match bounds.time {
            Some(time) => time.saturating_sub(elapsed).as_secs_f64(),
            None => elapsed.as_secs_f64(),
        },
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

/// How long is measured where nothing is said about it.
const SECONDS_DEFAULT: Duration = Duration::from_secs(5);

/// How long the server may take, after Ctrl-C, to say what it has used.
const ASK_WHEN_INTERRUPTED: Duration = Duration::from_secs(2);

/// What answers that are due may take on top of their timeout.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait for the peer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
