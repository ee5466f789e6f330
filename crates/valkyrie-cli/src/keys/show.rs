//! `valkyrie keys show`: an identity as people and scripts see it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use valkyrie::security::UnixTime;
use valkyrie::security::identity::{IdentityDocument, Kind};
use valkyrie_keystore::{Home, KeyFiles};
use valkyrie_rustci::command::IdentityArgs;

use super::files::read_document;
use crate::access::{directory, now, unlock};
use crate::exit::CliError;
use crate::out::Out;
use crate::picture;

/// Shows an identity: this node's, or the one in a document.
#[derive(Args, Debug)]
#[command(after_help = "\
Read the fingerprint to somebody, or let them compare the picture: it is what others see when they meet this node.

Examples:
  valkyrie keys show
  valkyrie keys show node.doc
  valkyrie keys show --json | jq -r .fingerprint")]
pub(crate) struct ShowArgs {
    /// A document; this node's identity unless given.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print the fingerprint and nothing else.
    #[arg(long)]
    fingerprint: bool,

    #[command(flatten)]
    identity: IdentityArgs,
}

pub(super) fn run(args: &ShowArgs, out: &mut Out) -> Result<(), CliError> {
    if let Some(file) = &args.file {
        let document = read_document(file)?;
        return match args.fingerprint {
            true => out.line(document.fingerprint()),
            false => show(&document, Extra::default(), out),
        };
    }
    let home = Home::open(directory(&args.identity)?)?;
    if args.fingerprint {
        // The document is enough, and no passphrase is needed for it.
        return out.line(KeyFiles::document(&home)?.fingerprint());
    }
    ring(&KeyFiles::open(&home, &mut unlock(&args.identity))?, out)
}

/// What a document does not say.
#[derive(Default)]
struct Extra<'a> {
    directory: Option<&'a Path>,
    encrypted: Option<bool>,
    /// Static keys that are accepted for a while yet.
    replaced: Vec<(String, UnixTime)>,
    waiting: Option<String>,
}

/// Shows keys with what only their holder knows of them.
pub(super) fn ring(files: &KeyFiles, out: &mut Out) -> Result<(), CliError> {
    let ring = files.ring();
    let replaced = ring
        .static_keys()
        .filter_map(|(key, until)| Some((key.to_string(), until?)));
    let extra = Extra {
        directory: Some(files.home().path()),
        encrypted: Some(files.is_sealed()),
        replaced: replaced.collect(),
        waiting: ring.waiting().map(|key| key.to_string()),
    };
    show(ring.document(), extra, out)
}

fn show(document: &IdentityDocument, extra: Extra<'_>, out: &mut Out) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(&as_json(document, &extra));
    }
    let paint = out.paint();
    let mut rows = vec![
        ("name", document.name().to_owned()),
        ("fingerprint", document.fingerprint().to_string()),
        ("kind", kind(document).to_owned()),
    ];
    if !document.roles().is_empty() {
        rows.push(("roles", document.roles().join(", ")));
    }
    if !document.labels().is_empty() {
        let labels: Vec<_> = document
            .labels()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        rows.push(("labels", labels.join(", ")));
    }
    rows.push((
        "signed by",
        match document.is_self_signed() {
            true => "itself".to_owned(),
            false => document.issuer().to_string(),
        },
    ));
    rows.push(("valid", validity(document)));
    rows.push(("serial", document.serial().to_string()));
    let algorithms: Vec<_> = document
        .signing_keys()
        .iter()
        .map(|(algorithm, _)| algorithm.to_string())
        .collect();
    rows.push(("signs with", algorithms.join(" and ")));
    for key in document.static_keys() {
        let key = key.to_string();
        let until = extra.replaced.iter().find(|(replaced, _)| *replaced == key);
        let until = until
            .map(|(_, until)| format!("  accepted until {until}"))
            .unwrap_or_default();
        rows.push(("static key", format!("{key}{until}")));
    }
    if let Some(waiting) = &extra.waiting {
        rows.push((
            "static key",
            format!("{waiting}  waits for its authority to sign"),
        ));
    }
    if let Some(directory) = extra.directory {
        rows.push(("kept in", directory.display().to_string()));
    }
    if let Some(encrypted) = extra.encrypted {
        rows.push((
            "secret keys",
            if encrypted { "encrypted" } else { "not encrypted" }.to_owned(),
        ));
    }
    for (label, value) in rows {
        out.line(format_args!("{} {value}", paint.dim(format_args!("{label:<12}"))))?;
    }
    for line in picture::of(document.fingerprint().as_bytes()) {
        out.line(line)?;
    }
    out.flush()
}

fn kind(document: &IdentityDocument) -> &'static str {
    match document.kind() {
        Kind::Node => "node",
        Kind::Authority => "authority",
    }
}

fn validity(document: &IdentityDocument) -> String {
    let (from, until, now) = (document.not_before(), document.not_after(), now());
    let remark = if now < from {
        "not good yet".to_owned()
    } else if now >= until {
        "EXPIRED".to_owned()
    } else {
        format!("{} days left", (until.since(now).as_secs() + 43_200) / 86_400)
    };
    format!("{from} to {until} ({remark})")
}

fn as_json(document: &IdentityDocument, extra: &Extra<'_>) -> Value {
    let labels: serde_json::Map<_, _> = document
        .labels()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let keys: Vec<_> = document.static_keys().iter().map(ToString::to_string).collect();
    let algorithms: Vec<_> = document
        .signing_keys()
        .iter()
        .map(|(algorithm, _)| algorithm.to_string())
        .collect();
    let until = |key: &String| {
        extra
            .replaced
            .iter()
            .find(|(replaced, _)| replaced == key)
            .map(|(_, at)| at.to_string())
    };
    let keys: Vec<_> = keys
        .iter()
        .map(|key| json!({"key": key, "accepted_until": until(key)}))
        .collect();
    json!({
        "name": document.name(),
        "fingerprint": document.fingerprint().to_string(),
        "kind": kind(document),
        "roles": document.roles(),
        "labels": labels,
        "self_signed": document.is_self_signed(),
        "issuer": document.issuer().to_string(),
        "serial": document.serial(),
        "not_before": document.not_before().to_string(),
        "not_after": document.not_after().to_string(),
        "signs_with": algorithms,
        "static_keys": keys,
        "waiting_static_key": extra.waiting,
        "directory": extra.directory,
        "encrypted": extra.encrypted,
    })
}
