//! `valkyrie serve`: a peer to talk to, with the built-in services.

mod services;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use valkyrie::{Endpoint, Locator, UdsTransport};

pub(crate) use self::services::ProcessReport;
use self::services::State;
use crate::exit::{CliError, Exit};
use crate::net;
use crate::out::{Notes, Out};
use crate::signals::Signals;
use crate::units::{Span, parse_duration};

/// Listens and serves the services echo, health and describe.
#[derive(Args, Debug)]
#[command(after_help = "\
Once a place is bound, `listening on LOCATOR` is printed, with the port that was chosen for port 0.
The first Ctrl-C or SIGTERM drains: nothing new begins, what is running ends, and the program ends with 0.
A second one ends it at once.

Examples:
  valkyrie serve --listen tcp://127.0.0.1:7000
  valkyrie serve --listen tcp://[::]:7000 --listen uds:///run/valkyrie.sock --uds-mode 660")]
pub(crate) struct ServeArgs {
    /// Where to listen; may be given several times. Port 0 takes any free port.
    #[arg(short, long = "listen", value_name = "LOCATOR", required = true, value_parser = net::parse_locator)]
    listen: Vec<Locator>,

    /// How long the connections may take to end once the program is asked to.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// Connections at once; further ones are closed unheard.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_connections: usize,

    /// Permissions of the files of Unix sockets, in octal, whatever the umask.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    uds_mode: Option<u32>,

    /// Threads that serve; as many as there are cores unless told otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("write three octal digits, as in 660".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let threads = args.threads.map_or_else(net::cores, usize::from);
    net::block_on(threads, serve(args, out, notes))
}

async fn serve(args: &ServeArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let mut signals = Signals::install()?;
    let state = Arc::new(State {
        begun: Instant::now(),
        endpoint: OnceLock::new(),
    });
    let services = services::build(&state)
        .map_err(|error| CliError::new(Exit::Local, format!("the services cannot be served: {error}")))?;
    let endpoint = valkyrie::endpoint()
        .plain(valkyrie::PlainRule::Always)
        .transport(UdsTransport::new().with_mode(args.uds_mode))
        .services(services)
        .connections_max(args.max_connections)
        .build()?;
    let _ = state.endpoint.set(endpoint.clone());
    for locator in &args.listen {
        let bound = endpoint.listen(locator).await?;
        if out.is_json() {
            out.json(&json!({"event": "listening", "locator": bound.as_str()}))?;
        } else {
            let paint = out.paint();
            out.line(format_args!("listening on {}", paint.bold(bound)))?;
            out.flush()?;
        }
    }
    signals.next().await;
    drain(args, &endpoint, &mut signals, out, notes).await
}

async fn drain(
    args: &ServeArgs,
    endpoint: &Endpoint,
    signals: &mut Signals,
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let open = endpoint.connections().len();
    if out.is_json() {
        out.json(&json!({"event": "draining", "connections": open}))?;
    } else {
        notes.remark(format_args!(
            "draining {open} {} for at most {}; Ctrl-C again ends at once",
            plural(open, "connection"),
            Span(args.drain_timeout),
        ));
    }
    let closed = tokio::select! {
        closed = endpoint.drain(args.drain_timeout) => closed,
        caught = signals.next() => return Err(CliError::silent(caught.exit())),
    };
    if out.is_json() {
        return out.json(&json!({"event": "stopped", "closed": closed}));
    }
    if closed > 0 {
        notes.remark(format_args!(
            "{closed} {} had to be closed",
            plural(closed, "connection")
        ));
    }
    Ok(())
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
