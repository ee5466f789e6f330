//! Running the program and a server of it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

thread_local! {
    /// The identity of everything that a test starts, its own and nobody else's. A test is a thread, and when that ends
    /// the directory goes.
    static HOME: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

/// The directory that the programs of this test have their identity in, unless they are told otherwise.
pub(crate) fn home() -> PathBuf {
    HOME.with(|home| home.path().join("home"))
}

/// The program, without what the caller's environment would change.
pub(crate) fn valkyrie<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(env!("CARGO_BIN_EXE_valkyrie"));
    command
        .args(args)
        .env("VALKYRIE_HOME", home())
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run<I, S>(args: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    valkyrie(args).output().expect("the program starts")
}

/// Runs the program to its end, with its identity in a directory of the test's own.
pub(crate) fn run_as<I, S>(home: &Path, args: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    valkyrie(args)
        .env("VALKYRIE_HOME", home)
        .output()
        .expect("the program starts")
}

/// Another directory for an identity, beside that of the test.
pub(crate) fn other_home(name: &str) -> PathBuf {
    HOME.with(|home| home.path().join(name))
}

/// Runs the program to its end with something on standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child = valkyrie(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The program may well end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    output
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

/// Each line of standard output as JSON.
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

/// Fails with everything the program said unless it ended with `code`.
#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A `valkyrie serve` of the test's own, killed at the end of the test.
pub(crate) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    remarks: BufReader<ChildStderr>,
    /// Where it listens, in the order of its arguments.
    pub(crate) locators: Vec<String>,
}

impl Server {
    /// Listens on a free port of this machine.
    pub(crate) fn tcp() -> Self {
        Self::start(&["--listen", "tcp://127.0.0.1:0"])
    }

    /// Starts with arguments, and waits until every place is bound.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_as(&home(), args)
    }

    /// The same with an identity of its own.
    pub(crate) fn start_as(home: &Path, args: &[&str]) -> Self {
        let mut child = valkyrie(["serve", "--json"])
            .env("VALKYRIE_HOME", home)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let remarks = BufReader::new(child.stderr.take().expect("a pipe"));
        let wanted = args.iter().filter(|arg| **arg == "--listen").count();
        let mut server = Self {
            child,
            lines,
            remarks,
            locators: Vec::new(),
        };
        for _ in 0..wanted {
            let event = server.event();
            assert_eq!(event["event"], "listening");
            server
                .locators
                .push(event["locator"].as_str().expect("a locator").to_owned());
        }
        server
    }

    /// The first place it listens on.
    pub(crate) fn locator(&self) -> &str {
        &self.locators[0]
    }

    /// The next thing it says.
    pub(crate) fn event(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// Waits until it says this on standard error.
    #[track_caller]
    pub(crate) fn wait_for_remark(&mut self, text: &str) {
        let mut said = String::new();
        while !said.contains(text) {
            let read = self.remarks.read_line(&mut said).expect("a pipe");
            assert_ne!(read, 0, "it ended without `{text}`: {said}");
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Ends it, and gives all that it has printed and nobody has read.
    pub(crate) fn said(mut self) -> String {
        self.signal(Signal::TERM);
        let mut said = String::new();
        self.lines.read_to_string(&mut said).expect("text");
        self.remarks.read_to_string(&mut said).expect("text");
        self.wait();
        said
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the program ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send_signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("the process is there");
}

/// Asks again and again until it is so: servers look at their files once a second.
#[track_caller]
pub(crate) fn until(mut it_is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !it_is_so() {
        assert!(begun.elapsed().as_secs() < 120, "it does not come to that");
    }
}

/// Says something to whoever runs the tests with `--nocapture`.
pub(crate) fn tell(text: &str) {
    // Where it cannot be said it need not be.
    let _ = writeln!(std::io::stderr(), "{text}");
}
