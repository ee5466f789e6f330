//! Measures beside other libraries. Its workspace is its own because theirs are large; `ci` leaves it out.

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
    Shell::cargo(&context.root)
        .args([
            "run",
            "--release",
            "--manifest-path",
            "benches/peers/Cargo.toml",
            "--",
        ])
        .args(arguments)
        .run()
}
