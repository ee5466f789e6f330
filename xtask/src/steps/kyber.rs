//! `crates/valkyrie-security-kyber`, a workspace of its own whose dependencies are no longer maintained: linted, tested, its
//! example run, and its dependencies held against the three advisories that it is allowed.

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::steps::{deny, tests};

/// The folder of the crate.
const FOLDER: &str = "crates/valkyrie-security-kyber";

/// Everything that the main workspace's steps do for their crates. The build goes where theirs does, so that what both
/// need is built once.
pub(super) fn run(context: &Context) -> Outcome {
    if let Err(failure) = lint(context) {
        return Err(failure).into();
    }
    let tested = tests::tell(cargo(context, "test"), "cargo test");
    let others = cargo(context, "run")
        .args(["--quiet", "--example", "kyber"])
        .run()
        .and_then(|()| deny::check(context, &context.root.join(FOLDER)));
    match others {
        _ if tested.failure.is_some() => tested,
        Ok(denied) => Outcome {
            note: format!("{}; {}", tested.note, denied.note),
            partial: denied.partial,
            ..tested
        },
        Err(failure) => Err(failure).into(),
    }
}

fn lint(context: &Context) -> Result<(), Failure> {
    cargo(context, "clippy")
        .args(["--all-targets", "--", "-D", "warnings"])
        .run()
}

fn cargo(context: &Context, subcommand: &str) -> Shell {
    let build = &context.metadata.target_directory;
    Shell::cargo(&context.root)
        .args([subcommand, "--manifest-path"])
        .args([format!("{FOLDER}/Cargo.toml")])
        .args(["--target-dir", &build.to_string_lossy()])
}
