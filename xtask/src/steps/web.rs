//! The browser client under `clients/web`: its own tests with node, and in headless Chromium the client against `valkyrie serve`
//! and plain pages against the gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// Where the client is.
const FOLDER: &str = "clients/web";

/// The oldest node whose test runner and syntax the client uses.
const NODE_MAJOR_MIN: u32 = 20;

/// The browser's part takes seconds.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Runs what can be run here; what cannot is said.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let folder = context.root.join(FOLDER);
    let Some(node) = node(&context.root) else {
        println!("There is no node {NODE_MAJOR_MIN} or later, so the browser client was NOT tested.");
        return Ok(Outcome::partly(format!(
            "SKIPPED, no node {NODE_MAJOR_MIN} or later"
        )));
    };
    Shell::new(&node, &folder)
        .args(["--test", "test/vectors.test.js", "test/session.test.js"])
        .limit(LIMIT)
        .run()?;
    let Some(chromium) = chromium(&context.root) else {
        println!(
            "There is no Chromium and none can be installed, so the client was NOT tested in a browser."
        );
        return Ok(Outcome::partly("SKIPPED in a browser, no chromium"));
    };
    if !packages(&folder) {
        println!("The packages of {FOLDER} cannot be installed, so the client was NOT tested in a browser.");
        return Ok(Outcome::partly("SKIPPED in a browser, no playwright-core"));
    }
    Shell::cargo(&context.root)
        .args(["build", "-p", "valkyrie-cli"])
        .run()?;
    Shell::cargo(&context.root)
        .args([
            "build",
            "-p",
            "valkyrie",
            "--features",
            "gateway",
            "--example",
            "gateway",
        ])
        .run()?;
    let built = context.metadata.target_directory.join("debug");
    let (valkyrie, example) = (built.join("valkyrie"), built.join("examples/gateway"));
    let in_chromium = |program: &str, started: &[&Path]| {
        let started = started.iter().map(|path| path.to_string_lossy().into_owned());
        let (lines, ended) = Shell::new(&node, &folder)
            .args([program])
            .args(started)
            .args([&*chromium.to_string_lossy()])
            .limit(LIMIT)
            .tee();
        let told = lines.into_iter().rfind(|line| line.contains("cases"));
        ended.map(|()| told.unwrap_or_else(|| "all cases".to_owned()))
    };
    let client = in_chromium("test/browser.mjs", &[&valkyrie])?;
    let gateway = in_chromium("test/gateway.mjs", &[&valkyrie, &example])?;
    Ok(Outcome::passed(format!(
        "vectors and session with node; in Chromium {client}, {gateway}"
    )))
}

fn node(root: &Path) -> Option<String> {
    let node = tools::find("node")?.to_string_lossy().into_owned();
    let version = Shell::new(&node, root).args(["--version"]).read()?;
    let major: u32 = version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()?;
    (major >= NODE_MAJOR_MIN).then_some(node)
}

/// Chromium, which is installed where this is root on a machine with apt.
fn chromium(root: &Path) -> Option<PathBuf> {
    let found = || {
        ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(tools::find)
    };
    found().or_else(|| {
        tools::apt_install(root, "chromium");
        found()
    })
}

/// Installs what the lock file says, unless it is there.
fn packages(folder: &Path) -> bool {
    if folder.join("node_modules/playwright-core/package.json").is_file() {
        return true;
    }
    Shell::new("npm", folder)
        .args(["ci", "--no-audit", "--no-fund"])
        .run()
        .is_ok()
}
