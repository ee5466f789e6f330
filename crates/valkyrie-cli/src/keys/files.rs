//! Documents in and out of files, and keys that are replaced or encrypted.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use valkyrie::security::identity::{DOCUMENT_BYTES_MAX, IdentityDocument};
use valkyrie_keystore::{Cost, Home, KeyFiles, Rotated};
use valkyrie_rustci::command::IdentityArgs;

use super::new::new_passphrase;
use crate::access::{directory, now, unlock};
use crate::exit::{CliError, Exit};
use crate::out::{Notes, Out};
use crate::units::parse_lifetime;

/// Writes the document of this node, which says who it is and holds no secret.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie keys export --output build-1.doc
  valkyrie keys export --request --output build-1.req")]
pub(crate) struct ExportArgs {
    /// A request for an authority to sign instead of the document in use.
    #[arg(long)]
    request: bool,

    /// The file to write; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Takes a document that an authority has signed for this node.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  valkyrie keys import build-1.doc")]
pub(crate) struct ImportArgs {
    /// The document.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How long a static key is still accepted that the document replaces.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_lifetime)]
    overlap: Duration,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Makes a new static key. The fingerprint stays, so nobody has to be told.
#[derive(Args, Debug)]
#[command(after_help = "\
Programs that run take the new key within a second, and connections live on. Where an authority signs, the key
waits for a document that names it: export a request, have it signed, and import the document.

Example:
  valkyrie keys rotate --overlap 7d")]
pub(crate) struct RotateArgs {
    /// How long the old key is still accepted.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_lifetime)]
    overlap: Duration,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Encrypts the secret keys with a passphrase, or with another one, or no more.
#[derive(Args, Debug)]
#[command(after_help = "\
Programs that run go on with the keys that they have. What changes later they can only read when they are started again
with the new passphrase.

Examples:
  valkyrie keys passphrase
  valkyrie keys passphrase --remove")]
pub(crate) struct PassphraseArgs {
    /// Keep the secret keys unencrypted from now on.
    #[arg(long)]
    remove: bool,

    /// A file with the new passphrase, readable by its owner alone; it is asked for unless given.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    new_passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    identity: IdentityArgs,
}

fn open(args: &IdentityArgs) -> Result<KeyFiles, CliError> {
    let home = Home::open(directory(args)?)?;
    Ok(KeyFiles::open(&home, &mut unlock(args))?)
}

pub(super) fn export(args: &ExportArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let files = open(&args.identity)?;
    let bytes = match args.request {
        true => files.ring().request(now())?.as_bytes().clone(),
        false => files.ring().document().encode().clone(),
    };
    write_document(args.output.as_deref(), &bytes, out, notes)
}

pub(super) fn import(args: &ImportArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let document = read_document(&args.file)?;
    let mut files = open(&args.identity)?;
    files.change(|ring| ring.adopt(document, now(), args.overlap))?;
    notes.remark("taken; programs that run use it within a second");
    super::show::ring(&files, out)
}

pub(super) fn rotate(args: &RotateArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let mut files = open(&args.identity)?;
    let rotated = files.change(|ring| ring.rotate(now(), args.overlap))?;
    let (key, until) = match rotated {
        Rotated::Now { key, old_until } => (key, Some(old_until)),
        Rotated::Waits { key } => (key, None),
        _ => {
            return Err(CliError::new(
                Exit::Local,
                "the keys were replaced in a way that this program does not know",
            ));
        }
    };
    if out.is_json() {
        let until = until.map(|until| until.to_string());
        return out.json(
            &json!({"static_key": key.to_string(), "in_use": until.is_some(), "old_accepted_until": until}),
        );
    }
    out.line(format_args!("static key {key}"))?;
    match until {
        Some(until) => notes.remark(format_args!("the old one is accepted until {until}")),
        None => notes.remark(
            "it waits for its document: `valkyrie keys export --request`, have it signed, `valkyrie keys import`",
        ),
    }
    Ok(())
}

pub(super) fn passphrase(args: &PassphraseArgs, notes: Notes) -> Result<(), CliError> {
    let mut files = open(&args.identity)?;
    if args.remove {
        files.seal(None)?;
        notes.remark("the secret keys are no longer encrypted");
        return Ok(());
    }
    let chosen = IdentityArgs {
        passphrase_file: args.new_passphrase_file.clone(),
        ..args.identity.clone()
    };
    files.seal(Some((new_passphrase(&chosen)?, Cost::default())))?;
    notes.remark("the secret keys are encrypted with the new passphrase");
    Ok(())
}

/// Reads a document from a file.
pub(super) fn read_document(file: &Path) -> Result<IdentityDocument, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Local, format!("{} cannot be read: {error}", file.display()))
    };
    let bytes = read_bounded(file, DOCUMENT_BYTES_MAX).map_err(|error| failed(&error))?;
    IdentityDocument::parse(&bytes).map_err(|error| {
        let message = format!("{} holds no identity document: {error}", file.display());
        CliError::new(Exit::Usage, message)
            .hint("documents are written by `valkyrie keys export` and `valkyrie keys sign`")
    })
}

/// Reads no more than one byte past the bound, so that what is too long fails where it is parsed.
pub(super) fn read_bounded(file: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a document to a file, or to standard output unless that is a terminal.
pub(super) fn write_document(
    file: Option<&Path>,
    bytes: &[u8],
    out: &mut Out,
    notes: Notes,
) -> Result<(), CliError> {
    let Some(file) = file else {
        if std::io::stdout().is_terminal() {
            return Err(
                CliError::new(Exit::Usage, "a document is bytes that no terminal shows")
                    .hint("name a file with --output"),
            );
        }
        out.raw(bytes)?;
        return out.flush();
    };
    let failed = |error| {
        CliError::new(
            Exit::Local,
            format!("{} cannot be written: {error}", file.display()),
        )
    };
    let mut opened = std::fs::File::create(file).map_err(failed)?;
    opened.write_all(bytes).map_err(failed)?;
    notes.remark(format_args!("written to {}", file.display()));
    Ok(())
}
