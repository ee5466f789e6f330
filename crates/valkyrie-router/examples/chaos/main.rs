//! Three etcd servers, six nodes and a client in network namespaces of their own, killed, stopped and cut off from each other while the
//! client calls and registers: is any acknowledged registration lost, does any call run twice, and how long does it hurt?
//!
//! ```text
//! cargo xtask chaos
//! cargo run --release -p valkyrie-router --features chaos --example chaos -- --seconds 600 --plot docs/book/chaos.svg
//! ```
//!
//! It needs root, `ip`, `iptables` and `etcd`, and Linux. `--seed N` repeats a schedule. What cannot be had here is said, and the
//! program ends with 3.

mod client;
mod network;
mod node;
mod plot;
mod schedule;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use valkyrie_registry::agent::Word;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    let done = match first.as_deref() {
        Some("node") => node::run(&arguments.collect::<Vec<_>>()),
        Some("client") => client::run(&arguments.collect::<Vec<_>>()),
        _ => Options::read(first.into_iter().chain(arguments)).and_then(|options| schedule::run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let missing = error.is::<network::Missing>();
            say(&format!(
                "{}: {error}",
                if missing { "not possible here" } else { "failed" }
            ));
            ExitCode::from(if missing { MISSING } else { 1 })
        }
    }
}

/// What is asked on the command line.
struct Options {
    seconds: u64,
    seed: u64,
    plot: Option<PathBuf>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            seconds: 60,
            seed: 1,
            plot: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match &*name {
                "--seconds" => options.seconds = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--plot" => options.plot = Some(value.into()),
                _ => {
                    return Err(
                        format!("there is no option {name}; there are --seconds, --seed and --plot").into(),
                    );
                }
            }
        }
        if options.seconds < SECONDS_MIN {
            return Err(format!("--seconds is at least {SECONDS_MIN}").into());
        }
        Ok(options)
    }
}

/// `--name value` pairs of a role.
fn pairs(arguments: &[String]) -> HashMap<&str, &str> {
    let pairs = arguments.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].trim_start_matches("--"), &*pair[1]))
        .collect()
}

fn word(text: &str) -> Word {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a word"))
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn say(line: &str) {
    println!("{line}");
}

/// What all registrations are part of.
const CLUSTER: &str = "chaos";
/// The lease of a node: as long as a crash may go unnoticed by the registry.
const TTL: Duration = Duration::from_secs(3);
/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long everything is left in peace before it is judged.
const PEACE: Duration = Duration::from_secs(15);
/// Peace, and time for a few faults.
const SECONDS_MIN: u64 = 30;
/// The exit code of a machine that cannot do this.
const MISSING: u8 = 3;
