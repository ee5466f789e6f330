//! `valkyrie call`: one request, one answer.

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use valkyrie::frame::MAX_PAYLOAD_BYTES;
use valkyrie::{Class, Connection, Method, Priority};

use crate::decode::{as_text, dump, hex_of};
use crate::exit::{CliError, Exit};
use crate::net::{self, DialArgs, parse_class};
use crate::out::{Notes, Out};
use crate::units::{Size, Span, parse_duration};

/// Calls a method and prints its answer.
#[derive(Args, Debug)]
#[command(after_help = "\
The answer's bytes are printed as they are. On a terminal, JSON is indented and what is not text is dumped in hex.

Examples:
  valkyrie call tcp://127.0.0.1:7000 echo echo --data hello
  valkyrie call tcp://127.0.0.1:7000 describe services | jq .
  valkyrie call uds:///run/valkyrie.sock echo echo --data @picture.png > same.png
  valkyrie call tcp://127.0.0.1:7000 echo delay --data 2s --timeout 500ms; echo $?")]
pub(crate) struct CallArgs {
    #[command(flatten)]
    dial: DialArgs,

    /// The service.
    service: String,

    /// The method.
    method: String,

    /// The request's bytes: text, @PATH for a file, @- for standard input, @@ for an @ itself. Empty unless given.
    #[arg(short, long, value_name = "DATA")]
    data: Option<String>,

    /// How long the answer may take. Both sides give up then.
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,

    /// The class of service: critical, system, job, data or bulk.
    #[arg(short, long, value_name = "CLASS", default_value = "data", value_parser = parse_class)]
    class: Class,

    /// The priority within the class; the middle of its band unless given.
    #[arg(short, long, value_name = "N")]
    priority: Option<u8>,

    /// Calls so many times, one after the other, on one connection.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
}

/// Runs the command.
pub(crate) fn run(args: &CallArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let method = Method::new(&args.service, &args.method)
        .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
    if let Some(priority) = args
        .priority
        .filter(|&priority| !Priority::from_byte(priority).fits(args.class))
    {
        let band = args.class.band();
        return Err(CliError::new(
            Exit::Usage,
            format!("priority {priority} is not one of class {}", args.class),
        )
        .hint(format!("its priorities are {} to {}", band.start(), band.end())));
    }
    let payload = read_data(args.data.as_deref())?;
    let access = args.dial.access(notes)?;
    net::block_on(1, async {
        let dial = args.dial.endpoint(access).await?;
        let work = async {
            let connection = dial.connect().await?;
            calls(args, &connection, &method, payload, out, notes).await
        };
        net::until_signal(&dial.endpoint, work).await
    })
}

async fn calls(
    args: &CallArgs,
    connection: &Connection,
    method: &Method,
    payload: Bytes,
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let mut times = Vec::new();
    for _ in 0..args.repeat {
        let mut call = connection
            .call(method, payload.clone())
            .class(args.class)
            .timeout(args.timeout);
        if let Some(priority) = args.priority {
            call = call.priority(Priority::from_byte(priority));
        }
        let begun = Instant::now();
        let answer = call.await?;
        let took = begun.elapsed();
        if times.len() < TIMES_MAX {
            times.push(took);
        }
        show(args, &answer, took, out)?;
    }
    if args.repeat > 1 {
        times.sort_unstable();
        let (min, median, max) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        notes.remark(format_args!(
            "{} calls · min {} · median {} · max {}",
            args.repeat,
            Span(min),
            Span(median),
            Span(max)
        ));
    }
    Ok(())
}

fn show(args: &CallArgs, answer: &Bytes, took: Duration, out: &mut Out) -> Result<(), CliError> {
    if out.is_json() {
        let mut value = json!({
            "service": args.service,
            "method": args.method,
            "us": took.as_nanos() as f64 / 1e3,
            "bytes": answer.len(),
        });
        if let Ok(parsed) = serde_json::from_slice::<Value>(answer) {
            value["json"] = parsed;
        } else if let Ok(text) = std::str::from_utf8(answer) {
            value["text"] = text.into();
        } else {
            value["hex"] = hex_of(answer).into();
        }
        return out.json(&value);
    }
    if !std::io::stdout().is_terminal() {
        out.raw(answer)?;
        return out.flush();
    }
    let parsed = serde_json::from_slice::<Value>(answer)
        .ok()
        .filter(|value| value.is_object() || value.is_array());
    if let Some(value) = parsed {
        out.line(format_args!("{value:#}"))?;
    } else if let Some(text) = as_text(answer).filter(|text| text.len() == answer.len()) {
        out.raw(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.line("")?;
        }
    } else {
        let shown = &answer[..answer.len().min(DUMP_BYTES_MAX)];
        for row in dump(shown) {
            out.line(row)?;
        }
        if shown.len() < answer.len() {
            let paint = out.paint();
            let rest = Size((answer.len() - shown.len()) as f64);
            out.line(paint.dim(format_args!("{rest} more; redirect the output to keep all")))?;
        }
    }
    out.flush()
}

fn read_data(data: Option<&str>) -> Result<Bytes, CliError> {
    let Some(data) = data else { return Ok(Bytes::new()) };
    let Some(path) = data.strip_prefix('@') else {
        return Ok(Bytes::copy_from_slice(data.as_bytes()));
    };
    if path.starts_with('@') {
        return Ok(Bytes::copy_from_slice(path.as_bytes()));
    }
    let (read, name) = if path == "-" {
        (read_bounded(std::io::stdin().lock()), "standard input")
    } else {
        (std::fs::File::open(path).and_then(read_bounded), path)
    };
    let bytes =
        read.map_err(|error| CliError::new(Exit::Local, format!("{name} cannot be read: {error}")))?;
    if bytes.len() > MAX_PAYLOAD_BYTES as usize {
        return Err(CliError::new(
            Exit::Usage,
            format!("{name} has more than {MAX_PAYLOAD_BYTES} bytes"),
        )
        .hint("a message holds 64 MiB at most"));
    }
    Ok(bytes.into())
}

/// Reads no more than one byte past what a message can hold.
fn read_bounded(input: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input
        .take(u64::from(MAX_PAYLOAD_BYTES) + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Times that are kept for the summary of `--repeat`.
const TIMES_MAX: usize = 1_000_000;

/// What a terminal is shown of an answer that is not text.
const DUMP_BYTES_MAX: usize = 4096;
