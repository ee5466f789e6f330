//! Exit codes, and the one error type of the command line: a sentence, a hint and a code.
//!
//! Errors of the libraries are typed and stay typed until here; a command turns them into a [`CliError`] at the
//! moment when nothing is left to decide but what to tell the person and the script that started it.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How a command ended, for scripts. `--help` and the book list the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The remote handler, or the job, answered with a failure.
    Failed = 1,
    /// The command line, a locator or an input text makes no sense. The same code as clap's own.
    Usage = 2,
    /// Nobody could be reached, or the connection was lost.
    Unreachable = 3,
    /// The peer, or the captured bytes, broke the protocol.
    Protocol = 4,
    /// The deadline passed.
    Deadline = 5,
    /// This machine could not: a file, an address in use, a permission.
    Local = 6,
    /// The peer is not trusted, or does not trust this side.
    Distrust = 7,
    /// Interrupted by Ctrl-C: 128 + SIGINT.
    Interrupted = 130,
    /// Whoever read the output went away: 128 + SIGPIPE.
    BrokenPipe = 141,
    /// Ended by SIGTERM: 128 + SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table of exit codes as `--help` shows it.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    all went well
  1    the remote handler, or the job, answered with a failure
  2    the command line, a locator or an input makes no sense
  3    nobody could be reached, or the connection was lost
  4    the peer, or the captured bytes, broke the protocol
  5    the deadline passed
  6    this machine could not: a file, an address in use, a permission
  7    the peer is not trusted, or does not trust this side
  130  interrupted by Ctrl-C
  141  whoever read the output went away
  143  ended by SIGTERM";

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// One sentence. Empty when there is nobody to tell or nothing to add.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// An end that needs no words: everything there was to say has been printed.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Standard output did not take what was printed.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(Exit::BrokenPipe),
            _ => Self::new(Exit::Local, format!("standard output cannot be written: {error}")),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
