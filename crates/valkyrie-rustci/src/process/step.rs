//! Runs one step from start to the death of its last process.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

use super::group::{Ended, Group, wait_without_reaping};
use super::outcome::{Outcome, OutputEnd, StepReport};
use super::pump::{Meter, pump};
use super::table;
use crate::log::{LogWriter, RecordSink, SinkClosed};
use crate::pipeline::Env;

/// The shell that runs scripts, with `-eu -c`. Every POSIX system has it at this place.
pub const SHELL: &str = "/bin/sh";
/// The variable by which processes of a step are known wherever they went.
pub const STEP_TOKEN: &str = "VALKYRIE_STEP_TOKEN";
/// How long a step that was asked to end has before it is killed.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// How long processes that outlive the shell may go on printing before they are killed. Long enough
/// for `cmd | tee log &` to end by itself, short enough not to be noticed.
pub const BACKGROUND_GRACE: Duration = Duration::from_secs(2);

/// After every known process is dead, how long a pipe may stay open and silent before it is given
/// up: someone unknown holds it.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// And how much may still come out of it: what two pipes of the largest unprivileged size hold.
const AFTERMATH_BYTES_MAX: u64 = 2 << 20;
/// The exit code by which a shell reports that its command was killed by SIGKILL.
const KILLED_CODE: i32 = 128 + 9;
const KILL: i32 = 9;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct StepCommand<'a> {
    /// The script.
    pub run: &'a str,
    /// The whole environment: nothing is inherited.
    pub env: &'a Env,
    /// Where it starts.
    pub directory: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it has to end when asked to.
    pub grace: Duration,
    /// A value of [`STEP_TOKEN`] that no other step has.
    pub token: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    TimedOut,
    Cancelled,
    LogClosed,
}

/// Runs a step and returns once everything it started has ended and its output has been logged.
///
/// `cancel` completes when the step should stop. Time spent waiting for the log after the processes
/// are dead is not bounded here: a log that neither takes bytes nor closes holds the step up.
/// Dropping the future kills the step.
pub async fn run_step<S: RecordSink>(
    command: StepCommand<'_>,
    log: &mut LogWriter<S>,
    cancel: impl Future<Output = ()>,
) -> StepReport {
    let started = Instant::now();
    let kills_before = table::out_of_memory_kills();
    let (group, stdout, stderr) = match start(command) {
        Ok(started) => started,
        Err(error) => return not_started(&error, started),
    };
    let meter = Meter::default();
    let mut cause = None;
    let mut drained: Option<Result<(), SinkClosed>> = None;
    let ended = {
        let leader = group.leader();
        // A thread waits, because only that leaves the shell unreaped until the group is dead.
        let exit = tokio::task::spawn_blocking(move || wait_without_reaping(leader));
        let timer = sleep_until(started + command.timeout);
        let output = pump(Some(stdout), Some(stderr), log, &meter);
        tokio::pin!(exit, timer, output, cancel);
        let mut exited = false;
        while !(exited && drained.is_some()) {
            tokio::select! {
                _ = &mut exit, if !exited => {
                    exited = true;
                    if cause.is_none() {
                        timer.as_mut().reset(Instant::now() + BACKGROUND_GRACE);
                    }
                }
                end = &mut output, if drained.is_none() => {
                    drained = Some(end);
                    if end.is_err() && cause.is_none() && !exited {
                        cause = Some(Cause::LogClosed);
                        group.terminate();
                        timer.as_mut().reset(Instant::now() + command.grace);
                    }
                }
                () = &mut cancel, if cause.is_none() && !exited => {
                    cause = Some(Cause::Cancelled);
                    group.terminate();
                    timer.as_mut().reset(Instant::now() + command.grace);
                }
                () = &mut timer => {
                    if cause.is_some() || exited {
                        break;
                    }
                    cause = Some(Cause::TimedOut);
                    group.terminate();
                    timer.as_mut().reset(Instant::now() + command.grace);
                }
            }
        }
        let mut end = tokio::task::spawn_blocking(move || group.end());
        // The step may be blocked in a write until its output is read, so reading goes on.
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                end = &mut output, if drained.is_none() => drained = Some(end),
            }
        };
        if drained.is_none() {
            drained = drain(output.as_mut(), &meter).await;
        }
        ended
    };
    let ended = ended.unwrap_or_else(|error| Ended {
        status: Err(std::io::Error::other(error)),
        left_behind: 0,
        escaped: Vec::new(),
    });
    let starved = kills_before < table::out_of_memory_kills();
    StepReport {
        outcome: outcome(cause, &ended.status, starved),
        duration: started.elapsed(),
        output_bytes: meter.bytes.load(Ordering::Relaxed),
        output_end: match drained {
            Some(Ok(())) => OutputEnd::Complete,
            Some(Err(SinkClosed)) => OutputEnd::LogClosed,
            None => OutputEnd::HeldOpen,
        },
        left_behind: ended.left_behind,
        escaped: ended.escaped,
    }
}

