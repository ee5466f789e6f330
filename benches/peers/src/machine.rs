//! Where the figures were taken.

use std::fmt;
use std::fs;

use serde::Serialize;

/// What a reader needs to know to judge the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    /// Processes that wanted to run on average over the last minute, before and after the run: above 2 on two
    /// processors, latencies are those of a busy machine.
    load_before: f64,
    load_after: f64,
}

impl Machine {
    /// What this machine says of itself.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned()))
            .unwrap_or_else(|| "unknown processor".to_owned());
        Self {
            processor,
            processors: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load_before: load(),
            load_after: 0.0,
        }
    }

    /// Notes the load at the end of the run.
    pub(crate) fn finish(&mut self) {
        self.load_after = load();
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processor,
            processors,
            kernel,
            load_before,
            load_after,
        } = self;
        write!(f, "{processor}, {processors} processors, {kernel}, ")?;
        write!(f, "load {load_before} before and {load_after} after")
    }
}
