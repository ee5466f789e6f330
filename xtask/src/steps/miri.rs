//! Miri: tests run by an interpreter that sees undefined behaviour, where a nightly toolchain has it.
//!
//! The workspace's own code has no `unsafe` where this looks, so what is looked at is the dependencies that it leans on, `bytes`
//! above all, as these crates use them. Miri runs no C, so whatever calls the cryptography of aws-lc is left out, and so is all
//! that opens a socket. It takes a hundred times as long as a processor: tests that go through tables of thousands of numbers are left
//! out, and tests that repeat themselves do so less often when they see `cfg(miri)`.

use std::time::Duration;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::shell::Shell;

/// Tests of one package. A name stands for every test that has it in its own.
struct Tests {
    targets: &'static [&'static str],
    /// Only these; all, if none are named.
    only: &'static [&'static str],
    /// Never these.
    skip: &'static [&'static str],
}

/// What Miri runs: 4 minutes and 17 seconds of processor time with everything compiled anew, measured on two busy cores, of which
/// the tests took two and a half.
const RUNS: [Tests; 3] = [
    Tests {
        targets: &["--package", "valkyrie-frame", "--lib"],
        only: &[],
        skip: &[
            "known_types_have_the_length_of_their_kind",
            "only_lanes_are_open_from_the_start",
        ],
    },
    Tests {
        targets: &["--package", "valkyrie-proto", "--lib", "--test", "pair"],
        only: &[
            "resume::",
            "a_call_is_answered",
            "a_stream_carries",
            "a_deadline",
            "a_drain",
            "a_broken_link",
            "a_refusal_from",
        ],
        skip: &[],
    },
    // Whatever needs no key, no signature and no hash: times, policies and grants, rates, the bounds on strangers, what is
    // offered, windows against replay, the words of tokens.
    Tests {
        targets: &["--package", "valkyrie-security", "--lib"],
        only: &[
            "time::tests::",
            "policy::pattern::",
            "policy::entry::",
            "policy::classes::",
            "policy::rate::",
            "policy::tests::decisions::a_",
            "policy::tests::files::a_",
            "admission::tests::a_",
            "admission::tests::addresses_with",
            "admission::tests::cookies_are",
            "admission::tests::the_oldest",
            "admission::tests::this_machine",
            "channel::window::tests::moving_on",
            "handshake::rules::",
            "replay::tests::a_key_is_fresh",
            "token::wire::",
        ],
        skip: &["time::tests::no_text_panics", "admission::tests::a_flood"],
    },
];

/// Cases of a property; each is slow here, and `cargo test` tries hundreds.
const CASES: &str = "2";

/// Each takes a minute or two on two quiet cores, and compiling as long; past this one hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs the tests that Miri can, and says what it takes to have it where it is not.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let miri = |command: &str| {
        Shell::cargo(&context.root)
            .args(["+nightly", "miri", command])
            .read()
    };
    // The second needs the sources of the standard library, which are a component of their own.
    let (Some(version), Some(_)) = (miri("--version"), miri("setup")) else {
        println!(
            "There is no nightly toolchain with Miri and the sources of the standard library here, so nothing was run in it; to have it:\n\
             rustup toolchain install nightly --component miri,rust-src"
        );
        return Ok(Outcome::partly(
            "SKIPPED, no Miri; `rustup toolchain install nightly --component miri,rust-src`",
        ));
    };
    let build = context.scratch("miri")?;
    for tests in RUNS {
        let skip = tests.skip.iter().flat_map(|name| ["--skip", name]);
        Shell::cargo(&context.root)
            .args(["+nightly", "miri", "test"])
            .args(tests.targets)
            .args(["--"])
            .args(tests.only)
            .args(skip)
            .env("CARGO_TARGET_DIR", &build.to_string_lossy())
            .env("PROPTEST_CASES", CASES)
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            // Tests read the clock.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .limit(LIMIT)
            .run()?;
    }
    Ok(Outcome::passed(format!(
        "tests of {} crates in {}",
        RUNS.len(),
        version.trim()
    )))
}