/// Reads what is left in the pipes. Returns nothing when someone unknown keeps one open.
async fn drain<F>(mut output: std::pin::Pin<&mut F>, meter: &Meter) -> Option<Result<(), SinkClosed>>
where
    F: Future<Output = Result<(), SinkClosed>>,
{
    let at_death = meter.bytes.load(Ordering::Relaxed);
    loop {
        let before = meter.bytes.load(Ordering::Relaxed);
        match tokio::time::timeout(SILENCE_MAX, output.as_mut()).await {
            Ok(Ok(())) if meter.stop.load(Ordering::Relaxed) => return None,
            Ok(end) => return Some(end),
            Err(_) => {
                let bytes = meter.bytes.load(Ordering::Relaxed);
                if bytes == before && meter.reading.load(Ordering::Relaxed) {
                    return None;
                }
                if bytes - at_death > AFTERMATH_BYTES_MAX {
                    meter.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

fn start(command: StepCommand<'_>) -> std::io::Result<(Group, Receiver, Receiver)> {
    let mut shell = Command::new(SHELL);
    shell
        .args(["-eu", "-c", command.run])
        .env_clear()
        .envs(command.env)
        .env(STEP_TOKEN, command.token)
        .current_dir(command.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = shell.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // From here on a failure must not leave the shell running: the group kills it when dropped.
    let group = Group::new(child, command.token.to_owned());
    let missing = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let stdout = Receiver::from_owned_fd(OwnedFd::from(stdout.ok_or_else(missing)?))?;
    let stderr = Receiver::from_owned_fd(OwnedFd::from(stderr.ok_or_else(missing)?))?;
    Ok((group, stdout, stderr))
}

fn not_started(error: &std::io::Error, started: Instant) -> StepReport {
    StepReport {
        outcome: Outcome::CouldNotStart {
            error: error.to_string(),
        },
        duration: started.elapsed(),
        output_bytes: 0,
        output_end: OutputEnd::Complete,
        left_behind: 0,
        escaped: Vec::new(),
    }
}

pub(super) fn classify(status: ExitStatus, starved: bool) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(KILLED_CODE), _) | (_, Some(KILL)) if starved => Outcome::OutOfMemory,
        (Some(code), _) => Outcome::Exited { code },
        (None, signal) => Outcome::Signalled {
            signal: signal.unwrap_or(0),
            core: status.core_dumped(),
        },
    }
}

fn outcome(cause: Option<Cause>, status: &std::io::Result<ExitStatus>, starved: bool) -> Outcome {
    match (cause, status) {
        // Whatever a step makes of being stopped, that it was stopped is what happened.
        (Some(Cause::TimedOut), _) => Outcome::TimedOut,
        (Some(Cause::Cancelled), _) => Outcome::Cancelled,
        (Some(Cause::LogClosed), _) => Outcome::LogClosed,
        (None, Ok(status)) => classify(*status, starved),
        (None, Err(error)) => Outcome::CouldNotStart {
            error: error.to_string(),
        },
    }
}
