//! The tests of `valkyrie-transport-rdma` on a real RDMA device: the host's, or one in software (soft-RoCE) in a virtual
//! machine that is made for it and thrown away.
//!
//! Nearly no machine that builds this has RDMA, and few let a kernel module be loaded. So the module runs in a kernel of its own:
//! Debian's, under QEMU, with a file system in memory that holds the test programs and the libraries they open. Nothing
//! is installed for the guest and it has no network. Under emulation it is slow, and what it shows is that things are right, not
//! how fast they are.
//!
//! Read [`run`] first; [`debian`] is where packages come from, [`guest`] what is put together, [`machine`] what runs it.

mod cpio;
mod debian;
mod guest;
mod machine;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ci::Outcome;
use crate::context::Context;
use crate::counts::{self, Counts};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::tools;

/// What is tested, as arguments of `cargo test`: the links, and sessions over them.
const TESTS: [&[&str]; 3] = [
    &[
        "--package",
        "valkyrie-transport-rdma",
        "--all-features",
        "--lib",
        "--tests",
    ],
    &["--package", "valkyrie", "--features", "rdma", "--test", "rdma"],
    // One stream over every transport in turn, this one among them.
    &[
        "--package",
        "valkyrie",
        "--features",
        "rdma,full",
        "--test",
        "hops",
    ],
];

/// What is run besides in the guest, as arguments of `cargo build` and the program's name.
const PROGRAMS: [(&[&str], &str); 2] = [
    (
        &["--package", "example-rdma-alone", "--features", "verbs"],
        "example-rdma-alone",
    ),
    (&["--package", "valkyrie-cli", "--features", "rdma"], "valkyrie"),
];

/// Tests that find no device must fail here, and not skip themselves.
const REQUIRED: (&str, &str) = ("VALKYRIE_RDMA_REQUIRED", "1");

/// How many seconds a behaviour of the conformance suite may take in the guest, where a message takes a millisecond or several.
const PATIENCE: (&str, &str) = ("VALKYRIE_CONFORMANCE_SECONDS_MAX", "600");

/// Runs the tests where they can be run, and says where that was.
pub(super) fn run(context: &Context) -> Outcome {
    match prepare_and_run(context) {
        Ok(outcome) => outcome,
        Err(Stop::Skipped(why)) => {
            println!("Nothing was run on an RDMA device: {why}.");
            Outcome::partly(format!("SKIPPED, {why}"))
        }
        Err(Stop::Failed(failure)) => Err(failure).into(),
    }
}

/// Why there is no result.
enum Stop {
    /// It cannot be had on this machine.
    Skipped(String),
    /// It could be had and something failed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn prepare_and_run(context: &Context) -> Result<Outcome, Stop> {
    tools::ensure_bindings(&context.root)?;
    if has_device() {
        return Ok(on_the_host(context));
    }
    println!("This machine has no RDMA device, so one is made in a virtual machine.");
    let folder = context.scratch("rdma")?;
    let debian = debian::Debian::fetch(&context.root, &folder).map_err(Stop::Skipped)?;
    let machine = machine::Machine::find(&context.root).map_err(Stop::Skipped)?;
    let tests = test_programs(context)?;
    let mut programs = tests.clone();
    for (arguments, name) in PROGRAMS {
        Shell::cargo(&context.root)
            .args(["build"])
            .args(arguments)
            .run()?;
        programs.push(context.metadata.target_directory.join("debug").join(name));
    }
    let image = folder.join("initramfs");
    let script = guest::script(&tests, &[REQUIRED, PATIENCE]);
    guest::build(&context.root, &debian, &programs, &script, &image)?;
    let (lines, ended) = machine.run(&folder, &debian.kernel(), &image);
    Ok(judge(&lines, ended, tests.len()))
}

/// Whether the kernel of this machine knows an RDMA device.
fn has_device() -> bool {
    fs::read_dir("/sys/class/infiniband").is_ok_and(|mut devices| devices.next().is_some())
}

