//! `cargo deny`: the licences, sources and versions of everything the lock file names, and known advisories.
//!
//! Advisories live in a git repository that not every network can reach. Where it cannot be fetched the other
//! checks still run, and the outcome says that this one did not.

use std::path::Path;
use std::time::Duration;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools::{self, CargoTool};

/// Without default features it needs no C libraries and builds in a minute or two on two cores.
const CARGO_DENY: CargoTool = CargoTool {
    package: "cargo-deny",
    version: "0.20.2",
    arguments: &["--no-default-features"],
    optimised: false,
};

/// Fetching a few megabytes takes seconds; a firewall that drops packets would take for ever.
const FETCH_LIMIT: Duration = Duration::from_secs(90);

/// Runs the checks that this machine can.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    check(context, &context.root)
}

/// The same for the workspace in `folder`, by its own `deny.toml`.
pub(super) fn check(context: &Context, folder: &Path) -> Result<Outcome, Failure> {
    let program = tools::ensure(context, &CARGO_DENY)?;
    let deny = || Shell::new(&program.to_string_lossy(), folder);
    let offline = deny()
        .args(["--all-features", "check", "bans", "licenses", "sources"])
        .run();
    let fetched = deny().args(["fetch", "db"]).limit(FETCH_LIMIT).run();
    if fetched.is_err() {
        println!("The advisory database cannot be fetched from here, so advisories were NOT checked.");
        offline?;
        return Ok(Outcome::partly(
            "bans, licences, sources; advisories SKIPPED, no database",
        ));
    }
    let advisories = deny()
        .args(["--offline", "--all-features", "check", "advisories"])
        .run();
    offline.and(advisories)?;
    Ok(Outcome::passed("bans, licences, sources, advisories"))
}
