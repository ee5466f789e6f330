//! What a person can type behind `valkyrie ci`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use valkyrie_endpoint::{Locator, PlainRule};
use valkyrie_security::Fingerprint;

use super::audit::AuditFileArgs;
use crate::pipeline::parse_duration;

/// Run pipelines: here, or on runners elsewhere.
#[derive(Args, Debug)]
pub struct CiArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CiCommand,
}

/// The commands.
#[derive(Subcommand, Debug)]
#[non_exhaustive]
pub enum CiCommand {
    /// Run a pipeline here: a server in this process, two runners beside it.
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Serve: take pipelines, and hand their jobs to runners.
    #[command(after_help = SERVER_HELP)]
    Server(ServerArgs),
    /// Run jobs for a server.
    #[command(after_help = RUNNER_HELP)]
    Runner(RunnerArgs),
    /// Submit a pipeline to a server and watch it.
    #[command(after_help = EXIT_CODES)]
    Submit(SubmitArgs),
    /// Watch a run that was submitted.
    #[command(after_help = EXIT_CODES)]
    Watch(WatchArgs),
    /// Cancel a run.
    Cancel(CancelArgs),
}

/// Where this side's identity is.
#[derive(Args, Clone, Debug, Default)]
pub struct IdentityArgs {
    /// The directory with this side's identity and whom it trusts; $VALKYRIE_HOME, else ~/.config/valkyrie.
    #[arg(long, value_name = "DIR", help_heading = "Security")]
    pub identity: Option<PathBuf>,

    /// A file with the passphrase of an encrypted identity, readable by its owner alone; asked for at the terminal
    /// unless given.
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub passphrase_file: Option<PathBuf>,
}

/// Who this side is, and whom it wants to meet.
#[derive(Args, Clone, Debug, Default)]
pub struct MeetArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub identity: IdentityArgs,

    /// Trust the peer with this fingerprint, and no other.
    #[arg(
        long,
        value_name = "FINGERPRINT",
        conflicts_with = "plain",
        help_heading = "Security"
    )]
    pub trust: Option<Fingerprint>,

    /// Show the token in this file, and no identity unless --identity names one.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "plain",
        help_heading = "Security"
    )]
    pub token: Option<PathBuf>,

    /// A plain connection, neither encrypted nor authenticated. The other end has to be told so too.
    #[arg(long, help_heading = "Security")]
    pub plain: bool,

    /// Over a Unix socket neither handshake nor encryption: each end takes the operating system's word for who the other
    /// is. The other end has to be told so too. Elsewhere it changes nothing.
    #[arg(long, conflicts_with_all = ["plain", "trust", "token"], help_heading = "Security")]
    pub peer_credentials: bool,
}

impl MeetArgs {
    /// Where connections are made without a handshake.
    pub fn plain_rule(&self) -> PlainRule {
        plain_rule(self.plain, self.peer_credentials)
    }
}

/// Where connections are made or taken without a handshake, going by the two options that say so.
pub fn plain_rule(plain: bool, peer_credentials: bool) -> PlainRule {
    match (plain, peer_credentials) {
        (true, _) => PlainRule::Always,
        (false, true) => PlainRule::PeerCredentials,
        (false, false) => PlainRule::Never,
    }
}

/// What a command needs to know before it meets anybody.
#[derive(Clone, Copy, Debug)]
pub enum Needs<'a> {
    /// Nothing: it makes what it needs.
    Nothing,
    /// It dials.
    Dials(&'a MeetArgs),
    /// It serves.
    Serves(&'a ServerArgs),
}

impl CiArgs {
    /// What the command needs to know before it meets anybody.
    pub fn needs(&self) -> Needs<'_> {
        match &self.command {
            CiCommand::Run(_) => Needs::Nothing,
            CiCommand::Server(args) => Needs::Serves(args),
            CiCommand::Runner(args) => Needs::Dials(&args.meet),
            CiCommand::Submit(args) => Needs::Dials(&args.dial.meet),
            CiCommand::Watch(args) => Needs::Dials(&args.dial.meet),
            CiCommand::Cancel(args) => Needs::Dials(&args.dial.meet),
        }
    }
}

/// How a run is shown.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Show how jobs fare, and not what they print.
    #[arg(long)]
    pub no_logs: bool,

    /// No colour, as with --color never.
    #[arg(long)]
    pub no_color: bool,

    /// Also write what each job prints, untouched, to DIR/JOB.log.
    #[arg(long, value_name = "DIR", conflicts_with = "no_logs")]
    pub log_dir: Option<PathBuf>,
}

/// `ci run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where jobs leave results; it stays. Without it results are dropped at the end.
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,

    /// Jobs that each of the two runners takes at once.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,

    /// Keep the directories in which jobs ran, and say where they are.
    #[arg(long)]
    pub keep: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: ShowArgs,
}

