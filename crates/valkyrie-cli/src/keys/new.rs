//! `valkyrie keys new`: an identity, or an authority that signs for others.

use std::time::Duration;

use clap::Args;
use valkyrie_keystore::{Cost, Home, KeyFiles, KeyRing, KeystoreError, NewIdentity, Passphrase};
use valkyrie_rustci::command::IdentityArgs;

use super::show;
use crate::access::{directory, now};
use crate::ask;
use crate::exit::{CliError, Exit};
use crate::out::{Notes, Out};
use crate::units::parse_validity;

/// Makes an identity with keys of its own: X25519 for handshakes, Ed25519 and ML-DSA-65 for signatures.
#[derive(Args, Debug)]
#[command(after_help = "\
Roles and labels that a node gives to itself count nowhere but on this machine; others believe an authority or
their own pins.

Examples:
  valkyrie keys new --name build-1
  valkyrie keys new --name build-1 --role runner --label site=attic --passphrase
  valkyrie keys new --authority --name home --identity ca --passphrase")]
pub(crate) struct NewArgs {
    /// Its name; this user on this machine unless given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// An authority: it signs for nodes, and is never at the end of a connection.
    #[arg(long, requires = "name")]
    authority: bool,

    /// A role; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,

    /// A label; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// How long its document is good, as in 90d; a year unless given, ten for an authority.
    #[arg(long, value_name = "TIME", value_parser = parse_validity)]
    valid: Option<Duration>,

    /// Encrypt the secret keys with a passphrase, which is asked for or read from --passphrase-file.
    #[arg(long)]
    passphrase: bool,

    /// Put it in place of one that is there. Whoever knows the old one will have to be told.
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    identity: IdentityArgs,
}

/// Reads `name=value`.
pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in site=attic")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(args: &NewArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let mut plan = match (&args.name, args.authority) {
        (Some(name), true) => NewIdentity::authority(name),
        (Some(name), false) => NewIdentity::node(name),
        (None, _) => NewIdentity::of_this_machine(),
    };
    plan.roles.clone_from(&args.roles);
    plan.labels.clone_from(&args.labels);
    plan.lifetime = args.valid.unwrap_or(plan.lifetime);
    let directory = directory(&args.identity)?;
    let home = Home::make(&directory)?;
    if !args.replace && KeyFiles::exist(&home) {
        return Err(KeystoreError::Exists(home.path_of("identity.key")).into());
    }
    let seal = match args.passphrase {
        true => Some((new_passphrase(&args.identity)?, Cost::default())),
        false => None,
    };
    let ring = KeyRing::generate(&plan, now())?;
    let files = match args.replace {
        true => KeyFiles::replace(&home, ring, seal)?,
        false => KeyFiles::create(&home, ring, seal)?,
    };
    notes.remark(format_args!("made in {}", directory.display()));
    show::ring(&files, out)
}

/// A passphrase that does not exist yet: out of the named file, or typed twice.
pub(super) fn new_passphrase(args: &IdentityArgs) -> Result<Passphrase, CliError> {
    if let Some(file) = &args.passphrase_file {
        return Ok(Passphrase::from_file(file)?);
    }
    let nobody = || {
        CliError::new(Exit::Usage, "there is no terminal to ask for a passphrase")
            .hint("name a file that only you can read with --passphrase-file")
    };
    let mut terminal = ask::terminal().ok_or_else(nobody)?;
    let mut typed = |question: &str| {
        ask::hidden(&mut terminal, question).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => CliError::silent(Exit::Interrupted),
            _ => CliError::new(Exit::Local, format!("the terminal cannot be read: {error}")),
        })
    };
    let (first, second) = (typed("new passphrase: ")?, typed("once more: ")?);
    if *first != *second {
        return Err(CliError::new(
            Exit::Usage,
            "the two passphrases differ; nothing was changed",
        ));
    }
    Ok(Passphrase::new(first)?)
}
