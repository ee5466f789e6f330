//! The frame crate without the standard library: built for a bare-metal target where the toolchain has one,
//! and tested on the host without its default features where it has none.

use std::path::Path;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::steps::tests;

/// Targets that have `alloc` and no `std`; the first that is installed is used.
const TARGETS: [&str; 5] = [
    "thumbv7em-none-eabihf",
    "thumbv7em-none-eabi",
    "riscv32imac-unknown-none-elf",
    "aarch64-unknown-none",
    "x86_64-unknown-none",
];

/// Builds, or else tests, `valkyrie-frame` without default features.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let frame = ["--package", "valkyrie-frame", "--no-default-features"];
    declares_no_std(context)?;
    if let Some(target) = TARGETS.iter().find(|target| is_installed(context, target)) {
        Shell::cargo(&context.root)
            .args(["check", "--lib", "--target", target])
            .args(frame)
            .run()?;
        return Ok(Outcome::passed(format!("built for {target}")));
    }
    println!(
        "no bare-metal target is installed (to have one: rustup target add {})",
        TARGETS[0]
    );
    println!("so the no_std feature set is built and tested on the host");
    let mut outcome = tests::tell(
        Shell::cargo(&context.root)
            .args(["test", "--lib", "--tests"])
            .args(frame),
        "cargo test, on the host",
    );
    // These tests are counted by the `test` step already.
    outcome.runs_tests = false;
    Ok(outcome)
}

/// On the host a crate that forgot `#![no_std]` would pass, so the attribute is looked for.
fn declares_no_std(context: &Context) -> Result<(), Failure> {
    let path = context.root.join("crates/valkyrie-frame/src/lib.rs");
    let text = std::fs::read_to_string(&path).map_err(|source| Failure::File {
        path: path.clone(),
        source,
    })?;
    let declares = text
        .lines()
        .any(|line| line.starts_with("#![") && line.contains("no_std"));
    let faults = if declares {
        Vec::new()
    } else {
        vec!["crates/valkyrie-frame/src/lib.rs does not say `#![no_std]`".to_owned()]
    };
    Failure::unless_empty("reasons why this is no no_std crate", faults)
}

/// Whether the toolchain holds the target's `core`.
fn is_installed(context: &Context, target: &str) -> bool {
    Shell::new("rustc", &context.root)
        .args(["--print", "target-libdir", "--target", target])
        .read()
        .and_then(|folder| std::fs::read_dir(Path::new(folder.trim())).ok())
        .is_some_and(|mut files| files.next().is_some())
}
