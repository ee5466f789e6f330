//! Real processes. Tests wait for output, pipes and deaths, never for time to pass.

use std::future::{Future, pending, ready};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::log::{LogMerger, LogRecord, LogWriter, Stream};
use crate::pipeline::{Env, JobIndex};

const LONG: Duration = Duration::from_secs(600);
/// Long enough for a shell to start on a busy machine.
const SHORT: Duration = Duration::from_secs(1);

struct Run {
    report: StepReport,
    records: Vec<LogRecord>,
}

impl Run {
    fn text(&self, stream: Stream) -> String {
        let records = self.records.iter().filter(|record| record.stream == stream);
        String::from_utf8(records.flat_map(|record| record.bytes.to_vec()).collect()).unwrap()
    }

    fn out(&self) -> String {
        self.text(Stream::Stdout)
    }
}

fn env(extra: &[(&str, &str)]) -> Env {
    let path = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
    path.iter()
        .chain(extra)
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn token() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

struct Setup<'a> {
    directory: &'a Path,
    timeout: Duration,
    grace: Duration,
    env: Env,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            directory: Path::new("/"),
            timeout: LONG,
            grace: LONG,
            env: env(&[]),
        }
    }
}

impl Setup<'_> {
    /// Runs a script; `watch` sees every record as it comes.
    async fn run_watched(
        self,
        script: &str,
        cancel: impl Future<Output = ()>,
        mut watch: impl FnMut(&LogRecord),
    ) -> Run {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut log = LogWriter::new(JobIndex(0), sender);
        let token = token();
        let command = StepCommand {
            run: script,
            env: &self.env,
            directory: self.directory,
            timeout: self.timeout,
            grace: self.grace,
            token: &token,
        };
        let step = async move {
            let report = run_step(command, &mut log, cancel).await;
            drop(log);
            report
        };
        let collect = async {
            let (mut records, mut merger) = (Vec::new(), LogMerger::default());
            while let Some(record) = receiver.recv().await {
                assert_eq!(
                    merger.accept(record.clone()),
                    Ok(Some(record.clone())),
                    "offsets have a gap"
                );
                watch(&record);
                records.push(record);
            }
            records
        };
        let (report, records) = tokio::join!(step, collect);
        assert_eq!(report.output_bytes, records.last().map_or(0, LogRecord::end));
        Run { report, records }
    }

    async fn run(self, script: &str) -> Run {
        self.run_watched(script, pending(), |_| {}).await
    }

    /// Runs a script and cancels it when it has printed a line.
    async fn run_until_line(self, script: &str) -> Run {
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        self.run_watched(
            script,
            async {
                let _ = told.await;
            },
            |record| {
                if record.bytes.contains(&b'\n') {
                    tell.take().map(|tell| tell.send(()));
                }
            },
        )
        .await
    }
}

/// Whoever inherited a dead orphan may not have reaped it yet, so zombies do not count.
fn group_is_gone(leader: &str) -> bool {
    let leader: i32 = leader.trim().parse().unwrap();
    !table::all()
        .iter()
        .any(|entry| entry.group == leader && !entry.zombie)
}

fn is_dead(pid: i32) -> bool {
    table::one(Pid::from_raw(pid).unwrap()).is_none_or(|entry| entry.zombie)
}

#[tokio::test]
async fn a_step_gets_its_environment_its_directory_and_no_input() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        directory: folder.path(),
        env: env(&[("COLOUR", "blue")]),
        ..Setup::default()
    };
    let run = setup.run("echo $COLOUR; pwd -P; wc -c; echo ${HOME-none}").await;
    assert_eq!(run.report.outcome, Outcome::Exited { code: 0 });
    let real = folder.path().canonicalize().unwrap();
    assert_eq!(run.out(), format!("blue\n{}\n0\nnone\n", real.display()));
}

#[tokio::test]
async fn both_outputs_arrive_whole_and_tagged() {
    let run = Setup::default()
        .run("for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf partial")
        .await;
    assert_eq!(run.out(), "out 1\nout 2\nout 3\npartial");
    assert_eq!(run.text(Stream::Stderr), "err 1\nerr 2\nerr 3\n");
    assert_eq!(run.report.output_end, OutputEnd::Complete);
}

