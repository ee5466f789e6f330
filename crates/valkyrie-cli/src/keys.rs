//! `valkyrie keys`: who this node is, and whom it trusts.

mod files;
mod new;
mod show;
mod sign;
mod trust;

use clap::{Args, Subcommand};

use self::files::{ExportArgs, ImportArgs, PassphraseArgs, RotateArgs};
use self::new::NewArgs;
use self::show::ShowArgs;
use self::sign::SignArgs;
pub(crate) use self::trust::parse_key;
use self::trust::{ForgetArgs, RevokeArgs, TrustArgs};
use crate::exit::CliError;
use crate::out::{Notes, Out};

/// Makes and shows identities, and says whom to trust.
#[derive(Args, Debug)]
#[command(after_help = "\
An identity is made by itself the first time that a command needs one. Its directory is $VALKYRIE_HOME, else
valkyrie in $XDG_CONFIG_HOME, else ~/.config/valkyrie; --identity DIR names another.

Examples:
  valkyrie keys show
  valkyrie keys trust SHA256:7Xk… --name build-1 --role runner
  valkyrie keys rotate --overlap 7d

An authority of one's own, kept on a machine without a network:
  valkyrie keys new --authority --name home --identity ca
  valkyrie keys export --request --output node.req          # on the node
  valkyrie keys sign node.req --role runner --valid 90d --output node.doc --identity ca
  valkyrie keys import node.doc                             # on the node
  valkyrie keys trust ca/identity.doc                       # on the others")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    New(NewArgs),
    Show(ShowArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Sign(SignArgs),
    Rotate(RotateArgs),
    Passphrase(PassphraseArgs),
    Trust(TrustArgs),
    Forget(ForgetArgs),
    Revoke(RevokeArgs),
}

/// Runs the command.
pub(crate) fn run(args: &KeysArgs, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    match &args.command {
        KeysCommand::New(args) => new::run(args, out, notes),
        KeysCommand::Show(args) => show::run(args, out),
        KeysCommand::Export(args) => files::export(args, out, notes),
        KeysCommand::Import(args) => files::import(args, out, notes),
        KeysCommand::Sign(args) => sign::run(args, out, notes),
        KeysCommand::Rotate(args) => files::rotate(args, out, notes),
        KeysCommand::Passphrase(args) => files::passphrase(args, notes),
        KeysCommand::Trust(args) => trust::trust(args, out, notes),
        KeysCommand::Forget(args) => trust::forget(args, out, notes),
        KeysCommand::Revoke(args) => trust::revoke(args, out, notes),
    }
}
