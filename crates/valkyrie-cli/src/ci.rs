//! `valkyrie ci …`: hands over to the CI layer, which has its own words, and takes its exit code.

use std::convert::Infallible;
use std::sync::Arc;

use valkyrie::security::audit::AuditEvent;
use valkyrie::security::trust::{FirstUse, UnknownPeer};
use valkyrie::{AccessPolicy, Expect, PolicyHandle};
use valkyrie_rustci::access::{self as roles, Access as CiAccess};
use valkyrie_rustci::command::{self, CiArgs, CiExit, IoOptions, MeetArgs, Meeting, Needs, ServerArgs};

use crate::access::{self, Access};
use crate::exit::{CliError, Exit};
use crate::net;
use crate::out::{ColorWhen, Notes};
use crate::rules::PolicyFile;
use crate::trail::Trail;
use crate::watch::Watch;

/// Runs the command.
pub(crate) fn run(args: &CiArgs, color: ColorWhen, json: bool, notes: Notes) -> Result<(), CliError> {
    let colour = match color {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some(true),
        ColorWhen::Never => Some(false),
    };
    let (meeting, watch, trail) = match args.needs() {
        // It meets nobody but its own processes.
        Needs::Nothing => (Meeting::new(CiAccess::plain()), None, None),
        Needs::Dials(args) => dials(args, notes)?,
        Needs::Serves(args) => serves(args, notes)?,
    };
    let ended = net::block_on(net::cores(), async {
        let watching = async {
            match watch {
                Some(watch) => watch.run().await,
                None => std::future::pending::<Result<Infallible, CliError>>().await,
            }
        };
        tokio::select! {
            ended = command::run(args, &meeting, IoOptions { json, colour }) => Ok(ended),
            failed = watching => match failed {
                Ok(never) => match never {},
                Err(error) => Err(error),
            },
        }
    })?;
    if let Some(trail) = trail {
        trail.finish();
    }
    // Whatever there was to say has been said.
    match ended {
        CiExit::Succeeded => Ok(()),
        CiExit::Failed => Err(CliError::silent(Exit::Failed)),
        CiExit::Usage => Err(CliError::silent(Exit::Usage)),
        CiExit::Unreachable => Err(CliError::silent(Exit::Unreachable)),
        CiExit::Distrust => Err(CliError::silent(Exit::Distrust)),
        CiExit::Interrupted => Err(CliError::silent(Exit::Interrupted)),
        CiExit::BrokenPipe => Err(CliError::silent(Exit::BrokenPipe)),
        CiExit::Terminated => Err(CliError::silent(Exit::Terminated)),
        _ => Err(CliError::silent(Exit::Local)),
    }
}

/// How the command meets others, the files to look at while it runs, and its audit log.
type Prepared = (Meeting, Option<Watch>, Option<Trail>);

fn dials(args: &MeetArgs, notes: Notes) -> Result<Prepared, CliError> {
    if args.plain {
        return Ok((Meeting::new(CiAccess::plain()), None, None));
    }
    let access = Access::open(&args.identity, access::first_use(notes), notes)?;
    let expect = args.trust.map_or(Expect::Anybody, Expect::Fingerprint);
    let dialling = CiAccess::secure(access.dialling(args)?)
        .with_on_first_use(access.on_first_use())
        .with_plain(args.plain_rule());
    let mut meeting = Meeting::new(dialling.expecting(expect));
    let asking = access.clone();
    meeting.decide = Arc::new(move |unknown: UnknownPeer| {
        let asking = asking.clone();
        Box::pin(async move {
            match asking.decide(unknown).await {
                Ok(()) => true,
                Err(error) => {
                    notes.error(&error);
                    false
                }
            }
        })
    });
    let nothing = PolicyHandle::new(AccessPolicy::default());
    Ok((meeting, Some(Watch::new(access, None, nothing, notes)), None))
}

fn serves(args: &ServerArgs, notes: Notes) -> Result<Prepared, CliError> {
    // Whoever runs commands here has to be known; nobody becomes that by coming first.
    let access = Access::open(&args.identity, FirstUse::Never, notes)?;
    let file = args.policy.as_deref().map(PolicyFile::open).transpose()?;
    let own = access.keystore().document().fingerprint();
    let policy = match (&file, args.plain) {
        (Some(file), _) => file.rules(),
        (None, true) => AccessPolicy::allow_all(),
        (None, false) => roles::policy_by_roles(Some(own))
            .map_err(|error| CliError::new(Exit::Local, error.to_string()))?,
    };
    let rule = command::plain_rule(args.plain, args.peer_credentials);
    let trail = Trail::begin(access.keystore(), args.audit, notes)?;
    let recording = trail.clone();
    let secure = CiAccess::secure(access.security())
        .with_on_first_use(access.on_first_use())
        .with_plain(rule)
        .with_audit(move |event: &AuditEvent<'_>| recording.record(event));
    let mut meeting = Meeting::new(secure);
    meeting.policy = PolicyHandle::new(policy);
    let watch = Watch::new(access, file, meeting.policy.clone(), notes).recording(trail.clone());
    Ok((meeting, Some(watch), Some(trail)))
}