/// What everyone needs who talks to a server.
#[derive(Args, Clone, Debug)]
pub struct DialArgs {
    /// Where the server listens: tcp://host:port, uds:///path or uds://@name.
    #[arg(long, value_name = "LOCATOR", value_parser = locator)]
    pub server: Locator,

    /// How long to try to reach it.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub connect_timeout: Duration,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub meet: MeetArgs,
}

/// `ci submit`.
#[derive(Args, Clone, Debug)]
pub struct SubmitArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dial: DialArgs,

    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print the number of the run and leave.
    #[arg(long, conflicts_with_all = ["no_logs", "log_dir"])]
    pub detach: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: ShowArgs,
}

/// `ci watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dial: DialArgs,

    /// The number of the run.
    #[arg(value_name = "RUN")]
    pub run: u64,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: ShowArgs,
}

/// `ci cancel`.
#[derive(Args, Clone, Debug)]
pub struct CancelArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub dial: DialArgs,

    /// The number of the run.
    #[arg(value_name = "RUN")]
    pub run: u64,
}

/// `ci server`.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Where to listen; may be given several times. Port 0 takes any free port.
    #[arg(short, long = "listen", value_name = "LOCATOR", required = true, value_parser = locator)]
    pub listen: Vec<Locator>,

    /// A directory for results that server and runners see under the same path; jobs find theirs in
    /// $VALKYRIE_ARTIFACTS.
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,

    /// Where to keep logs; they go with the server. A temporary directory unless told otherwise.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// How long a runner may be silent before its jobs are given to others.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = time)]
    pub lease: Duration,

    /// What peers may do; unless given, those of role runner take jobs, and those of role client submit, watch and cancel.
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub policy: Option<PathBuf>,

    /// Take plain connections as well, neither encrypted nor authenticated: whoever can connect can run commands.
    #[arg(long, help_heading = "Security")]
    pub plain: bool,

    /// Over Unix sockets take connections without handshake and encryption as well, from those that ask for one: who they
    /// are the operating system says, as uid:N and gid:N to the policy.
    #[arg(long, conflicts_with = "plain", help_heading = "Security")]
    pub peer_credentials: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub identity: IdentityArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub audit: AuditFileArgs,
}

/// `ci runner`.
#[derive(Args, Clone, Debug)]
pub struct RunnerArgs {
    /// Where the server listens: tcp://host:port, uds:///path or uds://@name.
    #[arg(long, value_name = "LOCATOR", value_parser = locator)]
    pub server: Locator,

    /// A label that `runs_on` may ask for; may be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,

    /// Jobs it takes at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,

    /// Its name, for people; the host name unless told otherwise.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Where jobs get their directories; a temporary directory unless told otherwise.
    #[arg(long, value_name = "DIR")]
    pub workspaces: Option<PathBuf>,

    /// Keep the directories in which jobs ran.
    #[arg(long)]
    pub keep: bool,

    /// How long to look for a server that cannot be reached.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    pub unreachable: Duration,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub meet: MeetArgs,

    /// Kill everything and leave when standard input ends: the runner does not outlive who started it.
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,

    /// Say nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,
}

fn locator(text: &str) -> Result<Locator, String> {
    text.parse::<Locator>().map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

const EXIT_CODES: &str = "\
Ctrl-C cancels the run; a second one does not wait for its end.

Exit codes:
  0    every job succeeded
  1    a job failed, ran out of time, was lost or cancelled
  2    the pipeline file or the command line makes no sense
  3    the server could not be reached, or was lost
  6    this machine could not: a file, an address in use, a permission
  7    the server is not trusted, or does not trust this side
  130  interrupted by Ctrl-C
  141  whoever read the output went away
  143  ended by SIGTERM or SIGHUP";

const SERVER_HELP: &str = "\
Whoever may submit can run commands on the runners. Runners and clients with the server's own identity, as on one
machine, may do everything; others have the roles that `valkyrie keys trust` or an authority gives them: runner or client.

The first Ctrl-C or SIGTERM cancels all runs and waits for their end, a second one leaves at once.

Example:
  valkyrie ci server --listen tcp://127.0.0.1:7100 --listen uds:///tmp/ci.sock --artifacts /tmp/results
  valkyrie keys trust SHA256:7Xk… --name build-1 --role runner";

const RUNNER_HELP: &str = "\
The first Ctrl-C or SIGTERM lets jobs that run come to their end and leaves then, a second one cancels them,
a third one kills them.

Example:
  valkyrie ci runner --server tcp://127.0.0.1:7100 --label linux --slots 2";
