//! `valkyrie registry`: a registry to serve, and everything that one can be asked.

pub(crate) mod agent;
mod put;
mod remove;
mod serve;
mod show;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use valkyrie_registry::agent::{AgentId, Word};
use valkyrie_registry::directory::{Directory, Snapshot};
use valkyrie_registry::store::{Store, list_all};
use valkyrie_registry_remote::{RemoteConfig, RemoteStore};

use self::put::PutArgs;
use self::remove::RemoveArgs;
use self::serve::RegistryServeArgs;
use self::show::{HealthArgs, ListArgs};
use self::watch::WatchArgs;
use crate::access;
use crate::exit::CliError;
use crate::net::{Dial, RegistryDialArgs};
use crate::out::{Notes, Out};

/// Serves a registry of agents, and registers, lists, watches and removes them.
#[derive(Args, Debug)]
#[command(after_help = "\
A registry knows which agents are here, where they can be dialled and what they offer. An agent registers under a lease with the
identity that it shows to those who dial it, and is gone when it stops.

Examples:
  valkyrie registry serve --listen tcp://[::]:7400 --data /var/lib/valkyrie
  valkyrie registry serve --listen tcp://10.0.0.2:7400 --swim --join tcp://10.0.0.1:7400
  export VALKYRIE_REGISTRY=tcp://registry.example.org:7400
  valkyrie registry put web-1 tcp://10.0.0.1:7000 --service orders@1.4.0,tier=gold
  valkyrie registry ls --service orders --version '>=1.2, <2' --labels 'tier in (gold, platinum)'
  valkyrie registry watch --json")]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Subcommand, Debug)]
enum RegistryCommand {
    Serve(RegistryServeArgs),
    Put(PutArgs),
    Ls(ListArgs),
    Watch(WatchArgs),
    Rm(RemoveArgs),
    Health(HealthArgs),
}

/// Runs the command.
pub(crate) fn run(args: &RegistryArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    match &args.command {
        RegistryCommand::Serve(args) => serve::run(args, out, notes),
        RegistryCommand::Put(args) => put::run(args, out, notes),
        RegistryCommand::Ls(args) => show::list(args, out, notes),
        RegistryCommand::Watch(args) => watch::run(args, out, notes),
        RegistryCommand::Rm(args) => remove::run(args, out, notes),
        RegistryCommand::Health(args) => show::health(args, out, notes),
    }
}

/// Which registry, and whose records in it.
#[derive(Args, Clone, Debug)]
struct ReachArgs {
    #[command(flatten)]
    dial: RegistryDialArgs,

    /// The name of the cluster, which every record is signed for: records of another are refused.
    #[arg(
        long,
        value_name = "NAME",
        env = "VALKYRIE_CLUSTER",
        default_value = "default"
    )]
    cluster: Word,

    /// How long each request may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::units::parse_duration)]
    timeout: Duration,
}

impl ReachArgs {
    fn config(&self) -> RemoteConfig {
        RemoteConfig {
            call_timeout: self.timeout,
            ..RemoteConfig::default()
        }
    }

    /// The registry over one connection, for what is done at once.
    async fn once(&self, dial: &Dial<'_>) -> Result<RemoteStore, CliError> {
        let connection = dial.connect().await?;
        Ok(RemoteStore::over(connection, self.config()).await?)
    }

    /// The registry for as long as the command runs. The first connection is made as every command makes one, so that whom to trust is asked
    /// and what goes wrong is told.
    async fn kept(&self, dial: &Dial<'_>, dialled: &crate::net::DialArgs) -> Result<RemoteStore, CliError> {
        let first = dial.connect().await?;
        let store =
            RemoteStore::dial(&dial.endpoint, &dialled.locator, dial.expected(), self.config()).await?;
        drop(first);
        Ok(store)
    }

    /// Who is there now, verified, and how many records were refused.
    async fn snapshot(&self, store: &dyn Store) -> Result<(Snapshot, u64), CliError> {
        let answer = list_all(store, &AgentId::prefix(), AGENTS_MAX).await?;
        let mut directory = Directory::new(self.cluster.clone());
        directory.reset(access::now(), &answer.value, answer.revision);
        Ok((directory.snapshot(), directory.refused()))
    }
}

/// Says that a registry has records that are none.
fn warn_of_refused(refused: u64, notes: Notes) {
    if refused > 0 {
        notes.warning(format_args!(
            "{refused} of its records are not believed: of another cluster (--cluster), of another time, or somebody lies"
        ));
    }
}

/// The store behind a handle, as the parts above it take it.
fn shared(store: RemoteStore) -> Arc<dyn Store> {
    Arc::new(store)
}

/// Agents that a command takes: those that a registry has room for by default.
const AGENTS_MAX: usize = 1_000_000;
