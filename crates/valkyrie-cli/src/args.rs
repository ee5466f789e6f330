//! What a person can type.

use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::audit::AuditArgs;
use crate::bench::BenchArgs;
use crate::call::CallArgs;
use crate::completions::CompletionsArgs;
use crate::decode::DecodeArgs;
use crate::exit::EXIT_CODES_HELP;
use crate::help;
use crate::keys::KeysArgs;
use crate::links::LinksArgs;
use crate::out::ColorWhen;
use crate::ping::PingArgs;
use crate::policy::PolicyArgs;
use crate::qos::QosArgs;
use crate::registry::RegistryArgs;
use crate::serve::ServeArgs;
use crate::token::TokenArgs;
use valkyrie_rustci::command::CiArgs;

/// Serve, call, measure and look into Valkyrie.
///
/// Locators say where: tcp://host:port, quic://host:port, auto://host:port (QUIC where it gets through, else TCP),
/// ws://host:port/path, wss://host:port/path, uds:///absolute/path, and on Linux uds://@name.
#[derive(Parser, Debug)]
#[command(name = "valkyrie", version, long_version = LONG_VERSION, styles = STYLES, after_help = EXIT_CODES_HELP)]
pub(crate) struct Cli {
    /// Results as JSON on standard output, one value a line; errors as JSON on standard error.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// When to colour.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Output"
    )]
    pub(crate) color: ColorWhen,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The version, and what the licence of a library wants to be told with the program: docs/decisions/0027-swim-membership.md.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nIt contains foca, unchanged, under the Mozilla Public License 2.0; its source is at https://crates.io/crates/foca"
);

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Serve(ServeArgs),
    Ping(PingArgs),
    Call(CallArgs),
    Links(LinksArgs),
    Bench(BenchArgs),
    Decode(DecodeArgs),
    Keys(KeysArgs),
    Policy(PolicyArgs),
    Qos(QosArgs),
    Token(TokenArgs),
    Audit(AuditArgs),
    Registry(RegistryArgs),
    Ci(CiArgs),
    Completions(CompletionsArgs),
}

impl Cli {
    /// Reads the command line. Where there is nothing to run, help or an error has been printed and the code is
    /// returned.
    pub(crate) fn parse_or_explain() -> Result<Self, ExitCode> {
        let command = help::flow(Self::command()).color(color_of_help());
        command
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| {
                // Who cannot read it cannot be told.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            })
    }
}

/// Help and usage errors are printed before the arguments are known, so `--color` is looked for by hand.
fn color_of_help() -> clap::ColorChoice {
    let args: Vec<_> = std::env::args_os().collect();
    let value = args
        .iter()
        .enumerate()
        .find_map(|(index, arg)| match arg.to_str()? {
            "--color" => args.get(index + 1)?.to_str(),
            arg => arg.strip_prefix("--color="),
        });
    match value {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());
