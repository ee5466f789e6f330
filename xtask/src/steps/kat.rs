//! The security vectors, recomputed by `clients/python-kat`, which shares nothing with the crates but the pages.

use std::path::{Path, PathBuf};

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// The packages' versions and hashes.
const REQUIREMENTS: &str = "clients/python-kat/requirements.txt";

/// The oldest Python whose syntax the scripts and packages use.
const PYTHON_MINOR_MIN: u32 = 10;

/// Installs the packages where they are not, and runs both scripts.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let Some(python) = python(&context.root) else {
        let what = format!("no python3 of 3.{PYTHON_MINOR_MIN} or later");
        println!("There is {what} on the PATH, so the vectors were NOT recomputed.");
        return Ok(Outcome::partly(format!("SKIPPED, {what}")));
    };
    let Some(python) = environment(context, &python)? else {
        println!(
            "The packages of {REQUIREMENTS} cannot be installed here, so the vectors were NOT recomputed."
        );
        return Ok(Outcome::partly(
            "SKIPPED, the packages cannot be installed from PyPI",
        ));
    };
    let script = |name: &str| {
        Shell::new(&python.to_string_lossy(), &context.root)
            .args(["-B", &format!("clients/python-kat/{name}")])
    };
    let (lines, ended) = script("check.py").tee();
    ended?;
    script("generate.py").args(["--check"]).run()?;
    Ok(Outcome::passed(lines.last().cloned().unwrap_or_default()))
}

/// A Python that is new enough.
fn python(root: &Path) -> Option<PathBuf> {
    let path = tools::find("python3")?;
    let code = format!("import sys, venv; assert sys.version_info >= (3, {PYTHON_MINOR_MIN})");
    Shell::new(&path.to_string_lossy(), root)
        .args(["-c", &code])
        .read()?;
    Some(path)
}

/// The Python of an environment that has exactly the packages of the requirements; `None` where they cannot be had.
fn environment(context: &Context, python: &Path) -> Result<Option<PathBuf>, Failure> {
    let folder = context.scratch("kat")?;
    let inside = folder.join("bin").join("python");
    let wanted = context.root.join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&wanted).map_err(|source| Failure::File { path: wanted, source })?;
    let stamp = folder.join("requirements.installed");
    if inside.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(inside));
    }
    Shell::new(&python.to_string_lossy(), &context.root)
        .args(["-m", "venv", "--clear", &folder.to_string_lossy()])
        .run()?;
    let (lines, installed) = Shell::new(&inside.to_string_lossy(), &context.root)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary", ":all:", "-r", REQUIREMENTS])
        .tee();
    if let Err(failure) = installed {
        // A package that is not there is one thing; one that is another than it was is a fault to look into.
        let tampered = lines.iter().any(|line| line.contains("DO NOT MATCH THE HASHES"));
        return if tampered { Err(failure) } else { Ok(None) };
    }
    std::fs::write(&stamp, wanted).map_err(|source| Failure::File { path: stamp, source })?;
    Ok(Some(inside))
}
