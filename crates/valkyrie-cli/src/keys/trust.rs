//! `valkyrie keys trust`, `forget` and `revoke`: whom this node believes.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use valkyrie::security::identity::{Fingerprint, IdentityDocument, Kind};
use valkyrie::security::provider::PublicKey;
use valkyrie::security::trust::{Pin, Revocation, RevocationList};
use valkyrie_keystore::{Home, KeyFiles, Keystore, NewIdentity};
use valkyrie_rustci::command::IdentityArgs;

use super::files::{read_bounded, read_document};
use crate::access::{directory, now, unlock};
use crate::exit::{CliError, Exit};
use crate::out::{Notes, Out};

/// Trusts a peer by its fingerprint, or an authority and all it signs; without an argument says who is trusted.
#[derive(Args, Debug)]
#[command(after_help = "\
Name and roles are what policies here know the peer by, whatever it says of itself.

Examples:
  valkyrie keys trust SHA256:7Xk… --name build-1 --role runner
  valkyrie keys trust build-1.doc --role runner
  valkyrie keys trust ca/identity.doc
  valkyrie keys trust")]
pub(crate) struct TrustArgs {
    /// A fingerprint, or a file with a node's or an authority's document, or with an authority's revocations.
    #[arg(value_name = "FINGERPRINT|FILE")]
    whom: Option<String>,

    /// Its name here.
    #[arg(long, value_name = "NAME", requires = "whom")]
    name: Option<String>,

    /// A role that it has here; may be given several times.
    #[arg(long = "role", value_name = "ROLE", requires = "whom")]
    roles: Vec<String>,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Trusts a peer no more: who was met at a place, or an identity wherever it was met or pinned.
#[derive(Args, Debug)]
#[command(after_help = "\
A peer that is forgotten may be met anew. One that must never be believed again is to be revoked.

Examples:
  valkyrie keys forget tcp://build-1:7000
  valkyrie keys forget SHA256:7Xk…")]
pub(crate) struct ForgetArgs {
    /// A locator or a fingerprint.
    #[arg(value_name = "LOCATOR|FINGERPRINT")]
    what: String,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Never believes an identity, a document or a static key again, whoever vouches for it.
#[derive(Args, Debug)]
#[command(after_help = "\
Programs that run hear of it within a second and end the connections of those who are revoked. With --list an
authority signs all of what it has revoked, for those who trust it: they take the list with `valkyrie keys trust FILE`.

Examples:
  valkyrie keys revoke SHA256:7Xk…
  valkyrie keys revoke --key 5c0f…
  valkyrie keys revoke SHA256:7Xk… --identity ca --list revoked.list")]
pub(crate) struct RevokeArgs {
    /// The identity.
    #[arg(value_name = "FINGERPRINT")]
    identity_revoked: Option<Fingerprint>,

    /// A static key, 64 hexadecimal digits.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    key: Option<PublicKey>,

    /// One document: its issuer's fingerprint and its serial.
    #[arg(long, value_name = "FINGERPRINT:SERIAL", value_parser = parse_document)]
    document: Option<(Fingerprint, u64)>,

    /// Write the authority's list of revocations, signed, to this file.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,

