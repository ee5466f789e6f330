//! What each class gets of a full link, over TCP and QUIC: a table, and a plot if a place for one is named.
//!
//! ```text
//! cargo xtask shares
//! cargo run --release -p valkyrie --features quic --example shares -- --seconds 8 --plot docs/book/shares.svg
//! ```
//!
//! Two network namespaces have a cable between them whose rate is limited (`tbf`). One end sends streams of every class as fast as they
//! go; then the highest class falls silent, then the next, so that what a class does not use is seen to flow down. It needs root, `ip`
//! and `tc`, and Linux.

#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;
#[cfg(target_os = "linux")]
mod plot;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;

    let mut arguments = std::env::args().skip(1);
    let (mut seconds, mut place) = (8, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        match &*name {
            "--seconds" => seconds = value.parse()?,
            "--plot" => place = Some(std::path::PathBuf::from(value)),
            _ => return Err(format!("there is no option {name}; there are --seconds and --plot").into()),
        }
    }
    let mut out = std::io::stdout();
    let mut runs = Vec::new();
    for scheme in ["tcp", "quic"] {
        let run = measure::measure(scheme, measure::KBIT, seconds).map_err(|missing| missing.to_string())?;
        writeln!(out, "{}", run.table())?;
        runs.push(run);
    }
    let farthest = runs.iter().map(measure::Run::farthest).fold(0.0, f64::max);
    writeln!(out, "the farthest from the policy: {farthest:.1} points")?;
    if let Some(place) = place {
        std::fs::write(&place, plot::svg(&runs))?;
        writeln!(out, "wrote {}", place.display())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("network namespaces are Linux's".into())
}
