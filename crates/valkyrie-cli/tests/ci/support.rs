//! The program started, watched and signalled; and a look at what it left behind.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The longest that anything here may take, on a slow machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A place for one test: everything temporary goes here, so what is left is seen.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    /// In the command line of processes that must not be left. A number, so `sleep` takes it.
    pub(crate) mark: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let number = MARKS.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self {
            folder,
            mark: format!("1000.{}{number:03}", std::process::id()),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a pipeline file; `MARK` in it becomes the mark.
    pub(crate) fn pipeline(&self, text: &str) -> PathBuf {
        let file = self.path("pipeline.yaml");
        std::fs::write(&file, text.replace("MARK", &self.mark)).unwrap();
        file
    }

    /// The program, to be started here.
    pub(crate) fn valkyrie<I: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valkyrie"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .env("VALKYRIE_HOME", self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// `valkyrie ci run` on a pipeline.
    pub(crate) fn ci_run(&self, text: &str) -> Running {
        let file = self.pipeline(text);
        Running::start(self.valkyrie(["ci", "run"]).arg(file))
    }

    /// Nothing that was started here is left: no process with the mark, and no temporary file.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(
            processes_with(&self.mark),
            Vec::<String>::new(),
            "processes are left"
        );
        let tmp = self.path("tmp");
        assert_eq!(
            processes_with(&tmp.display().to_string()),
            Vec::<String>::new(),
            "runners are left"
        );
        let left: Vec<_> = std::fs::read_dir(tmp)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "temporary files are left");
    }
}

/// Command lines with this text, of processes that are alive.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    pids_with(text).into_iter().map(|(_, line)| line).collect()
}

/// Processes with this text in their command line, and that line.
pub(crate) fn pids_with(text: &str) -> Vec<(Pid, String)> {
    let found = |folder: &Path| {
        let pid: i32 = folder.file_name()?.to_str()?.parse().ok()?;
        let line = std::fs::read(folder.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let other = pid.unsigned_abs() != std::process::id();
        (other && line.contains(text)).then_some((Pid::from_raw(pid)?, line))
    };
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    folders.filter_map(|entry| found(&entry.path())).collect()
}

/// The program while it runs.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
    errors: Option<JoinHandle<String>>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            child,
            lines,
            seen: String::new(),
            errors: Some(errors),
        }
    }

    /// Waits for a line with this text, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen += &line;
                    self.seen.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("`{text}` did not come:\n{}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    let errors = self.errors.take().map(|errors| errors.join().unwrap());
                    panic!(
                        "the program ended before `{text}` came:\n{}\n{errors:?}",
                        self.seen
                    );
                }
            }
        }
    }

    /// Waits for a line with this text; says false when the program ends without.
    pub(crate) fn try_wait_for(&mut self, text: &str) -> bool {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return true;
            }
        }
        false
    }

    /// The word behind this text in the next line that has it.
    #[track_caller]
    pub(crate) fn word_after(&mut self, text: &str) -> String {
        let line = self.wait_for(text);
        let after = line.split(text).nth(1).unwrap_or_default();
        after.split_whitespace().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads on until the program ends.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen += &line;
                    self.seen.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the program does not end:\n{}", self.seen),
            }
        }
        let status = self.exit();
        let err = self
            .errors
            .take()
            .map(|errors| errors.join().unwrap())
            .unwrap_or_default();
        Ended {
            code: status.code(),
            out: std::mem::take(&mut self.seen),
            err,
        }
    }

    #[track_caller]
    fn exit(&mut self) -> ExitStatus {
        let ended = await_end(Pid::from_child(&self.child));
        assert!(ended, "the program does not end:\n{}", self.seen);
        self.child.wait().unwrap()
    }
}

/// Waits until a process has ended, and says whether it has.
pub(crate) fn await_end(pid: Pid) -> bool {
    // One that cannot be found has ended.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- out\n{}\n--- err\n{}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_out(&self, text: &str) -> &Self {
        assert!(
            self.out.contains(text),
            "`{text}` is missing\n--- out\n{}\n--- err\n{}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_err(&self, text: &str) -> &Self {
        assert!(
            self.err.contains(text),
            "`{text}` is missing\n--- out\n{}\n--- err\n{}",
            self.out,
            self.err
        );
        self
    }
}

/// `kill -KILL`.
pub(crate) fn kill(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// What `seq` prints from 1 to `last`.
pub(crate) fn numbers(last: u32) -> Vec<u8> {
    let out = Command::new("seq")
        .args(["1", &last.to_string()])
        .output()
        .unwrap();
    out.stdout
}
