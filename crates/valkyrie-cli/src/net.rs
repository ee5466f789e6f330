//! What every command that dials has in common.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use valkyrie::{Class, Connection, Endpoint, Locator};

use crate::exit::{CliError, Exit};
use crate::signals::Signals;
use crate::units::{Span, parse_duration};

/// Whom to dial.
#[derive(Args, Clone, Debug)]
pub(crate) struct DialArgs {
    /// Where the peer listens: tcp://host:port, uds:///path or uds://@name.
    #[arg(value_parser = parse_locator)]
    pub(crate) locator: Locator,

    /// How long dialling and opening the session may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,
}

impl DialArgs {
    /// Dials once.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, CliError> {
        match tokio::time::timeout(self.connect_timeout, endpoint.connect(&self.locator)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(CliError::new(
                Exit::Deadline,
                format!(
                    "{} did not answer within {}",
                    self.locator,
                    Span(self.connect_timeout)
                ),
            )
            .hint("allow more with --connect-timeout")),
        }
    }
}

/// Runs a command's future on threads of its own; 1 keeps everything on this one.
pub(crate) fn block_on<T>(
    threads: usize,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    runtime(threads)
        .map_err(|error| CliError::new(Exit::Local, format!("the runtime cannot start: {error}")))?
        .block_on(work)
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    if threads == 1 {
        Builder::new_current_thread().enable_all().build()
    } else {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
    }
}

/// Does a client's work until it ends or a signal comes, then ends the endpoint's connections gently.
pub(crate) async fn until_signal<T>(
    endpoint: &Endpoint,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let mut signals = Signals::install()?;
    let done = tokio::select! {
        done = work => done,
        caught = signals.next() => Err(CliError::silent(caught.exit())),
    };
    tokio::select! {
        _ = endpoint.drain(GOODBYE) => {}
        _ = signals.next() => {}
    }
    done
}

/// Reads a locator.
pub(crate) fn parse_locator(text: &str) -> Result<Locator, String> {
    text.parse()
        .map_err(|error: valkyrie::transport::LocatorError| error.to_string())
}

/// Reads the name of a class.
pub(crate) fn parse_class(text: &str) -> Result<Class, String> {
    Class::from_name(text).ok_or_else(|| {
        let names = Class::ALL.map(Class::name).join(", ");
        format!("there is no such class; choose one of {names}")
    })
}

/// How many threads work best: as many as there are cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How long a client waits for its peer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
