//! `cargo xtask`: every check of this repository, each runnable alone, `ci` for all of them.
//!
//! It is not a build tool: plain `cargo build`, `cargo test` and `cargo run` need nothing from here.
//! Read [`steps::all`] first, the list of checks in the order in which `ci` runs them.

// This is a command for a terminal, so its output is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod ci;
mod context;
mod counts;
mod failure;
mod floors;
mod metadata;
mod shell;
mod slug;
mod steps;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

use context::Context;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let context = match Context::load() {
        Ok(context) => context,
        Err(failure) => {
            eprintln!("error: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let Some((name, arguments)) = matches.subcommand() else {
        return ExitCode::FAILURE;
    };
    match name {
        "ci" => {
            let skip: Vec<&str> = arguments
                .get_many::<String>("skip")
                .unwrap_or_default()
                .map(String::as_str)
                .collect();
            let steps: Vec<_> = steps::all()
                .iter()
                .filter(|step| !skip.contains(&step.name))
                .collect();
            ci::run(&context, &steps, arguments.get_flag("fail-fast"))
        }
        "peers" | "loss" | "shares" | "flow" | "flood" => {
            let rest: Vec<String> = arguments
                .get_many::<String>("arguments")
                .unwrap_or_default()
                .cloned()
                .collect();
            let measured = match name {
                "peers" => steps::peers::run(&context, &rest),
                "shares" => steps::peers::shares(&context, &rest),
                "flood" => steps::loss::flood(&context, &rest),
                _ => steps::loss::run(&context, name, &rest),
            };
            match measured {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    eprintln!("error: {failure}");
                    ExitCode::FAILURE
                }
            }
        }
        "models" => ci::run(&context, &[&steps::MODELS_WHOLE], true),
        "chaos" => ci::run(&context, &[&steps::CHAOS_LONG], true),
        "fuzz" => ci::run(&context, &[&steps::FUZZ_FRESH], true),
        name => {
            let steps: Vec<_> = steps::all().iter().filter(|step| step.name == name).collect();
            ci::run(&context, &steps, true)
        }
    }
}

/// The command line, with one subcommand for each step so that the list exists once.
fn command() -> Command {
    let names: Vec<&'static str> = steps::all().iter().map(|step| step.name).collect();
    let ci = Command::new("ci")
        .about("Every step below but `peers`, `loss`, `shares`, `flow` and `flood`, in order; a failing step does not hide the others")
        .arg(
            Arg::new("fail-fast")
                .long("fail-fast")
                .action(ArgAction::SetTrue)
                .help("Stop at the first step that fails"),
        )
        .arg(
            Arg::new("skip")
                .long("skip")
                .value_name("STEP")
                .value_delimiter(',')
                .value_parser(clap::builder::PossibleValuesParser::new(names))
                .help("Leave out these steps, separated by commas"),
        );
    let measuring = |command: Command| {
        command.arg(
            Arg::new("arguments")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("Passed to the measuring program"),
        )
    };
    let peers = Command::new("peers")
        .about("Measure beside other libraries (benches/peers); heavy, so not part of `ci`");
    let loss = Command::new("loss")
        .about("Measure what loss does to each class, over quic and tcp, and draw it; needs root, so not part of `ci`");
    let shares = Command::new("shares")
        .about("Measure what each class gets of a full link, beside tonic and NATS, and draw it (benches/peers); needs root, so not part of `ci`");
    let flow = Command::new("flow")
        .about("Measure flow control by class on limited links, over quic and tcp, and draw it; needs root, so not part of `ci`");
    let flood = Command::new("flood")
        .about("Measure a server under floods of half-open connections, and those who come in meanwhile; needs root, so not part of `ci`");
    Command::new("cargo xtask")
        .about("The checks of this repository")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(ci)
        .subcommands(
            steps::all()
                .iter()
                .map(|step| Command::new(step.name).about(step.about)),
        )
        .subcommand(measuring(peers))
        .subcommand(measuring(loss))
        .subcommand(measuring(shares))
        .subcommand(measuring(flow))
        .subcommand(measuring(flood))
}

#[cfg(test)]
mod tests {
    //! The command line agrees with the list of steps.

    #[test]
    fn command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn every_step_is_a_subcommand() {
        let command = super::command();
        for step in super::steps::all() {
            assert!(command.find_subcommand(step.name).is_some(), "{}", step.name);
        }
    }
}