#[tokio::test]
async fn output_is_bytes_not_text() {
    let run = Setup::default().run(r"printf '\000\377\012\200'").await;
    let bytes: Vec<u8> = run
        .records
        .iter()
        .flat_map(|record| record.bytes.to_vec())
        .collect();
    assert_eq!(bytes, [0, 0xff, b'\n', 0x80]);
}

#[tokio::test]
async fn the_exit_code_is_the_scripts() {
    assert_eq!(
        Setup::default().run("exit 42").await.report.outcome,
        Outcome::Exited { code: 42 }
    );
    let run = Setup::default().run("false\necho not reached").await;
    assert_eq!(
        (run.report.outcome.clone(), run.out()),
        (Outcome::Exited { code: 1 }, String::new())
    );
    let unset = Setup::default().run("echo $NOT_SET").await;
    assert!(!unset.report.outcome.is_success());
    let missing = Setup::default().run("no-such-command").await;
    assert_eq!(missing.report.outcome, Outcome::Exited { code: 127 });
}

#[tokio::test]
async fn a_crash_is_reported_as_the_signal_it_was() {
    let shell = Setup::default().run("kill -SEGV $$").await.report.outcome;
    assert!(
        matches!(shell, Outcome::Signalled { signal: 11, .. }),
        "{shell:?}"
    );
    let command = Setup::default()
        .run("sh -c 'kill -ABRT $$'; echo not reached")
        .await
        .report
        .outcome;
    assert_eq!(command, Outcome::Exited { code: 134 });
    assert!(command.to_string().contains("128 + 6"), "{command}");
}

