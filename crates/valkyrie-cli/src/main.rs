//! The command line `valkyrie`: serve, call, measure and look into Valkyrie.
//!
//! It holds no protocol of its own. Read [`args`] first: it is what a person can type.

mod access;
mod args;
mod ask;
mod audit;
mod bench;
mod call;
mod ci;
mod completions;
mod decode;
mod exit;
mod fault;
mod help;
mod keys;
mod links;
mod membership;
mod net;
mod out;
mod picture;
mod ping;
mod policy;
mod process;
mod qos;
mod registry;
mod rules;
mod serve;
mod signals;
mod spiffe;
mod tls;
mod token;
mod trail;
mod units;
mod watch;
mod who;

use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::exit::CliError;
use crate::out::{Notes, Out};

fn main() -> ExitCode {
    let cli = match Cli::parse_or_explain() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let notes = Notes::new(cli.color, cli.json);
    let mut out = Out::new(cli.color, cli.json);
    match run(&cli, &mut out, notes).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What was printed before the error is still wanted, unless output itself is what failed.
            let _ = out.flush();
            notes.error(&error);
            error.exit.into()
        }
    }
}

fn run(cli: &Cli, out: &mut Out, notes: Notes) -> Result<(), CliError> {
    match &cli.command {
        Command::Serve(args) => serve::run(args, out, notes),
        Command::Ping(args) => ping::run(args, out, notes),
        Command::Call(args) => call::run(args, out, notes),
        Command::Links(args) => links::run(args, out, notes),
        Command::Bench(args) => bench::run(args, out, notes),
        Command::Decode(args) => decode::run(args, out),
        Command::Keys(args) => keys::run(args, out, notes),
        Command::Policy(args) => policy::run(args, out),
        Command::Qos(args) => qos::run(args, out),
        Command::Token(args) => token::run(args, out, notes),
        Command::Audit(args) => audit::run(args, out),
        Command::Registry(args) => registry::run(args, out, notes),
        Command::Ci(args) => ci::run(args, cli.color, cli.json, notes),
        Command::Completions(args) => completions::run(args, out),
    }
}
