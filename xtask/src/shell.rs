//! Runs commands: prints each as one could type it, lets its output through, and ends it at its limit.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// No command of a check takes longer; past it the machine hangs rather than works.
const LIMIT_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// How often a running command is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A command being put together.
#[derive(Debug)]
pub(crate) struct Shell {
    command: Command,
    line: String,
    limit: Duration,
}

impl Shell {
    /// `cargo`, in the folder `root`.
    pub(crate) fn cargo(root: &Path) -> Self {
        Self::new("cargo", root)
    }

    /// Any program, in the folder `root`.
    pub(crate) fn new(program: &str, root: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root).stdin(Stdio::null());
        // `cargo xtask` runs as a child of cargo, which describes this package in the environment;
        // a cargo below must not mistake that for its own.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        Self {
            command,
            line: program.to_owned(),
            limit: LIMIT_DEFAULT,
        }
    }

    /// Adds arguments.
    pub(crate) fn args<I, S>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        for argument in arguments {
            let argument = argument.as_ref();
            self.line.push(' ');
            if argument.contains(' ') {
                self.line.push('\'');
                self.line.push_str(argument);
                self.line.push('\'');
            } else {
                self.line.push_str(argument);
            }
            self.command.arg(argument);
        }
        self
    }

    /// Sets a variable, and shows it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        let shown = if value.contains([' ', '\u{1f}']) {
            format!("'{}'", value.replace('\u{1f}', " "))
        } else {
            value.to_owned()
        };
        self.line = format!("{name}={shown} {}", self.line);
        self.command.env(name, value);
        self
    }

    /// Replaces the limit after which the command is killed.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it with its output on ours.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        println!("$ {}", self.line);
        let child = self.spawn()?;
        self.wait(child)
    }

    /// Runs it, passes its output on line by line, and also gives the lines back with how it ended.
    pub(crate) fn tee(self) -> (Vec<String>, Result<(), Failure>) {
        self.collect(true)
    }

    /// Runs it and gives its lines back with how it ended, without showing them.
    pub(crate) fn gather(self) -> (Vec<String>, Result<(), Failure>) {
        self.collect(false)
    }

    fn collect(mut self, show: bool) -> (Vec<String>, Result<(), Failure>) {
        println!("$ {}", self.line);
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(failure) => return (Vec::new(), Err(failure)),
        };
        let (sender, receiver) = mpsc::channel();
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            let sender = sender.clone();
            readers.push(std::thread::spawn(move || forward(out, &sender)));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(std::thread::spawn(move || forward(err, &sender)));
        }
        let printer = std::thread::spawn(move || {
            let mut lines = Vec::new();
            let mut out = std::io::stdout();
            for line in receiver {
                if show {
                    // A closed terminal is no reason to lose the counts.
                    let _ = writeln!(out, "{line}");
                }
                lines.push(line);
            }
            lines
        });
        let ended = self.wait(child);
        for reader in readers {
            let _ = reader.join();
        }
        (printer.join().unwrap_or_default(), ended)
    }

    /// Runs it silently and gives back its standard output, or `None` when it did not succeed.
    pub(crate) fn read(mut self) -> Option<String> {
        self.command.stderr(Stdio::null());
        let output = self.command.output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn spawn(&mut self) -> Result<Child, Failure> {
        self.command.spawn().map_err(|error| Failure::Command {
            line: self.line.clone(),
            status: error.to_string(),
        })
    }

    fn wait(&self, mut child: Child) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::Command {
                        line: self.line.clone(),
                        status: status.to_string(),
                    });
                }
                Ok(None) if started.elapsed() > self.limit => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Failure::TimedOut {
                        line: self.line.clone(),
                        limit_s: self.limit.as_secs(),
                    });
                }
                Ok(None) => std::thread::sleep(POLL_INTERVAL),
                Err(error) => {
                    return Err(Failure::Command {
                        line: self.line.clone(),
                        status: error.to_string(),
                    });
                }
            }
        }
    }
}

/// Reads lines until the other side closes; bytes that are no text are shown as best they can be.
fn forward(input: impl std::io::Read, sender: &mpsc::Sender<String>) {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if sender
                    .send(text.trim_end_matches(['\n', '\r']).to_owned())
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}
