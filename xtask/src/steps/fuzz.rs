//! Fuzzing for a moment: each target in `fuzz/fuzz_targets` runs ten seconds from the corpus in the tree.
//!
//! It uses no cargo-fuzz and no nightly. libFuzzer needs the code to report the branches it takes, which
//! stable rustc can be told through LLVM's arguments; what only nightly has are the sanitizers, and code
//! without `unsafe` gives them nothing to find. For a long run, see CONTRIBUTING.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// How long each target runs.
const SECONDS_PER_TARGET: u64 = 10;

/// Past this a target has hung in a way that libFuzzer's own limit did not see.
const LIMIT: Duration = Duration::from_secs(SECONDS_PER_TARGET + 50);

/// What makes rustc report branches to libFuzzer, and keeps the checks that a release build drops.
const FLAGS: [&str; 11] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
    "-Copt-level=3",
    "-Cpanic=abort",
];

/// What a run begins its dice with.
#[derive(Clone, Copy)]
pub(super) enum Seed {
    /// The same each time, so that whether a change passes does not depend on luck.
    Fixed,
    /// Another each time, to find what is not known yet. libFuzzer prints it.
    Fresh,
}

/// Builds every target once and runs each from its corpus.
pub(super) fn run(context: &Context, seed: Seed) -> Result<Outcome, Failure> {
    let folder = context.root.join("fuzz");
    let targets = targets(&folder)?;
    if targets.is_empty() {
        return Ok(Outcome::passed("no targets yet"));
    }
    tools::ensure_cxx(&context.root)?;
    let host = host(context)?;
    let build = context.scratch("fuzz")?;
    let mut cargo = Shell::cargo(&context.root)
        .args(["build", "--manifest-path", "fuzz/Cargo.toml", "--release"])
        // With a target named, the flags are for the targets and not for build scripts and macros.
        .args(["--target", &host])
        .args(["--target-dir", &build.to_string_lossy()])
        .env("CARGO_ENCODED_RUSTFLAGS", &FLAGS.join("\u{1f}"));
    for target in &targets {
        cargo = cargo.args(["--bin", target]);
    }
    cargo.run()?;

    let artifacts = context.scratch("fuzz-artifacts")?;
    let mut failures = Vec::new();
    for target in &targets {
        let program = build.join(&host).join("release").join(target);
        if let Err(failure) = fuzz(context, &program, target, &artifacts, seed) {
            failures.push(format!("{failure}; inputs are in {}", artifacts.display()));
        }
    }
    Failure::unless_empty("fuzz targets that found something", failures)?;
    Ok(Outcome::passed(format!(
        "{} targets, {SECONDS_PER_TARGET} s each",
        targets.len()
    )))
}

/// Runs one target. What it discovers goes to a fresh folder and not to the corpus in the tree.
fn fuzz(
    context: &Context,
    program: &Path,
    target: &str,
    artifacts: &Path,
    seed: Seed,
) -> Result<(), Failure> {
    let finds = context.scratch("fuzz-finds")?.join(target);
    let _ = std::fs::remove_dir_all(&finds);
    std::fs::create_dir_all(&finds).map_err(|source| Failure::File {
        path: finds.clone(),
        source,
    })?;
    let mut shell = Shell::new(&program.to_string_lossy(), &context.root)
        .args([format!("-max_total_time={SECONDS_PER_TARGET}")])
        .args([
            "-timeout=5",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-verbosity=0",
        ])
        // 0 asks libFuzzer to take the time.
        .args([format!("-seed={}", u8::from(matches!(seed, Seed::Fixed)))])
        .args([format!("-artifact_prefix={}/{target}-", artifacts.display())])
        .args([finds.to_string_lossy()]);
    let corpus = context.root.join("fuzz/corpus").join(target);
    if corpus.is_dir() {
        shell = shell.args([corpus.to_string_lossy()]);
    }
    shell.limit(LIMIT).run()
}

/// The names of the targets: the files of `fuzz/fuzz_targets`, in order.
fn targets(folder: &Path) -> Result<Vec<String>, Failure> {
    let path = folder.join("fuzz_targets");
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&path).map_err(|source| Failure::File { path, source })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// This machine's target triple.
fn host(context: &Context) -> Result<String, Failure> {
    Shell::new("rustc", &context.root)
        .args(["-vV"])
        .read()
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        })
        .ok_or(Failure::Missing {
            tool: "rustc",
            how: "see https://rustup.rs".to_owned(),
        })
}
