//! Runs the tests and keeps the runner's own summary, so that the end of `ci` shows what was counted.

use crate::ci::Outcome;
use crate::context::Context;
use crate::counts;
use crate::shell::Shell;
use crate::tools;

use super::loss;

/// Unit and integration tests: with nextest where it is installed, else with `cargo test`.
pub(super) fn run(context: &Context) -> Outcome {
    if let Err(failure) = tools::ensure_bindings(&context.root) {
        return Err(failure).into();
    }
    let untested = ensure_servers(context);
    let outcome = run_tests(context);
    match untested {
        Some(missing) if outcome.failure.is_none() => Outcome {
            note: format!("{}; {missing}", outcome.note),
            partial: true,
            ..outcome
        },
        _ => outcome,
    }
}

/// What tests run against, installed where it can be; where it is missing after that its tests skip themselves, and this says
/// so.
fn ensure_servers(context: &Context) -> Option<String> {
    for (program, package) in loss::NETWORK_TOOLS {
        if tools::find(program).is_none() {
            // Tests between network namespaces say so themselves where these are missing.
            tools::apt_install(&context.root, package);
        }
    }
    let mut missing = Vec::new();
    if !tools::ensure_redis_server(&context.root) {
        missing.push(format!(
            "nothing was tested over Redis: there is no {}",
            tools::REDIS_SERVER
        ));
    }
    if !tools::ensure_etcd(&context.root) {
        missing.push(format!(
            "nothing was tested over etcd: there is no {}",
            tools::ETCD.0
        ));
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn run_tests(context: &Context) -> Outcome {
    let nextest = Shell::cargo(&context.root)
        .args(["nextest", "--version"])
        .read()
        .is_some();
    let scope = ["--workspace", "--all-features", "--no-fail-fast"];
    let shell = Shell::cargo(&context.root);
    if nextest {
        let shell = shell.args(["nextest", "run"]).args(scope);
        // Without a terminal nextest would list every passing test.
        tell(
            shell.args(["--status-level", "fail", "--no-tests", "pass"]),
            "cargo nextest",
        )
    } else {
        println!(
            "cargo-nextest is not installed; using cargo test (faster: cargo install --locked cargo-nextest)"
        );
        let shell = shell.args(["test"]).args(scope);
        tell(
            shell.args(["--lib", "--bins", "--tests", "--examples"]),
            "cargo test",
        )
    }
}

/// The examples in documentation comments.
pub(super) fn run_docs(context: &Context) -> Outcome {
    if let Err(failure) = tools::ensure_bindings(&context.root) {
        return Err(failure).into();
    }
    let shell = Shell::cargo(&context.root).args(["test", "--workspace", "--doc", "--all-features"]);
    tell(shell.args(["--no-fail-fast"]), "rustdoc")
}

/// Runs a test runner and keeps the lines that count.
pub(super) fn tell(shell: Shell, runner: &str) -> Outcome {
    let (lines, ended) = shell.tee();
    let mut total = counts::Counts::default();
    let mut summaries = Vec::new();
    for line in lines {
        if let Some(counts) = counts::parse(&line) {
            total.add(counts);
            // A binary without tests says so too; its line would only bury the others.
            if counts != counts::Counts::default() {
                summaries.push(counts::without_colour(&line));
            }
        }
    }
    Outcome {
        note: format!("{} passed, {} failed ({runner})", total.passed, total.failed),
        summaries,
        failure: ended.err(),
        partial: false,
        runs_tests: true,
    }
}
