//! Servers and nodes in network namespaces are killed, stopped and cut off while a client calls and registers: nothing that was
//! acknowledged may be lost, and nothing may run twice. A short form is part of `ci`; by name it runs for ten minutes and draws
//! what it saw for the book. It needs root.

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// For `ci`: the start, some faults, and peace at the end.
const SHORT_SECONDS: u64 = 40;
/// By name.
const LONG_SECONDS: u64 = 600;

/// What the program begins its last line with on a machine that cannot do this.
const MISSING: &str = "not possible here";

/// Faults for less than a minute.
pub(super) fn short(context: &Context) -> Result<Outcome, Failure> {
    let seconds = SHORT_SECONDS.to_string();
    run(context, false, &["--seconds", &seconds])
}

/// Faults for ten minutes, and the plot.
pub(crate) fn long(context: &Context) -> Result<Outcome, Failure> {
    let seconds = LONG_SECONDS.to_string();
    run(
        context,
        true,
        &["--seconds", &seconds, "--plot", "docs/book/chaos.svg"],
    )
}

fn run(context: &Context, optimised: bool, arguments: &[&str]) -> Result<Outcome, Failure> {
    tools::ensure_bindings(&context.root)?;
    for (program, package) in [
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("etcd", "etcd-server"),
    ] {
        if tools::find(program).is_none() {
            tools::apt_install(&context.root, package);
        }
    }
    let mut cargo = Shell::cargo(&context.root).args(["run", "-p", "valkyrie-router", "--all-features"]);
    if optimised {
        cargo = cargo.args(["--release"]);
    }
    let (lines, ended) = cargo.args(["--example", "chaos", "--"]).args(arguments).tee();
    match (ended, lines.iter().find(|line| line.starts_with(MISSING))) {
        (Ok(()), _) => Ok(Outcome::passed(
            "nothing acknowledged was lost, nothing ran twice",
        )),
        (Err(_), Some(why)) => Ok(Outcome::partly(format!("SKIPPED, {why}"))),
        (Err(failure), None) => Err(failure),
    }
}
