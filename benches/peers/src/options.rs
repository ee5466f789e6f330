//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::address::Socket;
use crate::contender::Contender;
use crate::scenario::Scenario;

/// Measures Valkyrie beside the libraries that it stands on, the barest RPC, and tonic.
///
/// Exit codes: 0, every figure was taken; 1, the run broke off; 2, a contender failed in some scenario.
#[derive(Clone, Debug, Parser)]
#[command(name = "peers", version)]
pub(crate) struct Options {
    /// Length of one measured window, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,

    /// How often each contender's turn comes in a scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Three rounds of windows of 0.3 s, and 1,000 idle connections instead of 8,000.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only these contenders.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Contender>,

    /// Only scenarios whose name contains one of these, such as `uds/unary/64B/1` or `stream`.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    filter: Vec<String>,

    /// Measure the memory of idle connections as well.
    #[arg(long)]
    pub(crate) idle: bool,

    /// Measure the memory of idle connections and nothing else.
    #[arg(long)]
    pub(crate) idle_only: bool,

    /// How many idle connections.
    #[arg(long, default_value_t = 8000)]
    connections: usize,

    /// Keep the client on the first processor and the server on the second.
    #[arg(long)]
    pub(crate) pin: bool,

    /// Print Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Write every round, the medians, the ratios and the targets to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Be the server of this contender. The driver starts these by itself.
    #[arg(long, value_name = "CONTENDER", hide = true)]
    pub(crate) serve: Option<Contender>,

    /// The kind of socket to serve on.
    #[arg(long, default_value = "tcp", hide = true)]
    pub(crate) socket: Socket,

    /// The redis-server to serve at. The driver starts one by itself.
    #[arg(long, hide = true)]
    pub(crate) broker: Option<SocketAddr>,
}

impl Options {
    /// Length of a measured window.
    pub(crate) fn window(&self) -> Duration {
        let seconds = if self.quick { QUICK_SECONDS } else { self.seconds };
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(LEAST_WINDOW)
            .max(LEAST_WINDOW)
    }

    /// Length of the unmeasured window before it.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.window() / 5).max(LEAST_WINDOW)
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.quick {
            QUICK_ROUNDS
        } else {
            self.rounds.max(1)
        }
    }

    pub(crate) fn connections(&self) -> usize {
        if self.quick {
            self.connections.min(QUICK_CONNECTIONS)
        } else {
            self.connections.max(1)
        }
    }

    /// Who takes part, in the order of their turns.
    pub(crate) fn contenders(&self) -> impl Iterator<Item = Contender> {
        Contender::ALL
            .into_iter()
            .filter(|contender| self.only.is_empty() || self.only.contains(contender))
    }

    pub(crate) fn wants(&self, scenario: &Scenario) -> bool {
        let name = scenario.to_string();
        self.filter.is_empty() || self.filter.iter().any(|text| name.contains(text.as_str()))
    }

    /// The sockets that idle connections are opened over: of those of the system the ones that the filter names, or all.
    pub(crate) fn idle_sockets(&self) -> impl Iterator<Item = Socket> {
        Socket::BARE.into_iter().filter(|socket| {
            let names = |socket: Socket| self.filter.iter().any(|text| text.starts_with(socket.name()));
            names(*socket) || !Socket::BARE.into_iter().any(names)
        })
    }
}

const QUICK_SECONDS: f64 = 0.3;
const QUICK_ROUNDS: usize = 3;
const QUICK_CONNECTIONS: usize = 1000;
/// Shorter windows would measure the start of the run more than the run.
const LEAST_WINDOW: Duration = Duration::from_millis(50);
