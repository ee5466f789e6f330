//! `valkyrie completions`: a script that teaches a shell the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::CliError;
use crate::out::Out;

/// Prints a completion script for a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  valkyrie completions bash > ~/.local/share/bash-completion/completions/valkyrie
  valkyrie completions zsh > ~/.zfunc/_valkyrie
  valkyrie completions fish > ~/.config/fish/completions/valkyrie.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionsArgs, out: &mut Out) -> Result<(), CliError> {
    // The generator panics when its writer fails, and a broken pipe is no reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "valkyrie", &mut script);
    out.raw(&script)
}
