//! `valkyrie ping`: is the peer there, and how far away.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use valkyrie::Connection;

use crate::access::Access;
use crate::exit::{CliError, Exit};
use crate::net::{self, DialArgs};
use crate::out::{Notes, Out};
use crate::signals::{Caught, Signals};
use crate::units::{Span, parse_duration};
use crate::who::Who;

/// Measures the round trip to a peer with PING frames.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie ping tcp://127.0.0.1:7000
  valkyrie ping tcp://127.0.0.1:7000 -v -n 1
  valkyrie ping uds:///run/valkyrie.sock --count 100 --interval 20ms --json")]
pub(crate) struct PingArgs {
    #[command(flatten)]
    dial: DialArgs,

    /// How many pings; 0 goes on until Ctrl-C.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4)]
    count: u64,

    /// The time from one ping to the next; at least 20ms, since peers end connections that ping without measure.
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,

    /// How long each answer may take.
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,

    /// Say who the peer is, how it is trusted, and what protects the connection.
    #[arg(short, long)]
    verbose: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < INTERVAL_MIN {
        return Err("pings are at least 20ms apart".to_owned());
    }
    Ok(interval)
}

/// Half of what peers bear by default: 100 pings in a second.
const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Runs the command.
pub(crate) fn run(args: &PingArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let access = args.dial.access(notes)?;
    net::block_on(1, ping(args, access, out))
}

async fn ping(args: &PingArgs, access: Option<Access>, out: &mut Out) -> Result<(), CliError> {
    let mut signals = Signals::install()?;
    let dial = args.dial.endpoint(access).await?;
    let begun = Instant::now();
    let connection = tokio::select! {
        connected = dial.connect() => connected?,
        caught = signals.next() => return Err(CliError::silent(caught.exit())),
    };
    let connected_in = begun.elapsed();
    if out.is_json() {
        let who = Who::of(&connection);
        out.json(&json!({
            "event": "connected", "peer": connection.peer(), "us": micros(connected_in), "security": who,
        }))?;
    } else {
        let paint = out.paint();
        out.line(format_args!(
            "connected to {} in {}",
            paint.bold(connection.peer()),
            Span(connected_in)
        ))?;
        if args.verbose {
            Who::of(&connection).show(out)?;
        }
        out.flush()?;
    }
    let mut tally = Tally::default();
    let ended = tokio::select! {
        ended = rounds(args, &connection, out, &mut tally) => ended.map(|()| None),
        caught = signals.next() => Ok(Some(caught)),
    };
    tally.show(out)?;
    tokio::select! {
        _ = dial.endpoint.drain(GOODBYE) => {}
        _ = signals.next() => {}
    }
    match ended? {
        // Whoever asked for pings without end has got what was wanted.
        Some(Caught::Interrupt) if args.count == 0 => Ok(()),
        Some(caught) => Err(CliError::silent(caught.exit())),
        None => Ok(()),
    }
}

async fn rounds(
    args: &PingArgs,
    connection: &Connection,
    out: &mut Out,
    tally: &mut Tally,
) -> Result<(), CliError> {
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    while args.count == 0 || number < args.count {
        ticks.tick().await;
        number += 1;
        tally.sent += 1;
        let rtt = tokio::time::timeout(args.timeout, connection.ping())
            .await
            .map_err(|_| {
                CliError::new(
                    Exit::Deadline,
                    format!("ping {number} was not answered within {}", Span(args.timeout)),
                )
            })??;
        tally.add(rtt);
        if out.is_json() {
            out.json(&json!({"event": "pong", "number": number, "us": micros(rtt)}))?;
        } else {
            out.line(format_args!("pong {number:<4} {}", Span(rtt)))?;
            out.flush()?;
        }
    }
    Ok(())
}

/// What came back so far.
#[derive(Default)]
struct Tally {
    sent: u64,
    round_trips: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, rtt: Duration) {
        // A ping without end must not grow without end: past the bound the oldest make room.
        if self.round_trips.len() == ROUND_TRIPS_MAX {
            self.round_trips.drain(..ROUND_TRIPS_MAX / 2);
        }
        self.round_trips.push(rtt);
    }

    fn show(&self, out: &mut Out) -> Result<(), CliError> {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Ok(());
        };
        let median = sorted[sorted.len() / 2];
        if out.is_json() {
            return out.json(&json!({
                "event": "summary", "sent": self.sent, "answered": sorted.len(),
                "min_us": micros(min), "median_us": micros(median), "max_us": micros(max),
            }));
        }
        let paint = out.paint();
        out.line(format_args!(
            "{} of {} answered {} min {} {} median {} {} max {}",
            sorted.len(),
            self.sent,
            paint.dim("·"),
            Span(min),
            paint.dim("·"),
            paint.bold(Span(median)),
            paint.dim("·"),
            Span(max),
        ))?;
        out.flush()
    }
}

/// Microseconds with their fraction.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A day of pings a second.
const ROUND_TRIPS_MAX: usize = 86_400;

/// How long to wait for the peer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
