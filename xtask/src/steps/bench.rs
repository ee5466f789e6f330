//! Every bench once, unmeasured: benches are code that nothing else runs, and rot unseen.

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;

/// Runs each Criterion bench of the workspace in its test mode.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let mut arguments = Vec::new();
    let mut count = 0;
    for package in &context.metadata.packages {
        let benches: Vec<_> = package
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "bench"))
            .collect();
        if benches.is_empty() {
            continue;
        }
        arguments.extend(["--package".to_owned(), package.name.clone()]);
        for bench in benches {
            count += 1;
            arguments.extend(["--bench".to_owned(), bench.name.clone()]);
        }
    }
    if count == 0 {
        return Ok(Outcome::passed("no benches yet"));
    }
    // One build for all of them. Optimising is most of its cost and nothing here is measured.
    Shell::cargo(&context.root)
        .args(["bench"])
        .args(&arguments)
        .args(["--", "--test"])
        .env("CARGO_PROFILE_BENCH_LTO", "off")
        .env("CARGO_PROFILE_BENCH_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_BENCH_CODEGEN_UNITS", "16")
        .run()?;
    Ok(Outcome::passed(format!("{count} benches")))
}
