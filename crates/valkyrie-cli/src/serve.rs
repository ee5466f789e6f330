//! `valkyrie serve`: a peer to talk to, with the built-in services.

mod gateway;
mod services;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use valkyrie::security::audit::AuditEvent;
use valkyrie::security::trust::{FirstUse, KnownPeer};
use valkyrie::transport::tls::Roots;
use valkyrie::{AccessPolicy, Endpoint, Locator, PolicyHandle, Qos, UdsTransport};
use valkyrie_rustci::command::{AuditFileArgs, IdentityArgs, plain_rule};

use self::gateway::Gateways;
pub(crate) use self::services::ProcessReport;
use self::services::State;
use crate::access::Access;
use crate::exit::{CliError, Exit};
use crate::membership::{SwimArgs, follow, open_policy};
use crate::net;
use crate::out::{Notes, Out};
use crate::rules::{PolicyFile, QosFile};
use crate::signals::Signals;
use crate::spiffe::SpiffeArgs;
use crate::tls::{self, ShowArgs};
use crate::trail::Trail;
use crate::units::{Span, parse_duration};
use crate::watch::Watch;

/// Listens and serves the services echo, health and describe.
#[derive(Args, Debug)]
#[command(after_help = "\
Once a place is bound, `listening on LOCATOR` is printed, with the port that was chosen for port 0.
The first Ctrl-C or SIGTERM drains: nothing new begins, what is running ends, and the program ends with 0.
A second one ends it at once.

Without --policy any peer that proves an identity, known or not, may use echo, health and describe in the classes
job, data and bulk, and who shows this node's own identity may ask for its links. With one, peers from elsewhere have to be trusted (`valkyrie keys trust`), and may do what the policy
says. With --swim they may be members of the same fleet as well and read who is here, with a policy by the services `swim` and `registry`. Policy, quality of service, trust, revocations and the identity are read again when their files change, and on SIGHUP.

Examples:
  valkyrie serve --listen tcp://127.0.0.1:7000
  valkyrie serve --listen quic://[::]:7000 --listen tcp://[::]:7000 --listen ws://[::]:7001/
  valkyrie serve --listen tcp://[::]:7000 --policy policy.toml --qos qos.toml
  valkyrie serve --listen tcp://127.0.0.1:7000 --gateway http://127.0.0.1:8080
  valkyrie serve --listen tcp://10.0.0.2:7000 --swim --join tcp://10.0.0.1:7000
  valkyrie serve --listen wss://[::]:7001/ --gateway https://[::]:8443 --tls-cert chain.pem --tls-key key.pem \
    --web-origin https://app.example.org
  valkyrie serve --listen tcp://[::]:7000 --listen uds:///run/valkyrie.sock --uds-mode 660")]
pub(crate) struct ServeArgs {
    /// Where to listen; may be given several times. Port 0 takes any free port.
    #[arg(short, long = "listen", value_name = "LOCATOR", required = true, value_parser = net::parse_locator)]
    listen: Vec<Locator>,

    /// Where plain HTTP clients may call the services, as http://host:port or https://host:port; may be given several
    /// times. To a policy, a client without a token is the peer `role:gateway`.
    #[arg(long, value_name = "LOCATOR", value_parser = net::parse_locator)]
    gateway: Vec<Locator>,

    /// Web pages of which origins may dial ws:// and wss:// and call through the gateway, as https://app.example.org, or *;
    /// may be given several times. Without it pages may dial and call the host that they came from.
    #[arg(long, value_name = "ORIGIN", value_parser = tls::parse_origin)]
    web_origin: Vec<String>,

    #[command(flatten)]
    show: ShowArgs,

    #[command(flatten)]
    membership: SwimArgs,

    /// How long the connections may take to end once the program is asked to.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// Connections at once; further ones are closed unheard.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_connections: usize,

    /// Permissions of the files of Unix sockets, in octal, whatever the umask.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    uds_mode: Option<u32>,

    /// How long a connection is kept whose link has broken, for peers that ask for it; 0s for not at all.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    resume_for: Duration,

    /// Threads that serve; as many as there are cores unless told otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// What peers may do; `valkyrie policy check FILE` checks it first.
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    policy: Option<PathBuf>,

    /// How what is sent is divided and how much is taken on at once; `valkyrie qos check FILE` checks it first. Read again
    /// when it changes, as the policy is.
    #[arg(long, value_name = "FILE", help_heading = "Quality of service")]
    qos: Option<PathBuf>,

