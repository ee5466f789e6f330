//! The program at a terminal, where a person answers its questions.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The program, started on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    screen: File,
    shown: String,
}

impl Terminal {
    /// Starts the program with its identity in `home`. Its standard error and its controlling terminal are the terminal; its
    /// standard output is not.
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&screen).expect("a terminal");
        unlockpt(&screen).expect("a terminal");
        let name = ptsname(&screen, Vec::new()).expect("a name");
        let name = name.to_str().expect("a path").to_owned();
        // Kept open until the program has it, or reading ends before it begins.
        let kept = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .expect("a terminal");
        // A new session takes the first terminal that it opens.
        let child = Command::new("setsid")
            .args([
                "sh",
                "-c",
                "terminal=$1; shift; exec \"$@\" 2<>\"$terminal\"",
                "sh",
                &name,
            ])
            .arg(env!("CARGO_BIN_EXE_valkyrie"))
            .args(args)
            .env("VALKYRIE_HOME", home)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("setsid starts");
        let mut terminal = Self {
            child,
            screen: screen.into(),
            shown: String::new(),
        };
        terminal.wait_for_something();
        drop(kept);
        terminal
    }

    /// Reads what is shown until it has this text.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.read(), "`{text}` was not shown:\n{}", self.shown);
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, text: &str) {
        self.screen
            .write_all(format!("{text}\n").as_bytes())
            .expect("the terminal takes it");
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.screen.write_all(&[3]).expect("the terminal takes it");
    }

    /// Reads on until the program ends; says its exit code, and everything that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        while self.read() {}
        let status = self.child.wait().expect("the program ends");
        (status.code(), std::mem::take(&mut self.shown))
    }

    fn wait_for_something(&mut self) {
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.screen, PollFlags::IN)];
        assert!(
            poll(&mut fds, Some(&patience)).expect("a terminal") > 0,
            "nothing is shown"
        );
    }

    /// Reads more; false once nobody is at the other end.
    fn read(&mut self) -> bool {
        self.wait_for_something();
        let mut buffer = [0; 1024];
        // On Linux the end of the other side is an error of its own.
        match self.screen.read(&mut buffer) {
            Ok(read) if read > 0 => {
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
                true
            }
            _ => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
