//! Flow control by class on real links, over TCP and QUIC: tables, and a plot if a place for one is named.
//!
//! ```text
//! cargo xtask flow
//! cargo run --release -p valkyrie --features full --example flow -- --seconds 5 --plot docs/book/flow.svg
//! ```
//!
//! Network namespaces have a cable between them whose rate is limited (`tbf`). Data beside a TCP connection of somebody else's; one job stream
//! over a long path; bulk that is too much; critical messages on a full link; several connections that know what the link carries.
//! `--only yield,growth,drops,delay,shaper` names which, and `--over tcp,ws,http,quic` over what: without it TCP and QUIC. It needs root, `ip`
//! and `tc`, and Linux.

#[cfg(target_os = "linux")]
mod delay;
#[cfg(target_os = "linux")]
#[path = "../support/ends.rs"]
mod ends;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod measure_delay;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the test")]
mod measure_drops;
#[cfg(target_os = "linux")]
mod measure_growth;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the test")]
mod measure_shaper;
#[cfg(target_os = "linux")]
mod measure_yield;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;
#[cfg(target_os = "linux")]
mod plot;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;

    let options = Options::read(std::env::args().skip(1))?;
    let mut out = std::io::stdout();
    let measured = measured(&options).map_err(|missing| missing.to_string())?;
    for table in measured.tables() {
        writeln!(out, "{table}")?;
    }
    if let Some(place) = options.plot {
        std::fs::write(&place, plot::svg(&measured.yields, &measured.growths))?;
        writeln!(out, "wrote {}", place.display())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("network namespaces are Linux's".into())
}

#[cfg(target_os = "linux")]
#[derive(Default)]
struct Measured {
    yields: Vec<measure_yield::Run>,
    growths: Vec<measure_growth::Run>,
    drops: Vec<measure_drops::Run>,
    delays: Vec<measure_delay::Run>,
    shapers: Vec<measure_shaper::Run>,
}

#[cfg(target_os = "linux")]
impl Measured {
    fn tables(&self) -> Vec<String> {
        let mut tables = vec![
            (self.yields.len(), measure_yield::table(&self.yields)),
            (self.growths.len(), measure_growth::table(&self.growths)),
            (self.drops.len(), measure_drops::table(&self.drops)),
            (
                self.delays.len(),
                measure_delay::table(&self.delays, measure_delay::NETWORK),
            ),
            (self.shapers.len(), measure_shaper::table(&self.shapers)),
        ];
        tables.retain(|&(runs, _)| runs > 0);
        tables.into_iter().map(|(_, table)| table).collect()
    }
}

#[cfg(target_os = "linux")]
fn measured(options: &Options) -> Result<Measured, netns::Missing> {
    use measure::Network;
    use measure_delay::Load;
    use valkyrie::Class;

    let mut measured = Measured::default();
    let seconds = options.seconds;
    if options.wants("yield") {
        let network = measure_yield::NETWORK;
        let alone = measure_yield::measure("tcp", None, network, seconds)?;
        measured.yields.push(alone);
        for scheme in options.schemes() {
            for class in [Class::Job, Class::Data] {
                let run = measure_yield::measure(scheme, Some(class), network, seconds)?;
                measured.yields.push(run);
            }
        }
    }
    if options.wants("growth") {
        for scheme in options.schemes() {
            for grows in [false, true] {
                let network = measure_growth::NETWORK;
                let run = measure_growth::measure(scheme, grows, network, seconds)?;
                measured.growths.push(run);
            }
        }
    }
    if options.wants("drops") {
        for scheme in options.schemes() {
            let run = measure_drops::measure(scheme, measure_yield::NETWORK, seconds)?;
            measured.drops.push(run);
        }
    }
    if options.wants("delay") {
        let schemes = options.schemes();
        for (scheme, control) in CONTROLS
            .into_iter()
            .filter(|(scheme, _)| schemes.contains(scheme))
        {
            for load in [Load::Idle, Load::Full, Load::Shaped] {
                let network = Network {
                    control,
                    ..measure_delay::NETWORK
                };
                measured
                    .delays
                    .push(measure_delay::measure(scheme, load, network, seconds)?);
            }
        }
    }
    if options.wants("shaper") {
        for scheme in options.schemes() {
            let run = measure_shaper::measure(scheme, measure_delay::NETWORK, seconds)?;
            measured.shapers.push(run);
        }
    }
    Ok(measured)
}

#[cfg(target_os = "linux")]
struct Options {
    seconds: u64,
    plot: Option<std::path::PathBuf>,
    only: Option<String>,
    over: Option<String>,
}

#[cfg(target_os = "linux")]
impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            seconds: 5,
            plot: None,
            only: None,
            over: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match &*name {
                "--seconds" => {
                    let seconds = value.parse().ok().filter(|&seconds| seconds >= 2);
                    options.seconds = seconds.ok_or(format!("{value} is no number of seconds above 1"))?;
                }
                "--plot" => options.plot = Some(value.into()),
                "--only" => options.only = Some(value),
                "--over" => {
                    if let Some(unknown) = value.split(',').find(|name| !ALL_SCHEMES.contains(name)) {
                        return Err(format!("{unknown} is none of {}", ALL_SCHEMES.join(", ")));
                    }
                    options.over = Some(value);
                }
                _ => {
                    return Err(format!(
                        "there is no option {name}; there are --seconds, --plot, --only and --over"
                    ));
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| only.split(',').any(|wanted| wanted == name))
    }

    /// Over what is measured.
    fn schemes(&self) -> Vec<&'static str> {
        let over = self.over.as_deref().unwrap_or(SCHEMES);
        let is_named = |scheme: &&str| over.split(',').any(|name| name == *scheme);
        ALL_SCHEMES.into_iter().filter(is_named).collect()
    }
}

/// Over what is measured where nothing is said.
#[cfg(target_os = "linux")]
const SCHEMES: &str = "tcp,quic";

/// Over what can be measured, in the order of the tables.
#[cfg(target_os = "linux")]
const ALL_SCHEMES: [&str; 4] = ["tcp", "ws", "http", "quic"];

/// What holds TCP back below each. QUIC has its own.
#[cfg(target_os = "linux")]
const CONTROLS: [(&str, &str); 7] = [
    ("tcp", "cubic"),
    ("tcp", "bbr"),
    ("ws", "cubic"),
    ("ws", "bbr"),
    ("http", "cubic"),
    ("http", "bbr"),
    ("quic", "cubic"),
];
