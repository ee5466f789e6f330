//! What every command that dials has in common.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use valkyrie::{Class, ConnectError, Connection, Endpoint, Expect, Locator};
use valkyrie_rustci::command::MeetArgs;

use crate::access::{self, Access};
use crate::exit::{CliError, Exit};
use crate::fault::TRUST_US_HINT;
use crate::out::Notes;
use crate::signals::Signals;
use crate::spiffe::SpiffeArgs;
use crate::tls::TakeArgs;
use crate::units::{Span, parse_duration};

/// Whom to dial.
#[derive(Args, Clone, Debug)]
pub(crate) struct DialArgs {
    /// Where the peer listens, such as tcp://host:port, quic://host:port, auto://host:port, ws://host:port/ or
    /// uds:///path.
    #[arg(value_parser = parse_locator)]
    pub(crate) locator: Locator,

    /// How long dialling and opening the session may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,

    /// How long the connection outlives its link: it goes on over another, wherever the peer listens. 0s ends it with
    /// its link.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) resume_for: Duration,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    meet: MeetArgs,

    #[command(flatten)]
    spiffe: SpiffeArgs,
}

/// Which registry to dial.
#[derive(Args, Clone, Debug)]
pub(crate) struct RegistryDialArgs {
    /// Where the registry listens.
    #[arg(long, value_name = "LOCATOR", env = "VALKYRIE_REGISTRY", value_parser = parse_locator)]
    registry: Locator,

    /// How long dialling and opening the session may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    connect_timeout: Duration,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    meet: MeetArgs,

    #[command(flatten)]
    spiffe: SpiffeArgs,
}

impl RegistryDialArgs {
    /// As every command dials.
    pub(crate) fn dial(&self) -> DialArgs {
        DialArgs {
            locator: self.registry.clone(),
            connect_timeout: self.connect_timeout,
            // A watch goes on and a call is told, whatever becomes of a link.
            resume_for: Duration::ZERO,
            take: self.take.clone(),
            meet: self.meet.clone(),
            spiffe: self.spiffe.clone(),
        }
    }
}

/// Where a command dials, with the identity that it shows.
pub(crate) struct Dial<'a> {
    args: &'a DialArgs,
    pub(crate) access: Option<Access>,
    pub(crate) endpoint: Endpoint,
}

impl DialArgs {
    /// Opens the identity, unless the connection is to be plain: then nobody asks for it.
    pub(crate) fn access(&self, notes: Notes) -> Result<Option<Access>, CliError> {
        if self.meet.plain {
            if self.spiffe.is_asked() {
                let message =
                    "--plain and --spiffe exclude each other: nobody proves anything on a plain connection";
                return Err(CliError::new(Exit::Usage, message));
            }
            return Ok(None);
        }
        Access::open(&self.meet.identity, access::first_use(notes), notes).map(Some)
    }

    /// An endpoint that dials as that identity. Within a runtime.
    pub(crate) async fn endpoint(&self, access: Option<Access>) -> Result<Dial<'_>, CliError> {
        let access = match access {
            Some(access) => Some(access.joined(&self.spiffe).await?),
            None => None,
        };
        let builder = match &access {
            Some(access) => valkyrie::endpoint()
                .security(access.dialling(&self.meet)?)
                .on_first_use(access.on_first_use()),
            None => valkyrie::endpoint(),
        };
        let builder = builder.plain(self.meet.plain_rule());
        Ok(Dial {
            args: self,
            access,
            endpoint: self.take.apply(builder).resume_for(self.resume_for).build()?,
        })
    }
}

impl Dial<'_> {
    /// Dials once; and once more when the person at the terminal has said that an unknown peer is to be trusted.
    pub(crate) async fn connect(&self) -> Result<Connection, CliError> {
        let error = match self.once().await? {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let (Some(unknown), Some(access)) = (error.unknown_peer(), &self.access) else {
            return Err(self.told(error));
        };
        access.decide(unknown.clone()).await?;
        self.once().await?.map_err(|error| self.told(error))
    }

    /// Whose token is refused is not helped by being trusted.
    fn told(&self, error: ConnectError) -> CliError {
        let told = CliError::from(error);
        match self.args.meet.token {
            Some(_) if told.hint.as_deref() == Some(TRUST_US_HINT) => told.hint(
                "the peer takes tokens of the roots that its policy names; `valkyrie token show` says whether a token is one of a root",
            ),
            _ => told,
        }
    }

    /// Who has to answer.
    pub(crate) fn expected(&self) -> Expect {
        self.args.meet.trust.map_or(Expect::Anybody, Expect::Fingerprint)
    }

    async fn once(&self) -> Result<Result<Connection, ConnectError>, CliError> {
        let DialArgs {
            locator,
            connect_timeout,
            ..
        } = self.args;
        let dialling = self.endpoint.connect_expecting(locator, self.expected());
        tokio::time::timeout(*connect_timeout, dialling)
            .await
            .map_err(|_| {
                let message = format!("{locator} did not answer within {}", Span(*connect_timeout));
                CliError::new(Exit::Deadline, message).hint("allow more with --connect-timeout")
            })
    }
}

/// Runs a command's future on threads of its own; 1 keeps everything on this one.
pub(crate) fn block_on<T>(
    threads: usize,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    runtime(threads)
        .map_err(|error| CliError::new(Exit::Local, format!("the runtime cannot start: {error}")))?
        .block_on(work)
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    if threads == 1 {
        Builder::new_current_thread().enable_all().build()
    } else {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
    }
}

/// Does a client's work until it ends or a signal comes, then ends the endpoint's connections gently.
pub(crate) async fn until_signal<T>(
    endpoint: &Endpoint,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let mut signals = Signals::install()?;
    let done = tokio::select! {
        done = work => done,
        caught = signals.next() => Err(CliError::silent(caught.exit())),
    };
    tokio::select! {
        _ = endpoint.drain(GOODBYE) => {}
        _ = signals.next() => {}
    }
    done
}

/// Reads a locator.
pub(crate) fn parse_locator(text: &str) -> Result<Locator, String> {
    text.parse()
        .map_err(|error: valkyrie::transport::LocatorError| error.to_string())
}

/// Reads the name of a class.
pub(crate) fn parse_class(text: &str) -> Result<Class, String> {
    Class::from_name(text).ok_or_else(|| {
        let names = Class::ALL.map(Class::name).join(", ");
        format!("there is no such class; choose one of {names}")
    })
}

/// How many threads work best: as many as there are cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How long a client waits for its peer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
