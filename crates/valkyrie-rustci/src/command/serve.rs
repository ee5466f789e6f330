//! `ci server` and `ci runner`: the two that serve until they are told to end.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::args::{RunnerArgs, ServerArgs};
use super::remote::put;
use super::signals::Signals;
use super::{CiExit, IoOptions, Meeting};
use crate::runner::{RunnerConfig, RunnerError, RunnerNews, Stop};
use crate::server::{Artifacts, RustCIControlPlane, ServerConfig};

/// How long a server that is told to end waits for the jobs it has cancelled: the grace their processes
/// get, and some for the way.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A folder, made if need be; a temporary one, removed in the end, if none was named.
fn folder(
    named: Option<&PathBuf>,
    prefix: &str,
    io: IoOptions,
) -> Result<(PathBuf, Option<TempDir>), CiExit> {
    let made = match named {
        Some(path) => std::fs::create_dir_all(path)
            .and_then(|()| std::path::absolute(path))
            .map(|path| (path, None)),
        None => tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .map(|folder| (folder.path().to_owned(), Some(folder))),
    };
    made.map_err(|error| {
        let name = named.map_or_else(std::env::temp_dir, PathBuf::clone);
        io.fail(
            CiExit::Local,
            format!("{} cannot be used: {error}", name.display()),
        )
    })
}

/// `ci server`.
pub(super) async fn server(args: &ServerArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    match serve(args, meeting, io).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn serve(args: &ServerArgs, meeting: &Meeting, io: IoOptions) -> Result<CiExit, CiExit> {
    let local = |error: &dyn std::error::Error| io.fail(CiExit::Local, error);
    let mut signals = Signals::install().map_err(|error| local(&error))?;
    let (state, _state) = folder(args.state.as_ref(), "valkyrie-ci-server-", io)?;
    // A life of its own: names of an earlier life must not be in the way.
    let logs = tempfile::Builder::new()
        .prefix("logs-")
        .tempdir_in(&state)
        .map_err(|error| local(&error))?;
    let mut config = ServerConfig::new(logs.path(), meeting.access.clone(), meeting.policy.clone());
    config.limits.lease = args.lease;
    if let Some(artifacts) = &args.artifacts {
        config.artifacts = Some(Artifacts::Each(folder(Some(artifacts), "", io)?.0));
    }
    let plane = RustCIControlPlane::start(config).map_err(|error| local(&error))?;
    for locator in &args.listen {
        let bound = plane.listen(locator).await.map_err(|error| local(&error))?;
        match io.json {
            true => put(format_args!(
                "{}\n",
                serde_json::json!({"event": "listening", "locator": bound.as_str()})
            )),
            false => put(format_args!("listening on {bound}\n")),
        };
    }
    signals.next().await;
    let open = plane.open_runs();
    if open > 0 {
        io.remark(format_args!(
            "cancelling {open} open runs; Ctrl-C again ends at once"
        ));
    }
    tokio::select! {
        () = plane.stop(STOP_WITHIN) => Ok(CiExit::Succeeded),
        exit = signals.next() => Ok(exit),
    }
}

/// `ci runner`.
pub(super) async fn runner(args: &RunnerArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    match work(args, meeting, io).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn work(args: &RunnerArgs, meeting: &Meeting, io: IoOptions) -> Result<CiExit, CiExit> {
    let mut signals = Signals::install()
        .map_err(|error| io.fail(CiExit::Local, format!("signals cannot be watched: {error}")))?;
    let (workspaces, _workspaces) = folder(args.workspaces.as_ref(), "valkyrie-ci-runner-", io)?;
    let config = RunnerConfig {
        server: args.server.clone(),
        name: args.name.clone().unwrap_or_else(host_name),
        labels: args.labels.clone(),
        slots: args.slots,
        workspaces,
        keep_workspaces: args.keep,
        access: meeting.access.clone(),
        unreachable_max: args.unreachable,
    };
    let (stop, stopping) = watch::channel(Stop::No);
    let quiet = args.quiet;
    let running = crate::runner::run(config, stopping, move |news| {
        if !quiet {
            tell(io, &news);
        }
    });
    tokio::pin!(running);
    let mut orphaned = args.until_stdin_ends.then(stdin_end);
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            _ = signals.next() => {
                let next = match *stop.borrow() {
                    Stop::No => Stop::Drain,
                    Stop::Drain => Stop::Cancel,
                    _ => Stop::Now,
                };
                if !quiet {
                    io.remark(match next {
                        Stop::Drain => "finishing what runs; Ctrl-C again cancels it",
                        Stop::Cancel => "cancelling what runs; Ctrl-C again kills it",
                        _ => "killing what runs",
                    });
                }
                stop.send_replace(next);
            }
            _ = async { match &mut orphaned {
                Some(end) => end.await.is_ok(),
                None => std::future::pending().await,
            } } => {
                orphaned = None;
                stop.send_replace(Stop::Now);
            }
        }
    };
    match ended {
        Ok(()) if *stop.borrow() == Stop::Now => Ok(CiExit::Terminated),
        Ok(()) => Ok(CiExit::Succeeded),
        Err(error) => {
            let exit = match &error {
                RunnerError::Unreachable { reason, .. }
                    if reason
                        .code()
                        .is_some_and(|code| super::is_about_identity(code.value())) =>
                {
                    CiExit::Distrust
                }
                RunnerError::Unreachable { .. } | RunnerError::Refused(_) => CiExit::Unreachable,
                RunnerError::Connect(_) => CiExit::Usage,
                _ => CiExit::Local,
            };
            let hint = (exit == CiExit::Distrust).then_some(super::TRUST_THIS_RUNNER);
            Err(io.fail_with(exit, error, hint))
        }
    }
}

fn tell(io: IoOptions, news: &RunnerNews) {
    if io.json {
        let value = match news {
            RunnerNews::Registered { peer } => serde_json::json!({"event": "registered", "peer": peer}),
            RunnerNews::Disconnected { reason } => {
                serde_json::json!({"event": "disconnected", "reason": reason})
            }
            RunnerNews::Took { job } => serde_json::json!({"event": "took", "job": job}),
            RunnerNews::Settled { job, verdict } => {
                serde_json::json!({"event": "settled", "job": job, "verdict": verdict})
            }
            RunnerNews::Workspace { text } => serde_json::json!({"event": "workspace", "text": text}),
        };
        put(format_args!("{value}\n"));
        return;
    }
    match news {
        RunnerNews::Registered { peer } => put(format_args!("registered at {peer}\n")),
        RunnerNews::Disconnected { reason } => put(format_args!("connection lost: {reason}\n")),
        RunnerNews::Took { job } => put(format_args!("took {job}\n")),
        RunnerNews::Settled { job, verdict } => put(format_args!("{job} {verdict}\n")),
        RunnerNews::Workspace { text } => put(format_args!("workspace {text}\n")),
    };
}

/// Completes when standard input ends. A thread of its own reads, as a blocked read cannot be given up.
fn stdin_end() -> tokio::sync::oneshot::Receiver<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name(String::from("stdin"))
        .spawn(move || {
            // An error is an end as well.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ended.send(());
        });
    // Without the thread the channel closes at once, and the runner leaves: better than staying for ever.
    drop(spawned);
    end
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        String::from("runner")
    } else {
        name
    }
}
