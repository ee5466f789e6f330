//! A program that runs until it is told to end, and says what it does in JSON.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{send_signal, valkyrie};

pub(crate) struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// `valkyrie registry --json` and these arguments, with an identity in this directory.
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        let mut command = valkyrie(["registry", "--json"]);
        command.env("VALKYRIE_HOME", home).args(args);
        Self::spawn(command)
    }

    /// A command that says what it does in JSON.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    /// The next thing it says.
    pub(crate) fn event(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// The next thing of a kind.
    pub(crate) fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["event"] == kind {
                return event;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Its errors, where the command has them piped.
    pub(crate) fn errors(&mut self) -> impl BufRead + use<> {
        BufReader::new(self.child.stderr.take().expect("a pipe"))
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    pub(crate) fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
