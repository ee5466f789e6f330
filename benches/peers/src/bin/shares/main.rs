//! What each class gets of a full link with Valkyrie over TCP and QUIC, and what flows get with tonic and NATS, which know no classes:
//! tables, and a plot if a place for one is named.
//!
//! ```text
//! cargo xtask shares
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin shares -- --seconds 6 --plot docs/book/shares.svg
//! ```
//!
//! Two network namespaces have a cable between them whose rate is limited (`tbf`). One end sends four flows as fast as they go; then
//! the first falls silent, then the next, so that what one does not use is seen to go to the others. Beside all four a small call is
//! made every 20 ms. It needs root, `ip` and `tc`, and Linux; without `nats-server` it says so and measures the rest. Read `measure.rs`
//! first.

#[cfg(target_os = "linux")]
#[path = "../../contender/tonic/codec.rs"]
mod codec;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod nats;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../../../../crates/valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod tonic;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use clap::Parser;

    /// Measures what four flows get of a full link.
    #[derive(Parser)]
    struct Options {
        /// Seconds of each of the four phases, of which the first is not counted.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(2..=12))]
        seconds: u64,
        /// Where to write the plot.
        #[arg(long)]
        plot: Option<std::path::PathBuf>,
    }

    let Options { seconds, plot } = Options::parse();
    let mut runs = Vec::new();
    let mut keep = |run: measure::Run| {
        println!("{}", run.table());
        runs.push(run);
    };
    let missing = |missing: netns::Missing| missing.to_string();
    for scheme in ["tcp", "quic"] {
        keep(measure::measure(scheme, measure::KBIT, seconds).map_err(missing)?);
    }
    keep(tonic::measure(measure::KBIT, seconds).map_err(missing)?);
    match nats::measure(measure::KBIT, seconds) {
        Ok(run) => keep(run),
        Err(nats::Failure::NoServer) => println!("there is no {}: NATS is not measured\n", nats::PROGRAM),
        Err(failure) => return Err(failure.to_string().into()),
    }
    let farthest = runs.iter().filter_map(measure::Run::farthest).fold(0.0, f64::max);
    println!("the farthest from the policy: {farthest:.1} points");
    if let Some(place) = plot {
        std::fs::write(&place, plot::svg(&runs))?;
        println!("wrote {}", place.display());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("network namespaces are Linux's".into())
}
