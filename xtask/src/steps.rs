//! The list of checks, in the order in which `ci` runs them: the quick ones that fail most often first.

mod alone;
mod autobahn;
mod bench;
mod chaos;
mod deny;
mod examples;
mod fuzz;
mod kat;
mod kyber;
pub(crate) mod loss;
mod miri;
mod models;
mod no_std;
pub(crate) mod peers;
mod rdma;
mod rdma_sys;
mod rust;
mod tests;
mod web;

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::{floors, tidy};

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// The subcommand.
    pub(crate) name: &'static str,
    /// What it does, for the help and the header.
    pub(crate) about: &'static str,
    /// Does it.
    pub(crate) run: fn(&Context) -> Outcome,
}

/// Every step that `ci` runs.
pub(crate) fn all() -> &'static [Step] {
    &[
        Step {
            name: "fmt",
            about: "Sources are formatted as rustfmt formats them",
            run: |context| rust::fmt(context).into(),
        },
        Step {
            name: "floors",
            about: "Each crate depends only on strictly lower floors",
            run: |context| floors(context).into(),
        },
        Step {
            name: "tidy",
            about: "Nothing unfinished, undocumented, too long, asleep in tests, or linked to nowhere",
            run: |context| tidy(context).into(),
        },
        Step {
            name: "clippy",
            about: "Clippy finds nothing in any target",
            run: |context| rust::clippy(context).into(),
        },
        Step {
            name: "test",
            about: "Unit and integration tests",
            run: tests::run,
        },
        Step {
            name: "doctest",
            about: "Examples in the documentation compile and hold",
            run: tests::run_docs,
        },
        Step {
            name: "doc",
            about: "Documentation builds without a warning",
            run: |context| rust::doc(context).into(),
        },
        Step {
            name: "alone",
            about: "Each crate alone, with each of its features alone",
            run: |context| alone::run(context).into(),
        },
        Step {
            name: "no-std",
            about: "valkyrie-frame without the standard library",
            run: |context| no_std::run(context).into(),
        },
        Step {
            name: "examples",
            about: "The packages under examples/ run",
            run: |context| examples::run(context).into(),
        },
        Step {
            name: "deny",
            about: "Dependencies: licences, sources, bans and advisories",
            run: |context| deny::run(context).into(),
        },
        Step {
            name: "kyber",
            about: "valkyrie-security-kyber, a workspace of its own: lints, tests, example, dependencies",
            run: kyber::run,
        },
        Step {
            name: "chaos",
            about: "Servers and nodes are killed, stopped and cut off under load; by itself for ten minutes, with a plot",
            run: |context| chaos::short(context).into(),
        },
        Step {
            name: "kat",
            about: "The Python implementation of the security page recomputes the vectors",
            run: |context| kat::run(context).into(),
        },
        Step {
            name: "autobahn",
            about: "The Autobahn suite finds nothing wrong with WebSocket frames, as acceptor and as dialler",
            run: |context| autobahn::run(context).into(),
        },
        Step {
            name: "rdma",
            about: "The RDMA transport on a device of this machine, or on one in software in a virtual machine",
            run: rdma::run,
        },
        Step {
            name: "rdma-sys",
            about: "valkyrie-transport-rdma-sys, a workspace of its own: the RDMA transport on the other binding",
            run: rdma_sys::run,
        },
        Step {
            name: "web",
            about: "The browser client: the vectors and its session with node, and in headless Chromium against the server; pages against the gateway",
            run: |context| web::run(context).into(),
        },
        Step {
            name: "models",
            about: "The models of the handshake answer as they should; by itself, all of them with all their sessions",
            run: |context| models::quick(context).into(),
        },
        Step {
            name: "miri",
            about: "Tests of the codec, the session and security in Miri, where a nightly toolchain has it",
            run: |context| miri::run(context).into(),
        },
        Step {
            name: "fuzz",
            about: "Each fuzz target for ten seconds from its corpus; by itself, with another seed each time",
            run: |context| fuzz::run(context, fuzz::Seed::Fixed).into(),
        },
        Step {
            name: "bench",
            about: "Each bench runs once, unmeasured",
            run: |context| bench::run(context).into(),
        },
    ]
}

/// What `models` does when it is asked for by name: everything, which takes too long for `ci`.
pub(crate) const MODELS_WHOLE: Step = Step {
    name: "models",
    about: "The models of the handshake answer as they should",
    run: |context| models::whole(context).into(),
};

/// What `chaos` does when it is asked for by name: ten minutes, which is too long for `ci`.
pub(crate) const CHAOS_LONG: Step = Step {
    name: "chaos",
    about: "Servers and nodes are killed, stopped and cut off under load for ten minutes",
    run: |context| chaos::long(context).into(),
};

/// What `fuzz` does when it is asked for by name: it looks where it has not looked before.
pub(crate) const FUZZ_FRESH: Step = Step {
    name: "fuzz",
    about: "Each fuzz target for ten seconds from its corpus, with a fresh seed",
    run: |context| fuzz::run(context, fuzz::Seed::Fresh).into(),
};

fn floors(context: &Context) -> Result<Outcome, Failure> {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let architecture = read(&context.root.join("docs/architecture.md"));
    let report = floors::check(&context.metadata, &architecture, read);
    Failure::unless_empty("broken floor rules", report.faults)?;
    Ok(Outcome::passed(format!(
        "{} crates, {} edges",
        report.crates, report.edges
    )))
}

fn tidy(context: &Context) -> Result<Outcome, Failure> {
    let tree = tidy::load(&context.root)?;
    let faults = tidy::check(&tree, &context.metadata);
    Failure::unless_empty("untidy places", faults)?;
    Ok(Outcome::passed(format!("{} files", tree.len())))
}
