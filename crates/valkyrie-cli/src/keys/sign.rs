//! `valkyrie keys sign`: an authority's word for a node.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use valkyrie_keystore::{Home, KeyFiles, Terms};
use valkyrie_rustci::command::IdentityArgs;

use super::files::{read_document, write_document};
use super::new::parse_label;
use crate::access::{directory, now, unlock};
use crate::exit::CliError;
use crate::out::{Notes, Out};
use crate::units::parse_validity;

/// Signs a node's request as its authority.
#[derive(Args, Debug)]
#[command(after_help = "\
Compare the fingerprint that is printed with the node's before you hand the document over. Roles and labels that a
request asks for are not looked at: the node has those that are given here.

Example:
  valkyrie keys sign build-1.req --role runner --valid 90d --output build-1.doc --identity ca")]
pub(crate) struct SignArgs {
    /// What the node wrote with `valkyrie keys export --request`.
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// The name that the node has from now on; what it calls itself unless given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// A role; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,

    /// A label; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// How long the document is good.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = parse_validity)]
    valid: Duration,

    /// The file to write; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    identity: IdentityArgs,
}

pub(super) fn run(args: &SignArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    let request = read_document(&args.request)?;
    let home = Home::open(directory(&args.identity)?)?;
    let files = KeyFiles::open(&home, &mut unlock(&args.identity))?;
    let terms = Terms {
        name: args.name.clone(),
        roles: args.roles.clone(),
        labels: args.labels.clone(),
        lifetime: args.valid,
    };
    let signed = files.ring().sign(&request, &terms, now())?;
    let document = signed
        .document()
        .map_err(valkyrie_keystore::KeystoreError::from)?;
    notes.remark(format_args!(
        "{} ({}), {}, until {}",
        document.name(),
        document.fingerprint(),
        match document.roles() {
            [] => "no roles".to_owned(),
            roles => roles.join(", "),
        },
        document.not_after()
    ));
    write_document(args.output.as_deref(), signed.as_bytes(), out, notes)
}