    #[command(flatten)]
    identity: IdentityArgs,
}

pub(crate) fn parse_key(text: &str) -> Result<PublicKey, String> {
    // The file of revocations has the one parser of keys.
    let list = RevocationList::parse(&format!("key {text}")).map_err(|error| error.fault.to_string())?;
    match list.iter().next() {
        Some(Revocation::StaticKey(key)) => Ok(*key),
        _ => Err("this is not a key".to_owned()),
    }
}

fn parse_document(text: &str) -> Result<(Fingerprint, u64), String> {
    let (issuer, serial) = text.rsplit_once(':').ok_or("write FINGERPRINT:SERIAL")?;
    let issuer = issuer.parse().map_err(|error| format!("{error}"))?;
    Ok((issuer, serial.parse().map_err(|_| "the serial is a number")?))
}

fn open(args: &IdentityArgs, notes: Notes) -> Result<Keystore, CliError> {
    let directory = directory(args)?;
    let plan = NewIdentity::of_this_machine();
    let (keystore, made) = Keystore::open_or_make(&directory, &plan, now(), &mut unlock(args))?;
    if made == valkyrie_keystore::Made::New {
        notes.remark(format_args!("made an identity in {}", directory.display()));
    }
    Ok(keystore)
}

pub(super) fn trust(args: &TrustArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let keystore = open(&args.identity, notes)?;
    let Some(whom) = &args.whom else {
        return list(&keystore, out);
    };
    let pinned = |fingerprint, name: Option<&str>| Pin {
        name: args.name.clone().or_else(|| name.map(str::to_owned)),
        roles: args.roles.clone(),
        ..Pin::new(fingerprint)
    };
    let told = if let Ok(fingerprint) = whom.parse::<Fingerprint>() {
        keystore.pin(pinned(fingerprint, None))?;
        format!("{fingerprint} is trusted")
    } else {
        let file = Path::new(whom);
        match read_list(file)? {
            Some(list) => {
                keystore.take_revocations(&list)?;
                format!("{} revocations are taken", list.iter().count())
            }
            None => {
                let document = read_document(file)?;
                trust_document(&keystore, &document, args, pinned)?
            }
        }
    };
    match out.is_json() {
        true => out.json(&json!({"trusted": whom})),
        false => out.line(told),
    }
}

fn trust_document(
    keystore: &Keystore,
    document: &IdentityDocument,
    args: &TrustArgs,
    pinned: impl FnOnce(Fingerprint, Option<&str>) -> Pin,
) -> Result<String, CliError> {
    let fingerprint = document.fingerprint();
    if document.kind() == Kind::Node {
        keystore.pin(pinned(fingerprint, Some(document.name())))?;
        return Ok(format!("{} ({fingerprint}) is trusted", document.name()));
    }
    if args.name.is_some() || !args.roles.is_empty() {
        let message = "an authority has no name or roles here: it gives them to those it signs for";
        return Err(CliError::new(Exit::Usage, message));
    }
    keystore.trust_authority(document)?;
    Ok(format!(
        "whom the authority {} ({fingerprint}) signs for is trusted",
        document.name()
    ))
}

/// The list of revocations in a file; `None` when it is something else.
fn read_list(file: &Path) -> Result<Option<RevocationList>, CliError> {
    let failed = |error| {
        CliError::new(Exit::Local, format!("{} cannot be read: {error}", file.display()))
            .hint("give a fingerprint, `SHA256:` and 43 letters, or a file")
    };
    let bytes = read_bounded(file, LIST_BYTES_MAX).map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("valkyrie revocations") => {
            let list = RevocationList::parse(text);
            let wrong = |error| CliError::new(Exit::Usage, format!("{}: {error}", file.display()));
            list.map(Some).map_err(wrong)
        }
        _ => Ok(None),
    }
}

fn list(keystore: &Keystore, out: &mut Out) -> Result<(), CliError> {
    let trust = keystore.trust().load();
    if out.is_json() {
        let pins: Vec<_> = trust
            .pins()
            .iter()
            .map(|pin| {
                json!({
                    "fingerprint": pin.fingerprint.to_string(), "name": pin.name, "roles": pin.roles,
                })
            })
            .collect();
        let authorities: Vec<_> = trust
            .authorities()
            .map(|authority| {
                json!({
                    "fingerprint": authority.fingerprint().to_string(), "name": authority.name(),
                    "not_after": authority.not_after().to_string(),
                })
            })
            .collect();
        let known: Vec<_> = trust
            .known_peers()
            .iter()
            .map(|peer| {
                json!({
                    "place": peer.place(), "fingerprint": peer.fingerprint().to_string(), "name": peer.name(),
                    "since": peer.first_seen().to_string(),
                })
            })
            .collect();
        let revoked: Vec<_> = trust.revoked_here().iter().map(ToString::to_string).collect();
        return out.json(
            &json!({"pins": pins, "authorities": authorities, "known_peers": known, "revoked": revoked}),
        );
    }
    let own = keystore.document().fingerprint();
    let paint = out.paint();
    for pin in trust.pins().iter() {
        let name = pin.name.as_deref().unwrap_or("no name");
        let roles = match pin.roles.as_slice() {
            [] => String::new(),
            roles => format!(" · {}", roles.join(", ")),
        };
        let whom = if pin.fingerprint == own {
            "itself"
        } else {
            "pinned"
        };
        out.line(format_args!(
            "{} {} {}{roles}",
            paint.dim(format_args!("{whom:<9}")),
            pin.fingerprint,
            paint.bold(name)
        ))?;
    }
    for authority in trust.authorities() {
        out.line(format_args!(
            "{} {} {}",
            paint.dim("authority"),
            authority.fingerprint(),
            paint.bold(authority.name())
        ))?;
    }
    for peer in trust.known_peers().iter() {
        let place = match peer.place() {
            "*" => "it dialled".to_owned(),
            place => place.to_owned(),
        };
        out.line(format_args!(
            "{} {} {} · {place} · since {}",
            paint.dim("met      "),
            peer.fingerprint(),
            paint.bold(peer.name()),
            peer.first_seen()
        ))?;
    }
    for revocation in trust.revoked_here().iter() {
        out.line(format_args!("{} {revocation}", paint.error("revoked  ")))?;
    }
    out.flush()
}

pub(super) fn forget(args: &ForgetArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let keystore = open(&args.identity, notes)?;
    let forgotten = match args.what.parse::<Fingerprint>() {
        Ok(fingerprint) => keystore.forget(&fingerprint)?,
        Err(_) => keystore.forget_place(&args.what)?.is_some(),
    };
    if !forgotten {
        let message = format!("nobody is remembered by {}", args.what);
        let trust = keystore.trust().load();
        let revoked = args.what.parse().map(Revocation::Identity);
        let is_revoked = revoked.is_ok_and(|revoked| trust.revoked_here().iter().any(|one| *one == revoked));
        let hint = match is_revoked {
            true => format!(
                "it is revoked, which is for good: a line of {} says so",
                keystore.home().path_of("trust/revoked").display()
            ),
            false => "`valkyrie keys trust` lists whom this node knows".to_owned(),
        };
        return Err(CliError::new(Exit::Failed, message).hint(hint));
    }
    match out.is_json() {
        true => out.json(&json!({"forgotten": args.what})),
        false => out.line(format_args!("{} is forgotten", args.what)),
    }
}

pub(super) fn revoke(args: &RevokeArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let mut revocations = Vec::new();
    revocations.extend(args.identity_revoked.map(Revocation::Identity));
    revocations.extend(args.key.map(Revocation::StaticKey));
    revocations.extend(
        args.document
            .map(|(issuer, serial)| Revocation::Document { issuer, serial }),
    );
    if revocations.is_empty() && args.list.is_none() {
        return Err(CliError::new(Exit::Usage, "say what is to be revoked")
            .hint("a fingerprint, --key KEY or --document FINGERPRINT:SERIAL"));
    }
    let home = Home::make(directory(&args.identity)?)?;
    // An authority has no trust of its own to keep; its list is what others take.
    let list = valkyrie_keystore::revoke(&home, &revocations)?;
    for revocation in &revocations {
        match out.is_json() {
            true => out.json(&json!({"revoked": revocation.to_string()}))?,
            false => out.line(format_args!("revoked: {revocation}"))?,
        }
    }
    if let (Some(revoked), Ok(own)) = (args.identity_revoked, KeyFiles::document(&home))
        && revoked == own.fingerprint()
    {
        notes.remark(
            "that is this node's own identity, and others do not hear of it from here: each of them has to revoke it, or its authority \
             with --list; `valkyrie keys new --replace` makes another",
        );
    }
    if let Some(file) = &args.list {
        let files = KeyFiles::open(&home, &mut unlock(&args.identity))?;
        let signed = files.ring().sign_revocations(&list, now())?.to_string();
        std::fs::write(file, signed).map_err(|error| {
            CliError::new(
                Exit::Local,
                format!("{} cannot be written: {error}", file.display()),
            )
        })?;
        notes.remark(format_args!(
            "{} revocations, signed, are in {}",
            list.iter().count(),
            file.display()
        ));
    }
    Ok(())
}

/// Lists are within the bound of the file that holds one's own.
const LIST_BYTES_MAX: usize = 16 << 20;
