//! Measures beside other libraries. Its workspace is its own because theirs are large; `ci` leaves it out.

use super::loss::ensure_network_tools;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// Builds `benches/peers` with optimisation and runs it with `arguments`.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    if !tools::ensure_redis_server(&context.root) {
        println!(
            "there is no {}: nothing will be measured over Redis",
            tools::REDIS_SERVER
        );
    }
    measure(context, "valkyrie-peers", &[], arguments)
}

/// Builds `shares` of `benches/peers` with optimisation and runs it with `arguments`: what flows get of a full link. It needs root.
pub(crate) fn shares(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    ensure_network_tools(context);
    if !tools::ensure_nats_server(&context.root) {
        println!("there is no {}: NATS will not be measured", tools::NATS_SERVER);
    }
    measure(context, "shares", &["--plot", "docs/book/shares.svg"], arguments)
}

fn measure(context: &Context, program: &str, first: &[&str], rest: &[String]) -> Result<(), Failure> {
    Shell::cargo(&context.root)
        .args(["run", "--release", "--manifest-path", "benches/peers/Cargo.toml"])
        .args(["--bin", program, "--"])
        .args(first)
        .args(rest)
        .run()
}
