//! The packages under `examples/`, each of which shows one crate used without the rest: built and run.

use std::time::Duration;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;

/// An example is over in a moment; one that is not waits for something that will not come.
const LIMIT: Duration = Duration::from_secs(60);

/// Builds and runs each; an example passes when it exits with 0.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let mut failures = Vec::new();
    let mut count = 0;
    for package in context.metadata.examples() {
        count += 1;
        // Built first, so that the limit is for the run alone.
        let result = Shell::cargo(&context.root)
            .args(["build", "--quiet", "--package", &package.name])
            .run()
            .and_then(|()| {
                Shell::cargo(&context.root)
                    .args(["run", "--quiet", "--package", &package.name])
                    .limit(LIMIT)
                    .run()
            });
        if let Err(failure) = result {
            failures.push(failure.to_string());
        }
    }
    Failure::unless_empty("examples that do not run", failures)?;
    Ok(Outcome::passed(format!("{count} packages")))
}
