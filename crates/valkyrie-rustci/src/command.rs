//! `valkyrie ci …`: the commands, for a program that has others beside them.
//!
//! [`CiArgs`] is what a person can type and [`run`] does it. Results and logs go to standard output,
//! errors and remarks to standard error. Read [`CiArgs`] first.

mod args;
mod audit;
mod children;
mod local;
mod printer;
mod remote;
mod screen;
mod serve;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use valkyrie_endpoint::{
    AccessPolicy, CallError, CloseReason, ConnectError, ErrorCode, HandshakeError, PolicyHandle,
};
use valkyrie_security::trust::UnknownPeer;

pub use args::{
    CancelArgs, CiArgs, CiCommand, IdentityArgs, MeetArgs, Needs, RunArgs, RunnerArgs, ServerArgs, ShowArgs,
    SubmitArgs, WatchArgs, plain_rule,
};
pub use audit::AuditFileArgs;

use crate::access::Access;
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
    /// The peer is not trusted, or does not trust this side.
    Distrust = 7,
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

/// How a command meets others: made by the program that has these commands, which knows identities and the person.
#[derive(Clone)]
pub struct Meeting {
    /// The identity, and whom it trusts.
    pub access: Access,
    /// What peers may do; for a server.
    pub policy: PolicyHandle,
    /// Asks somebody about a peer that nobody vouches for.
    pub decide: Decide,
}

/// Asks somebody whether to trust a peer. When it answers yes the peer is trusted from then on, and whatever there was to say
/// to the contrary has been printed.
pub type Decide = Arc<dyn Fn(UnknownPeer) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl Meeting {
    /// With this identity; nobody is asked, and peers may do nothing.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            policy: AccessPolicy::default().into(),
            decide: Arc::new(|_| Box::pin(std::future::ready(false))),
        }
    }
}

/// Does what was typed. Everything there is to say has been printed when it returns. `meeting` is looked at as far as
/// [`CiArgs::needs`] says.
pub async fn run(args: &CiArgs, meeting: &Meeting, io: IoOptions) -> CiExit {
    match &args.command {
        CiCommand::Run(args) => local::run(args, io).await,
        CiCommand::Submit(args) => remote::submit(args, meeting, io).await,
        CiCommand::Watch(args) => remote::watch(args, meeting, io).await,
        CiCommand::Cancel(args) => remote::cancel(args, meeting, io).await,
        CiCommand::Server(args) => serve::server(args, meeting, io).await,
        CiCommand::Runner(args) => serve::runner(args, meeting, io).await,
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
        self.fail_with(exit, text, None)
    }

    /// The same with what can be done about it.
    fn fail_with(self, exit: CiExit, text: impl std::fmt::Display, hint: Option<&str>) -> CiExit {
        let text = text.to_string();
        if self.json {
            let value = serde_json::json!({"error": text, "exit_code": exit.code(), "hint": hint});
            say(format_args!("{value}\n"));
        } else {
            let (on, off) = match self.colour_on(std::io::stderr().is_terminal()) {
                true => ("\x1b[1;31m", "\x1b[0m"),
                false => ("", ""),
            };
            say(format_args!("{on}error:{off} {text}\n"));
            if let Some(hint) = hint {
                say(format_args!(" hint: {hint}\n"));
            }
        }
        exit
    }

    /// Says why a client's command failed, and what can be done about it.
    fn fail_as_client(self, error: &ClientError) -> CiExit {
        let denied = |error: &ClientError| matches!(error, ClientError::Call(CallError::Failed(failure)) if failure.code == ErrorCode::PERMISSION_DENIED);
        let exit = exit_of(error);
        let hint = match error {
            ClientError::Connect(ConnectError::Handshake { source, .. })
                if matches!(**source, HandshakeError::Trust(_)) =>
            {
                Some(TRUST_THE_SERVER)
            }
            _ if exit == CiExit::Distrust || denied(error) => Some(TRUST_THIS_CLIENT),
            _ => None,
        };
        self.fail_with(exit, error, hint)
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
    match error {
        ClientError::Refused(_) => CiExit::Usage,
        ClientError::Connect(ConnectError::Handshake { source, .. }) if is_distrust(source) => {
            CiExit::Distrust
        }
        ClientError::Connect(ConnectError::Session {
            reason: CloseReason::Refused(failure),
            ..
        }) if is_about_identity(failure.code.value()) => CiExit::Distrust,
        ClientError::Connect(ConnectError::Locator(_) | ConnectError::Scheme(_)) => CiExit::Usage,
        ClientError::Build(_) => CiExit::Local,
        ClientError::Call(CallError::Failed(_)) | ClientError::Watch(_) | ClientError::Gap { .. } => {
            CiExit::Failed
        }
        ClientError::Unwatched => CiExit::BrokenPipe,
        _ => CiExit::Unreachable,
    }
}

/// Whether somebody is not trusted, by this side or by the other.
fn is_distrust(error: &HandshakeError) -> bool {
    matches!(
        error,
        HandshakeError::Trust(_) | HandshakeError::Refused(_) | HandshakeError::RefusedInClear(_)
    )
}

const TRUST_THE_SERVER: &str = "if that is the server, going by what `valkyrie keys show` says there: --trust FINGERPRINT, or for \
                                good: valkyrie keys trust FINGERPRINT";
const TRUST_THIS_CLIENT: &str = "where the server runs: valkyrie keys trust FINGERPRINT --role client, with what `valkyrie keys show \
                                 --fingerprint` says here";
const TRUST_THIS_RUNNER: &str = "where the server runs: valkyrie keys trust FINGERPRINT --role runner, with what `valkyrie keys show \
                                 --fingerprint` says here; and here --trust FINGERPRINT, with what it says there";

/// The families of error codes that are about who somebody is: 2xx and 7xx.
fn is_about_identity(code: u32) -> bool {
    matches!(code / 100, 2 | 7)
}
