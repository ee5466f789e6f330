//! `valkyrie ci …`: the commands, for a program that has others beside them.
//!
//! [`CiArgs`] is what a person can type and [`run`] does it. Results and logs go to standard output,
//! errors and remarks to standard error. Read [`CiArgs`] first.

mod args;
mod children;
mod local;
mod printer;
mod remote;
mod screen;
mod serve;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

pub use args::{
    CancelArgs, CiArgs, CiCommand, IdentityArgs, MeetArgs, RunArgs, RunnerArgs, ServerArgs, ShowArgs, SubmitArgs, WatchArgs,
};

use crate::client::ClientError;

/// How output is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoOptions {
    /// JSON, one value a line, instead of words.
    pub json: bool,
    /// Whether to colour; nothing leaves it to the terminal and to `NO_COLOR`.
    pub colour: Option<bool>,
}

/// How a command ended. `docs/book/ci.md` lists the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum CiExit {
    /// Every job succeeded.
    Succeeded = 0,
    /// A job failed, ran out of time, was lost or was cancelled by someone else.
    Failed = 1,
    /// The pipeline file or the command line makes no sense.
    Usage = 2,
    /// The server could not be reached, or was lost.
    Unreachable = 3,
    /// This machine could not: a file, an address in use, a permission.
    Local = 6,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
    /// Whoever read the output went away.
    BrokenPipe = 141,
    /// Ended by SIGTERM or SIGHUP.
    Terminated = 143,
}

impl CiExit {
    /// The code as a number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<CiExit> for ExitCode {
    fn from(exit: CiExit) -> Self {
        Self::from(exit.code())
    }
}

/// Does what was typed. Everything there is to say has been printed when it returns.
pub async fn run(args: &CiArgs, io: IoOptions) -> CiExit {
    match &args.command {
        CiCommand::Run(args) => local::run(args, io).await,
        CiCommand::Submit(args) => remote::submit(args, io).await,
        CiCommand::Watch(args) => remote::watch(args, io).await,
        CiCommand::Cancel(args) => remote::cancel(args, io).await,
        CiCommand::Server(args) => serve::server(args, io).await,
        CiCommand::Runner(args) => serve::runner(args, io).await,
    }
}

impl IoOptions {
    fn colour_on(self, terminal: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.json
            && self
                .colour
                .unwrap_or_else(|| terminal && !set("NO_COLOR") && !dumb())
    }

    /// Standard output.
    fn out_colour(self) -> bool {
        self.colour_on(std::io::stdout().is_terminal())
    }

    /// Says what went wrong and returns how the command ends.
    fn fail(self, exit: CiExit, text: impl std::fmt::Display) -> CiExit {
        let text = text.to_string();
        if self.json {
            let value = serde_json::json!({"error": text, "exit_code": exit.code()});
            say(format_args!("{value}\n"));
        } else {
            let (on, off) = match self.colour_on(std::io::stderr().is_terminal()) {
                true => ("\x1b[1;31m", "\x1b[0m"),
                false => ("", ""),
            };
            say(format_args!("{on}error:{off} {text}\n"));
        }
        exit
    }

    /// A remark for people; nothing with JSON.
    fn remark(self, text: impl std::fmt::Display) {
        if !self.json {
            say(format_args!("{text}\n"));
        }
    }
}

/// What cannot be said on standard error cannot be said anywhere.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// How a command ends that met this error.
fn exit_of(error: &ClientError) -> CiExit {
    use valkyrie_endpoint::{CallError, ConnectError};
    match error {
        ClientError::Refused(_) => CiExit::Usage,
        ClientError::Connect(ConnectError::Locator(_) | ConnectError::Scheme(_)) => CiExit::Usage,
        ClientError::Build(_) => CiExit::Local,
        ClientError::Call(CallError::Failed(_)) | ClientError::Watch(_) | ClientError::Gap { .. } => {
            CiExit::Failed
        }
        ClientError::Unwatched => CiExit::BrokenPipe,
        _ => CiExit::Unreachable,
    }
}
