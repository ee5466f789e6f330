//! `valkyrie registry serve`: a registry for others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use valkyrie::security::audit::AuditEvent;
use valkyrie::security::trust::{FirstUse, KnownPeer};
use valkyrie::transport::tls::Roots;
use valkyrie::{AccessPolicy, Config, Endpoint, Limits, Locator, PolicyHandle, Services, UdsTransport};
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::store::{Revision, Store};
use valkyrie_registry::{EmbeddedStore, MemStore};
use valkyrie_registry_remote::{ServiceBounds, default_policy, service, wire};
use valkyrie_rustci::command::{AuditFileArgs, IdentityArgs, plain_rule};

use crate::access::Access;
use crate::exit::{CliError, Exit};
use crate::membership::{SwimArgs, follow, open_policy};
use crate::net;
use crate::out::{Notes, Out};
use crate::rules::PolicyFile;
use crate::serve::{drain, parse_mode};
use crate::signals::Signals;
use crate::spiffe::SpiffeArgs;
use crate::tls::{self, ShowArgs};
use crate::trail::Trail;
use crate::units::parse_duration;
use crate::watch::Watch;

/// Serves a registry that agents register at and others read.
#[derive(Args, Debug)]
#[command(after_help = "\
Once a place is bound, `listening on LOCATOR` is printed, and after the last of them who the registry is.
The first Ctrl-C or SIGTERM drains, a second one ends it at once.

With --swim there is no store: the registry is what this node and others like it know of each other, kept by nobody and written by being a
member. Any member can be asked. Who joins, leaves and fails is printed, a line each.

Without --policy any peer that proves an identity, known or not, may read everything and write what is its own: the entries of its
own agents, under leases. Who shows the registry's own identity may write everything. With a policy, the service `registry` is
the former and `registry-operator` the latter, and peers from elsewhere have to be trusted (`valkyrie keys trust`). Whoever may call the service `swim` is a member; without a
policy that is any peer that proves an identity.

Examples:
  valkyrie registry serve --listen tcp://[::]:7400 --data /var/lib/valkyrie
  valkyrie registry serve --listen uds:///run/registry.sock --memory
  valkyrie registry serve --listen tcp://10.0.0.1:7400 --swim
  valkyrie registry serve --listen tcp://10.0.0.2:7400 --swim --join tcp://10.0.0.1:7400")]
pub(crate) struct RegistryServeArgs {
    /// Where to listen; may be given several times. Port 0 takes any free port.
    #[arg(short, long = "listen", value_name = "LOCATOR", required = true, value_parser = net::parse_locator)]
    listen: Vec<Locator>,

    /// The directory that the registry keeps its file in, made if it is not there.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["memory", "swim"], conflicts_with = "swim")]
    data: Option<PathBuf>,

    /// Keep nothing: agents register again after a restart.
    #[arg(long, conflicts_with_all = ["data", "swim"])]
    memory: bool,

    #[command(flatten)]
    membership: SwimArgs,

    #[command(flatten)]
    show: ShowArgs,

    /// How long the connections may take to end once the program is asked to.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// Connections at once; further ones are closed unheard.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_connections: usize,

    /// Permissions of the files of Unix sockets, in octal, whatever the umask.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    uds_mode: Option<u32>,

    /// What peers may do; `valkyrie policy check FILE` checks it first.
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    policy: Option<PathBuf>,

    /// Take plain connections as well, neither encrypted nor authenticated, from those that ask for one. Over them everything can be read,
    /// and without --policy everything be written by whoever asks for it as an operator.
    #[arg(long, help_heading = "Security")]
    plain: bool,

    /// Over Unix sockets take connections without handshake and encryption as well, from those that ask for one: who they
    /// are the operating system says, as uid:N and gid:N to the policy.
    #[arg(long, conflicts_with_all = ["plain", "swim"], help_heading = "Security")]
    peer_credentials: bool,

    #[command(flatten)]
    identity: IdentityArgs,

    #[command(flatten)]
    spiffe: SpiffeArgs,

    #[command(flatten)]
    audit: AuditFileArgs,
}

/// Runs the command.
pub(super) fn run(args: &RegistryServeArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    args.membership.check(&args.listen)?;
    let policy = args.policy.as_deref().map(PolicyFile::open).transpose()?;
    let rule = if policy.is_some() {
        FirstUse::Local
    } else {
        FirstUse::Anywhere
    };
    let access = Access::open(&args.identity, rule, notes)?;
    net::block_on(net::cores(), serve(args, access, policy, out, notes))
}