#[tokio::test]
async fn a_step_that_cannot_start_says_why() {
    let setup = Setup {
        directory: Path::new("/no/such/directory"),
        ..Setup::default()
    };
    let outcome = setup.run("true").await.report.outcome;
    assert!(
        matches!(&outcome, Outcome::CouldNotStart { error } if error.contains("No such file")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let setup = Setup {
        timeout: SHORT,
        ..Setup::default()
    };
    let run = setup
        .run("echo $$; sleep 1000 & sh -c 'sleep 1000 & sleep 1000' & sleep 1000")
        .await;
    assert_eq!(run.report.outcome, Outcome::TimedOut);
    assert!(group_is_gone(&run.out()));
}

#[tokio::test]
async fn processes_that_ignore_the_request_are_killed_after_the_grace() {
    let setup = Setup {
        grace: SHORT,
        ..Setup::default()
    };
    let run = setup
        .run_until_line("trap '' TERM; echo $$; while :; do sleep 1000; done")
        .await;
    assert_eq!(run.report.outcome, Outcome::Cancelled);
    assert!(group_is_gone(&run.out()));
}

#[tokio::test]
async fn a_stopped_step_is_ended_too() {
    let setup = Setup {
        timeout: SHORT,
        grace: SHORT,
        ..Setup::default()
    };
    let run = setup.run("echo $$; kill -STOP $$").await;
    assert_eq!(run.report.outcome, Outcome::TimedOut);
    assert!(group_is_gone(&run.out()));
}

#[tokio::test]
async fn a_cancelled_step_may_tidy_up_and_its_last_words_are_kept() {
    // The child keeps no output: between fork and exec it still has the shell's trap, and a request
    // to end that arrives just then is lost on it.
    let run = Setup::default()
        .run_until_line("trap 'echo tidied; exit 3' TERM; sleep 1000 >/dev/null 2>&1 & echo ready; wait")
        .await;
    assert_eq!(run.report.outcome, Outcome::Cancelled, "not its own exit code");
    assert_eq!(run.out(), "ready\ntidied\n");
}

#[tokio::test]
async fn a_step_cancelled_before_it_starts_printing_ends_at_once() {
    let run = Setup::default()
        .run_watched("sleep 1000", ready(()), |_| {})
        .await;
    assert_eq!(run.report.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_does_not_hang_the_step() {
    let run = Setup::default().run("echo $$; sleep 1000 & :").await;
    assert_eq!(run.report.outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.report.left_behind, 1);
    assert_eq!(run.report.output_end, OutputEnd::Complete);
    assert!(group_is_gone(&run.out()));
}

#[tokio::test]
async fn a_background_child_may_finish_its_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        directory: folder.path(),
        ..Setup::default()
    };
    // The child prints only once the shell is gone: its end of the fifo closes with the shell.
    let run = setup
        .run("mkfifo f; (cat f; echo last) & exec 3>f; echo first")
        .await;
    assert_eq!((run.out().as_str(), run.report.left_behind), ("first\nlast\n", 0));
}

#[tokio::test]
async fn silent_children_are_killed_too() {
    let script = "echo $$; for i in $(seq 50); do sleep 1000 >/dev/null 2>&1 & done";
    let run = Setup::default().run(script).await;
    assert_eq!(run.report.left_behind, 50);
    assert!(
        run.report.duration < BACKGROUND_GRACE,
        "{:?}",
        run.report.duration
    );
    assert!(group_is_gone(&run.out()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_with_a_session_of_its_own_is_found_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        directory: folder.path(),
        ..Setup::default()
    };
    let script = "mkfifo f\n(setsid sh -c 'echo $$ > f; sleep 1000' >/dev/null 2>&1 &)\ncat f";
    let run = setup.run(script).await;
    assert_eq!(run.report.outcome, Outcome::Exited { code: 0 });
    let pid: i32 = run.out().trim().parse().unwrap();
    assert!(
        run.report.escaped.iter().any(|escaped| escaped.pid == pid),
        "{:?}",
        run.report.escaped
    );
    assert!(run.report.escaped.iter().all(|escaped| is_dead(escaped.pid)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_that_keeps_the_output_does_not_hang_the_step() {
    let run = Setup::default()
        .run("setsid sh -c 'echo $$; sleep 1000' & wait_for=1; echo done")
        .await;
    assert_eq!(run.report.outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.report.output_end, OutputEnd::Complete);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_hides_its_mark_is_reported_as_holding_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        directory: folder.path(),
        ..Setup::default()
    };
    let script = "mkfifo f go\nsetsid env -i /bin/sh -c 'echo $$ > f; read x < go' &\ncat f";
    let run = setup.run(script).await;
    assert_eq!(run.report.outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.report.output_end, OutputEnd::HeldOpen);
    // Let it end: nobody else will.
    std::fs::write(folder.path().join("go"), "\n").unwrap();
}

#[tokio::test]
async fn a_full_log_slows_the_step_and_does_not_stop_a_cancel() {
    let (sender, mut receiver) = mpsc::channel(1);
    let (tell, told) = oneshot::channel::<()>();
    let step = tokio::spawn(async move {
        let mut log = LogWriter::new(JobIndex(0), sender);
        let (env, token) = (env(&[]), token());
        let command = StepCommand {
            run: "trap 'exit 9' TERM; head -c 64000000 /dev/zero",
            env: &env,
            directory: Path::new("/"),
            timeout: LONG,
            grace: SHORT,
            token: &token,
        };
        run_step(command, &mut log, async { drop(told.await) }).await
    });
    // One record is taken and then no more: the pipe, the channel and the pump's hand fill up.
    let first: LogRecord = receiver.recv().await.unwrap();
    assert_eq!(first.offset, 0);
    tell.send(()).unwrap();
    let mut bytes = first.end();
    while let Some(record) = receiver.recv().await {
        assert_eq!(record.offset, bytes);
        bytes = record.end();
    }
    let report = step.await.unwrap();
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(report.output_bytes, bytes);
    assert_eq!(report.output_end, OutputEnd::Complete);
}

#[tokio::test]
async fn a_closed_log_ends_the_step() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let mut log = LogWriter::new(JobIndex(0), sender);
    let (env, token) = (env(&[]), token());
    let command = StepCommand {
        run: "while :; do echo x; done",
        env: &env,
        directory: Path::new("/"),
        timeout: LONG,
        grace: LONG,
        token: &token,
    };
    let report = run_step(command, &mut log, pending()).await;
    assert_eq!(
        (report.outcome, report.output_end),
        (Outcome::LogClosed, OutputEnd::LogClosed)
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dropped_step_leaves_nothing_running() {
    let (sender, mut receiver) = mpsc::channel(1);
    let step = tokio::spawn(async move {
        let mut log = LogWriter::new(JobIndex(0), sender);
        let (env, token) = (env(&[]), token());
        let command = StepCommand {
            run: "sleep 1000 & echo $!; wait",
            env: &env,
            directory: Path::new("/"),
            timeout: LONG,
            grace: LONG,
            token: &token,
        };
        run_step(command, &mut log, pending()).await
    });
    let record: LogRecord = receiver.recv().await.unwrap();
    let pid: i32 = String::from_utf8_lossy(&record.bytes).trim().parse().unwrap();
    let handle = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    step.abort();
    let died = tokio::task::spawn_blocking(move || {
        poll(
            &mut [PollFd::new(&handle, PollFlags::IN)],
            Some(&Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            }),
        )
    });
    assert_eq!(died.await.unwrap(), Ok(1), "the child of a dropped step lives on");
}

/// Counts from 1 to `last` and compares every byte with what a real program printed.
async fn volume(last: u64) -> u64 {
    let (sender, mut receiver) = mpsc::channel::<LogRecord>(8);
    let step = tokio::spawn(async move {
        let mut log = LogWriter::new(JobIndex(0), sender);
        let (env, token) = (env(&[]), token());
        let script = format!("seq 1 {last}");
        let command = StepCommand {
            run: &script,
            env: &env,
            directory: Path::new("/"),
            timeout: LONG,
            grace: LONG,
            token: &token,
        };
        run_step(command, &mut log, pending()).await
    });
    let (mut merger, mut number, mut expected) = (LogMerger::default(), 0_u64, Vec::new());
    while let Some(record) = receiver.recv().await {
        let record = merger.accept(record).expect("no gap").expect("nothing twice");
        let mut rest = &record.bytes[..];
        while !rest.is_empty() {
            if expected.is_empty() {
                number += 1;
                expected = format!("{number}\n").into_bytes();
                expected.reverse();
            }
            while let (Some(next), Some(byte)) = (expected.last(), rest.first()) {
                assert_eq!(next, byte, "at {number}");
                expected.pop();
                rest = &rest[1..];
            }
        }
    }
    let report = step.await.unwrap();
    assert_eq!((number, expected.len()), (last, 0));
    assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    assert_eq!(report.output_bytes, merger.offset());
    merger.offset()
}

#[tokio::test]
async fn sixty_megabytes_arrive_complete_and_in_order() {
    assert!(volume(8_000_000).await > 60_000_000);
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "a gigabyte takes a while; run it alone, because it measures the memory of the process"]
async fn a_gigabyte_arrives_complete_and_memory_stays_bounded() {
    let before = peak_memory_kib();
    assert!(volume(120_500_000).await > 1 << 30);
    let grown = peak_memory_kib() - before;
    assert!(grown < 32 << 10, "memory grew by {grown} KiB");
}

#[test]
fn a_kill_while_the_kernel_was_out_of_memory_is_told_apart() {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = std::process::ExitStatus::from_raw(9);
    let by_shell = std::process::ExitStatus::from_raw(137 << 8);
    assert_eq!(step::classify(killed, true), Outcome::OutOfMemory);
    assert_eq!(step::classify(by_shell, true), Outcome::OutOfMemory);
    assert_eq!(
        step::classify(killed, false),
        Outcome::Signalled {
            signal: 9,
            core: false
        }
    );
    assert_eq!(
        step::classify(std::process::ExitStatus::from_raw(1 << 8), true),
        Outcome::Exited { code: 1 }
    );
}

/// Make a memory cgroup with a limit of about 40 MB, and name its `cgroup.procs` file in the variable.
#[tokio::test]
#[ignore = "needs a memory cgroup: OOM_CGROUP_PROCS=/sys/fs/cgroup/…/cgroup.procs"]
async fn a_step_that_eats_all_memory_is_reported_as_such() {
    let procs = std::env::var("OOM_CGROUP_PROCS").unwrap();
    let script = format!("echo $$ > {procs}; head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null");
    assert_eq!(
        Setup::default().run(&script).await.report.outcome,
        Outcome::OutOfMemory
    );
}
