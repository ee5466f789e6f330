//! `ci submit`, `ci watch`, `ci cancel`: what is done on a server elsewhere.

use std::path::Path;

use tokio::sync::mpsc;

use super::args::{CancelArgs, DialArgs, ShowArgs, SubmitArgs, WatchArgs};
use super::screen::{Screen, UPDATES_MAX};
use super::signals::Signals;
use super::{CiExit, IoOptions, Meeting};
use crate::client::CiClient;
use crate::pipeline::{FILE_BYTES_MAX, Pipeline};
use crate::schedule::RunResult;
use crate::wire::Submitted;

/// Reads and checks a pipeline file.
pub(super) fn read_pipeline(file: &Path, io: IoOptions) -> Result<(String, Pipeline), CiExit> {
    let name = file.display().to_string();
    let usage = |text: String| io.fail(CiExit::Usage, text);
    let length = std::fs::metadata(file)
        .map_err(|error| usage(format!("{name} cannot be read: {error}")))?
        .len();
    if length > FILE_BYTES_MAX as u64 {
        return Err(usage(format!(
            "{name} has {length} bytes, and a pipeline file may have {FILE_BYTES_MAX}"
        )));
    }
    let source =
        std::fs::read_to_string(file).map_err(|error| usage(format!("{name} cannot be read: {error}")))?;
    match Pipeline::parse(&source) {
        Ok(pipeline) => Ok((source, pipeline)),
        Err(error) if io.json => {
            let found: Vec<_> = error.diagnostics().iter().map(|found| serde_json::json!({
                "file": name, "line": found.line, "column": found.column, "message": found.message, "help": found.help,
            })).collect();
            let value = serde_json::json!({"error": error.to_string(), "diagnostics": found, "exit_code": 2});
            super::say(format_args!("{value}\n"));
            Err(CiExit::Usage)
        }
        Err(error) => {
            let colour = io.colour_on(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            super::say(format_args!("{}", error.render(&name, &source, colour)));
            Err(CiExit::Usage)
        }
    }
}

/// Connects, and once more when somebody has said that an unknown server is to be trusted.
async fn connect(args: &DialArgs, meeting: &Meeting, io: IoOptions) -> Result<CiClient, CiExit> {
    let connecting = || CiClient::connect(&args.server, &meeting.access, args.connect_timeout);
    let error = match connecting().await {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    let connected = match error.unknown_peer() {
        Some(unknown) if (meeting.decide)(unknown.clone()).await => connecting().await,
        Some(_) => return Err(CiExit::Distrust),
        None => Err(error),
    };
    connected.map_err(|error| io.fail_as_client(&error))
}

/// `ci submit`.
pub(super) async fn submit(args: &SubmitArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    let submitted = async {
        let (source, _) = read_pipeline(&args.file, io)?;
        let client = connect(&args.dial, meeting, io).await?;
        let submitted = client.submit(source, args.file.display().to_string()).await;
        submitted
            .map(|submitted| (client, submitted))
            .map_err(|error| io.fail_as_client(&error))
    };
    match submitted.await {
        Err(exit) => exit,
        Ok((client, submitted)) if args.detach => {
            client.close().await;
            match io.json {
                true => put(format_args!("{}\n", serde_json::json!({"run": submitted.run}))),
                false => put(format_args!("run {}\n", submitted.run)),
            }
        }
        Ok((client, submitted)) => follow(client, submitted.run, Some(submitted), &args.show, io).await,
    }
}

/// `ci watch`.
pub(super) async fn watch(args: &WatchArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    match connect(&args.dial, meeting, io).await {
        Ok(client) => follow(client, args.run, None, &args.show, io).await,
        Err(exit) => exit,
    }
}

/// `ci cancel`.
pub(super) async fn cancel(args: &CancelArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    let client = match connect(&args.dial, meeting, io).await {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let cancelled = client.cancel(args.run, None).await;
    client.close().await;
    match cancelled {
        Ok(()) => CiExit::Succeeded,
        Err(error) => io.fail_as_client(&error),
    }
}

/// Shows a run to its end. A run of one's own is cancelled by Ctrl-C; one that is only watched goes on.
async fn follow(
    client: CiClient,
    run: u64,
    own: Option<Submitted>,
    show: &ShowArgs,
    io: IoOptions,
) -> CiExit {
    let mut signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return io.fail(CiExit::Local, format!("signals cannot be watched: {error}")),
    };
    let (updates, arrived) = mpsc::channel(UPDATES_MAX);
    let (notices, told) = mpsc::channel(UPDATES_MAX);
    let screen = tokio::spawn(Screen::new(io, show).show(arrived, told));
    let life = own.map(|own| own.server);
    let mut interrupted = None;
    let watched = {
        let watching = client.watch(run, life, !show.no_logs, &updates);
        tokio::pin!(watching);
        loop {
            tokio::select! {
                watched = &mut watching => break Some(watched),
                exit = signals.next() => {
                    if interrupted.replace(exit).is_some() || own.is_none() {
                        break None;
                    }
                    let text = "cancelling; Ctrl-C again leaves the run to the server";
                    // A screen that is gone has nobody to tell.
                    let _ = notices.try_send(text.to_owned());
                    if let Err(error) = client.cancel(run, life).await {
                        break Some(Err(error));
                    }
                }
            }
        }
    };
    drop((updates, notices));
    if let (None, Some(exit)) = (&watched, interrupted) {
        return exit;
    }
    let shown = screen.await;
    client.close().await;
    match (shown, watched) {
        (Ok(Err(exit)), _) => exit,
        (_, Some(Err(error))) => io.fail_as_client(&error),
        (_, Some(Ok(result))) => interrupted.unwrap_or_else(|| exit_of_run(result)),
        (_, None) => CiExit::Failed,
    }
}

pub(super) fn exit_of_run(result: RunResult) -> CiExit {
    match result {
        RunResult::Succeeded => CiExit::Succeeded,
        RunResult::Failed | RunResult::Cancelled => CiExit::Failed,
    }
}

/// Prints a result.
pub(super) fn put(text: std::fmt::Arguments<'_>) -> CiExit {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => CiExit::Succeeded,
        Err(_) => CiExit::BrokenPipe,
    }
}