/// The store, and the same once more where it has a file to close.
async fn open(args: &RegistryServeArgs) -> Result<(Arc<dyn Store>, Option<EmbeddedStore>), CliError> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // After whatever anybody has seen of an earlier store that this one takes the place of.
    let begin = Revision::new(u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2));
    let Some(folder) = &args.data else {
        return Ok((Arc::new(MemStore::beginning_after(Bounds::DEFAULT, begin)), None));
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        CliError::new(
            Exit::Local,
            format!("{} cannot be made: {error}", folder.display()),
        )
    })?;
    let path = folder.join(FILE_NAME);
    let store = EmbeddedStore::open_beginning_after(&path, Bounds::DEFAULT, begin).await?;
    Ok((Arc::new(store.clone()), Some(store)))
}

async fn serve(
    args: &RegistryServeArgs,
    access: Access,
    policy: Option<PolicyFile>,
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let mut signals = Signals::install()?;
    let access = access.joined(&args.spiffe).await?;
    let (services, candidate) = args.membership.serve(Services::builder());
    let (services, file) = match candidate {
        Some(_) => (services, None),
        None => {
            let (store, file) = open(args).await?;
            (service(services, store, ServiceBounds::DEFAULT), file)
        }
    };
    let services = services
        .build()
        .map_err(|error| CliError::new(Exit::Local, format!("the services cannot be served: {error}")))?;
    let own = access.keystore().document().fingerprint();
    let handle = PolicyHandle::new(match (&policy, args.plain) {
        (Some(file), _) => file.rules(),
        (None, false) if args.membership.is_asked() => open_policy(own, &[])?,
        (None, false) => {
            default_policy(own).map_err(|error| CliError::new(Exit::Local, error.to_string()))?
        }
        (None, true) => AccessPolicy::allow_all(),
    });
    let trail = Trail::begin(access.keystore(), args.audit, notes)?;
    let (recording, strangers, remember) = (trail.clone(), policy.is_none(), access.on_first_use());
    let certificates = args.show.certificates(notes)?;
    let endpoint = tls::transports(valkyrie::endpoint(), &certificates, &Roots::Any, &[])
        .transport(UdsTransport::new().with_mode(args.uds_mode))
        .config(config())
        .services(services)
        .connections_max(args.max_connections)
        .security(access.security())
        .policy(handle.clone())
        .plain(plain_rule(args.plain, args.peer_credentials))
        .audit(move |event: &AuditEvent<'_>| recording.record(event))
        .on_first_use(move |peer: &KnownPeer| {
            // Where anybody is let in, a file of them would be of no use to anybody.
            if !strangers {
                remember(peer);
            }
        })
        .build()?;
    let bound = listen(args, &endpoint, &access, out).await?;
    let mut member = candidate
        .map(|candidate| candidate.join(&args.membership, &access, &endpoint, &bound, &[]))
        .transpose()?;
    let watch = Watch::new(access, policy, handle, notes);
    let watch = watch.recording(trail.clone()).on_hangup();
    tokio::select! {
        _ = signals.next() => {}
        failed = watch.run() => match failed? {},
        failed = follow(member.as_mut(), out, notes) => match failed? {},
    }
    if let Some(member) = member {
        member.leave(notes).await;
    }
    let drained = drain(args.drain_timeout, &endpoint, &mut signals, out, notes).await;
    if let Some(file) = file {
        file.close().await;
    }
    trail.finish();
    drained
}

/// Nothing that a registry is asked is longer than a transaction, and what it holds for those who read slowly is bounded by how much is queued for each.
fn config() -> Config {
    let limits = Limits::default();
    let longest = u32::try_from(wire::REQUEST_BYTES_MAX).unwrap_or(limits.max_message);
    Config {
        limits: Limits {
            max_message: longest.min(limits.max_message),
            send_queue_max: wire::MESSAGE_BYTES_AIM as u32,
            ..limits
        },
        ..Config::default()
    }
}

async fn listen(
    args: &RegistryServeArgs,
    endpoint: &Endpoint,
    access: &Access,
    out: &mut Out,
) -> Result<Vec<Locator>, CliError> {
    let document = access.keystore().document();
    let mut places = Vec::new();
    for locator in &args.listen {
        let bound = endpoint.listen(locator).await?;
        if out.is_json() {
            out.json(&json!({
                "event": "listening", "locator": bound.as_str(), "fingerprint": document.fingerprint().to_string(),
            }))?;
        } else {
            let paint = out.paint();
            out.line(format_args!("listening on {}", paint.bold(&bound)))?;
        }
        places.push(bound);
    }
    if !out.is_json() {
        out.line(format_args!(
            "identity {} {}",
            document.name(),
            document.fingerprint()
        ))?;
    }
    out.flush()?;
    Ok(places)
}

/// The registry's file in its directory.
const FILE_NAME: &str = "registry.redb";
