//! Measures beside other libraries. Its workspace is its own because theirs are large; `ci` leaves it out.

use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;

/// Builds `benches/peers` with optimisation and runs it with `arguments`.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<(), Failure> {
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
