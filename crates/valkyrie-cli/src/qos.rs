//! `valkyrie qos`: is this file a policy of the quality of service.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use valkyrie::QosPolicy;

use crate::exit::CliError;
use crate::out::Out;
use crate::rules;

/// Checks policies of the quality of service.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie qos check qos.toml
  valkyrie serve --listen tcp://[::]:7000 --qos qos.toml")]
pub(crate) struct QosArgs {
    #[command(subcommand)]
    command: QosCommand,
}

#[derive(Subcommand, Debug)]
enum QosCommand {
    Check(CheckArgs),
}

/// Says every mistake of a file with its place, or that there is none.
#[derive(Args, Debug)]
struct CheckArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &QosArgs, out: &mut Out) -> Result<(), CliError> {
    match &args.command {
        QosCommand::Check(args) => rules::check::<QosPolicy>(&args.file, out),
    }
}
