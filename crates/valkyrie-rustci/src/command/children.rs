//! The runners of `ci run`: processes of the same program, which do not outlive this one.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::screen::Notice;
use crate::runner::Stop;

/// How long a runner that is to drop everything has before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// Bytes of what a runner complains that are shown at once.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// The runners' processes. Dropping it kills them.
pub(super) struct Children {
    tasks: JoinSet<()>,
    stop: watch::Sender<Stop>,
    deaths: mpsc::Sender<Death>,
    notices: mpsc::Sender<Notice>,
}

/// A runner's process has ended by itself.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) name: String,
    pub(super) pid: u32,
    /// In words.
    pub(super) how: String,
}

impl Children {
    /// None yet, and where their deaths are told.
    pub(super) fn new(notices: mpsc::Sender<Notice>, count: usize) -> (Self, mpsc::Receiver<Death>) {
        let (deaths, told) = mpsc::channel(count.max(1));
        let (stop, _) = watch::channel(Stop::No);
        (
            Self {
                tasks: JoinSet::new(),
                stop,
                deaths,
                notices,
            },
            told,
        )
    }

    /// Starts this program once more with these arguments. In a process group of its own, so that
    /// Ctrl-C comes to this process alone, which knows the right order.
    pub(super) fn start(&mut self, name: &str, args: Vec<OsString>) -> std::io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        if let Some(complaints) = child.stderr.take() {
            self.tasks
                .spawn(pass_on(complaints, name.to_owned(), self.notices.clone()));
        }
        let (stop, deaths, name) = (self.stop.subscribe(), self.deaths.clone(), name.to_owned());
        self.tasks.spawn(async move {
            if let Some(how) = mind(child, pid, stop).await {
                // Whoever does not listen any more is stopping.
                let _ = deaths.send(Death { name, pid, how }).await;
            }
        });
        Ok(())
    }

    /// Ends the processes and waits for them: gently, or at once with everything they run.
    pub(super) async fn stop(&mut self, stop: Stop) {
        self.stop.send_if_modified(|wanted| {
            let stronger = stop > *wanted;
            *wanted = stop.max(*wanted);
            stronger
        });
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Waits for a process and passes wishes on. Says how it ended when nobody had asked it to.
async fn mind(mut child: Child, pid: u32, mut stop: watch::Receiver<Stop>) -> Option<String> {
    // The runner leaves with all its jobs when this ends, so even a killed parent leaves nothing behind.
    let mut stdin = child.stdin.take();
    let mut asked = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                return (!asked).then(|| status.map_or_else(|error| error.to_string(), in_words));
            }
            changed = stop.changed() => {
                let wanted = if changed.is_err() { Stop::Now } else { *stop.borrow_and_update() };
                asked = true;
                match wanted {
                    Stop::No => {}
                    Stop::Drain | Stop::Cancel => {
                        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                            // One that has ended already needs no signal.
                            let _ = kill_process(pid, Signal::TERM);
                        }
                    }
                    Stop::Now => {
                        drop(stdin.take());
                        if tokio::time::timeout(KILL_AFTER, child.wait()).await.is_err() {
                            // Then nothing is left to try.
                            let _ = child.kill().await;
                        }
                        return None;
                    }
                }
            }
        }
    }
}

async fn pass_on(
    mut complaints: impl tokio::io::AsyncRead + Unpin,
    name: String,
    notices: mpsc::Sender<Notice>,
) {
    let mut buffer = vec![0; COMPLAINT_BYTES_MAX];
    while let Ok(length) = complaints.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            // A screen that is gone or behind loses remarks, not the run.
            let _ = notices.try_send(format!("runner {name}: {line}"));
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => String::from("ended"),
    }
}