fn on_the_host(context: &Context) -> Outcome {
    println!("This machine has an RDMA device, which the tests use.");
    let mut whole = Outcome {
        runs_tests: true,
        ..Outcome::default()
    };
    let mut notes = Vec::new();
    for arguments in TESTS {
        let shell = Shell::cargo(&context.root)
            .args(["test", "--no-fail-fast"])
            .args(arguments)
            .env(REQUIRED.0, REQUIRED.1);
        let one = super::tests::tell(shell, "cargo test");
        notes.push(one.note);
        whole.summaries.extend(one.summaries);
        whole.failure = whole.failure.or(one.failure);
    }
    whole.note = format!("{}, on a device of this machine", notes.join("; "));
    whole
}

/// Builds the test programs, and says where they are.
fn test_programs(context: &Context) -> Result<Vec<PathBuf>, Failure> {
    let mut programs = Vec::new();
    for arguments in TESTS {
        let (lines, ended) = Shell::cargo(&context.root)
            .args(["test", "--no-run", "--message-format", "json-render-diagnostics"])
            .args(arguments)
            .gather();
        if ended.is_err() {
            // What the compiler had to say is among them, as text.
            lines
                .iter()
                .filter(|line| !line.starts_with('{'))
                .for_each(|line| println!("{line}"));
        }
        ended?;
        programs.extend(lines.iter().filter_map(|line| executable(line)));
    }
    Ok(programs)
}

/// A line of cargo's, as far as it matters.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn executable(line: &str) -> Option<PathBuf> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    artifact.profile.test.then_some(artifact.executable)?
}

/// What the test programs said in the guest, and whether all of them came to their end.
fn judge(lines: &[String], ended: Result<(), Failure>, programs: usize) -> Outcome {
    let mut total = Counts::default();
    let summaries: Vec<String> = lines
        .iter()
        .filter(|line| counts::parse(line).is_some())
        .cloned()
        .collect();
    for line in &summaries {
        total.add(counts::parse(line).unwrap_or_default());
    }
    let exit = lines.iter().find_map(|line| guest::exit_code(line));
    let mut faults = Vec::new();
    match exit {
        Some(0) => {}
        Some(code) => faults.push(format!("the guest ended with {code}")),
        None => faults.push("the guest did not come to its end".to_owned()),
    }
    if summaries.len() != programs {
        faults.push(format!(
            "{} of {programs} test programs came to their end",
            summaries.len()
        ));
    }
    if total.failed > 0 {
        faults.push(format!("{} tests failed", total.failed));
    }
    let failure = match (ended, faults.is_empty()) {
        (Err(failure), _) if exit.is_none() => Some(failure),
        (_, true) => None,
        (_, false) => Failure::unless_empty("faults on the device in software", faults).err(),
    };
    Outcome {
        note: format!(
            "{} passed, {} failed, on soft-RoCE in a virtual machine",
            total.passed, total.failed
        ),
        runs_tests: true,
        summaries,
        partial: false,
        failure,
    }
}

/// Reads a file, or says which it was.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::File {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_among_what_cargo_says() {
        let program = r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/links-1"}"#;
        assert_eq!(executable(program), Some(PathBuf::from("/t/links-1")));
        let library = r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("   Compiling x"), None);
    }

    #[test]
    fn a_guest_that_ends_early_or_badly_is_a_failure() {
        let passed =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let failed = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let good = judge(&lines(&[passed, passed, "valkyrie-guest: exit 0"]), Ok(()), 2);
        assert!(good.failure.is_none());
        assert!(good.note.starts_with("6 passed, 0 failed"), "{}", good.note);
        for (said, programs) in [
            (lines(&[passed, "valkyrie-guest: exit 0"]), 2),
            (lines(&[passed, failed, "valkyrie-guest: exit 101"]), 2),
            (lines(&[passed, failed, "valkyrie-guest: exit 0"]), 2),
            (lines(&[passed]), 1),
            (lines(&[]), 1),
        ] {
            assert!(judge(&said, Ok(()), programs).failure.is_some(), "{said:?}");
        }
    }
}