    /// Take plain connections as well, neither encrypted nor authenticated, from those that ask for one.
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

/// What anybody may call where no policy says otherwise, and what a member says that it offers.
const OFFERED: [&str; 3] = ["echo", "health", "describe"];

pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("write three octal digits, as in 660".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    args.membership.check(&args.listen)?;
    let threads = args.threads.map_or_else(net::cores, usize::from);
    let policy = args.policy.as_deref().map(PolicyFile::open).transpose()?;
    let qos = args.qos.as_deref().map(QosFile::open).transpose()?;
    // Strangers may try the connection out; where there is more to be had, somebody has to vouch for them.
    let rule = if policy.is_some() {
        FirstUse::Local
    } else {
        FirstUse::Anywhere
    };
    let access = Access::open(&args.identity, rule, notes)?;
    net::block_on(threads, serve(args, access, (policy, qos), out, notes))
}

async fn serve(
    args: &ServeArgs,
    access: Access,
    (policy, qos): (Option<PolicyFile>, Option<QosFile>),
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let mut signals = Signals::install()?;
    let access = access.joined(&args.spiffe).await?;
    let state = Arc::new(State {
        begun: Instant::now(),
        endpoint: OnceLock::new(),
    });
    let (services, candidate) = args.membership.serve(services::builder(&state));
    let services = services
        .build()
        .map_err(|error| CliError::new(Exit::Local, format!("the services cannot be served: {error}")))?;
    let handle = PolicyHandle::new(match (&policy, args.plain) {
        (Some(file), _) => file.rules(),
        (None, false) if args.membership.is_asked() => {
            open_policy(access.keystore().document().fingerprint(), &OFFERED)?
        }
        (None, false) => AccessPolicy::diagnostics_of(access.keystore().document().fingerprint()),
        (None, true) => AccessPolicy::allow_all(),
    });
    let trail = Trail::begin(access.keystore(), args.audit, notes)?;
    let recording = trail.clone();
    let strangers = policy.is_none();
    let remember = access.on_first_use();
    let certificates = args.show.certificates(notes)?;
    let endpoint = tls::transports(valkyrie::endpoint(), &certificates, &Roots::Any, &args.web_origin)
        .transport(UdsTransport::new().with_mode(args.uds_mode))
        .services(services.clone())
        .connections_max(args.max_connections)
        .resume_for_peers(args.resume_for)
        .security(access.security())
        .policy(handle.clone())
        .qos(
            qos.as_ref()
                .map_or_else(Qos::default, |file| file.rules().qos().clone()),
        )
        .plain(plain_rule(args.plain, args.peer_credentials))
        .audit(move |event: &AuditEvent<'_>| recording.record(event))
        .on_first_use(move |peer: &KnownPeer| {
            // Where anybody is let in, a file of them would be of no use to anybody.
            if !strangers {
                remember(peer);
            }
        })
        .build()?;
    let _ = state.endpoint.set(endpoint.clone());
    let mut places = Vec::new();
    for locator in &args.listen {
        let bound = endpoint.listen(locator).await?;
        if out.is_json() {
            out.json(&json!({"event": "listening", "locator": bound.as_str()}))?;
        } else {
            let paint = out.paint();
            out.line(format_args!("listening on {}", paint.bold(&bound)))?;
            out.flush()?;
        }
        places.push(bound);
    }
    let gateways = Gateways::begin(args, services, handle.clone(), &certificates, &trail, out).await?;
    let mut member = candidate
        .map(|candidate| candidate.join(&args.membership, &access, &endpoint, &places, &OFFERED))
        .transpose()?;
    let watch = Watch::new(access, policy, handle, notes);
    let watch = watch.dividing(qos, endpoint.clone());
    let watch = watch.recording(trail.clone()).on_hangup();
    tokio::select! {
        _ = signals.next() => {}
        failed = watch.run() => match failed? {},
        failed = follow(member.as_mut(), out, notes) => match failed? {},
    }
    if let Some(member) = member {
        member.leave(notes).await;
    }
    let ending = tokio::spawn(gateways.end());
    let drained = drain(args.drain_timeout, &endpoint, &mut signals, out, notes).await;
    if drained.is_ok() {
        let _ = ending.await;
    }
    trail.finish();
    drained
}

/// Ends what an endpoint serves, gently until another signal comes.
pub(crate) async fn drain(
    within: Duration,
    endpoint: &Endpoint,
    signals: &mut Signals,
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let open = endpoint.connections().len();
    if out.is_json() {
        out.json(&json!({"event": "draining", "connections": open}))?;
    } else {
        notes.remark(format_args!(
            "draining {open} {} for at most {}; Ctrl-C again ends at once",
            plural(open, "connection"),
            Span(within),
        ));
    }
    let closed = tokio::select! {
        closed = endpoint.drain(within) => closed,
        caught = signals.next() => return Err(CliError::silent(caught.exit())),
    };
    if out.is_json() {
        return out.json(&json!({"event": "stopped", "closed": closed}));
    }
    if closed > 0 {
        notes.remark(format_args!(
            "{closed} {} had to be closed",
            plural(closed, "connection")
        ));
    }
    Ok(())
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
