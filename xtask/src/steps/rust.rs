//! What the toolchain itself checks: formatting, lints and documentation.

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// Workspaces of their own, with lock files of their own, that `--workspace` does not reach.
const OTHER_WORKSPACES: [&str; 4] = [
    "fuzz/Cargo.toml",
    "benches/peers/Cargo.toml",
    "crates/valkyrie-security-kyber/Cargo.toml",
    "crates/valkyrie-transport-rdma-sys/Cargo.toml",
];

/// `cargo fmt --check`, here and in the other workspaces.
pub(super) fn fmt(context: &Context) -> Result<Outcome, Failure> {
    component(context, "fmt", "rustfmt")?;
    let main = Shell::cargo(&context.root)
        .args(["fmt", "--all", "--check"])
        .run();
    let mut checked = 1;
    let mut others = Ok(());
    for manifest in OTHER_WORKSPACES {
        if context.root.join(manifest).is_file() {
            checked += 1;
            let one = Shell::cargo(&context.root)
                .args(["fmt", "--manifest-path", manifest, "--check"])
                .run();
            others = others.and(one);
        }
    }
    main.and(others)?;
    Ok(Outcome::passed(format!("{checked} workspaces")))
}

/// Clippy with every target and feature, warnings refused.
pub(super) fn clippy(context: &Context) -> Result<Outcome, Failure> {
    component(context, "clippy", "clippy")?;
    tools::ensure_bindings(&context.root)?;
    Shell::cargo(&context.root)
        .args(["clippy", "--workspace", "--all-targets", "--all-features"])
        .args(["--", "-D", "warnings"])
        .run()?;
    Ok(Outcome::default())
}

/// The documentation of every library. Programs are left out: `valkyrie` the program and `valkyrie` the
/// library would be written to the same place.
pub(super) fn doc(context: &Context) -> Result<Outcome, Failure> {
    tools::ensure_bindings(&context.root)?;
    Shell::cargo(&context.root)
        .args(["doc", "--workspace", "--lib", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Outcome::default())
}

/// Fails, or installs it with rustup, when a part of the toolchain is not there.
fn component(context: &Context, subcommand: &str, component: &'static str) -> Result<(), Failure> {
    let works = || {
        Shell::cargo(&context.root)
            .args([subcommand, "--version"])
            .read()
            .is_some()
    };
    if works() {
        return Ok(());
    }
    println!("{component} is missing; asking rustup for it");
    let _ = Shell::new("rustup", &context.root)
        .args(["component", "add", component])
        .run();
    if works() {
        Ok(())
    } else {
        Err(Failure::Missing {
            tool: component,
            how: format!("rustup component add {component}"),
        })
    }
}
