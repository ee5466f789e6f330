//! Runs one scenario: every contender in turn, round after round.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::address::Site;
use crate::broker::Broker;
use crate::contender::Contender;
use crate::cpu;
use crate::failure::Failure;
use crate::load::{Done, Load};
use crate::options::Options;
use crate::scenario::{Scenario, Shape};
use crate::server::{self, ServerProcess};

/// What every contender did in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    pub(crate) contenders: Vec<Turns>,
}

/// One contender's rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Turns {
    pub(crate) contender: Contender,
    /// By round; a round that failed is `None`.
    pub(crate) rounds: Vec<Option<Figures>>,
    /// Why the last failed round failed.
    pub(crate) failure: Option<String>,
}

/// The figures of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Processor seconds of each process for a million messages.
    pub(crate) client_cpu: f64,
    pub(crate) server_cpu: f64,
}

impl Figures {
    fn new(done: &Done, client: Duration, server: Duration) -> Self {
        let messages = done.messages.max(1) as f64;
        let percentile = |quantile: f64| {
            done.latency_ns
                .as_ref()
                .map(|latency| latency.value_at_quantile(quantile) as f64 / 1000.0)
        };
        let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / messages;
        Self {
            messages: done.messages,
            per_second: messages / done.elapsed.as_secs_f64(),
            p50_us: percentile(0.50),
            p99_us: percentile(0.99),
            client_cpu: per_million(client),
            server_cpu: per_million(server),
        }
    }

    /// Processor seconds of both processes for a million messages.
    pub(crate) fn cpu(&self) -> f64 {
        self.client_cpu + self.server_cpu
    }
}

/// Measures a scenario. A contender that fails is noted and does not stop the others.
pub(crate) fn run(
    scenario: Scenario,
    broker: Option<&Broker>,
    options: &Options,
) -> Result<Measured, Failure> {
    if options.pin {
        cpu::pin(cpu::CLIENT_PROCESSOR)?;
    }
    eprintln!("{scenario}");
    let mut contenders: Vec<Turns> = options
        .contenders()
        .filter(|contender| contender.takes_part(&scenario))
        .map(|contender| Turns {
            contender,
            rounds: Vec::new(),
            failure: None,
        })
        .collect();
    let mut servers: Vec<Option<ServerProcess>> = contenders.iter().map(|_| None).collect();
    for _ in 0..options.rounds() {
        for (turns, server) in contenders.iter_mut().zip(&mut servers) {
            let figures = turn(turns.contender, scenario, broker, server, options);
            if let Err(failure) = &figures {
                eprintln!("  {}: {failure}", turns.contender);
                turns.failure = Some(failure.to_string());
                // Whatever state it is in, the next round starts with a new one.
                *server = None;
            }
            turns.rounds.push(figures.ok());
        }
    }
    Ok(Measured { scenario, contenders })
}

/// One window on a new connection: warmed up first, and quiet when the processor times are read.
fn turn(
    contender: Contender,
    scenario: Scenario,
    broker: Option<&Broker>,
    server: &mut Option<ServerProcess>,
    options: &Options,
) -> Result<Figures, Failure> {
    let site = Site {
        socket: scenario.socket,
        broker: broker.map(|broker| broker.address),
    };
    let server = match server {
        Some(running) => running,
        none => none.insert(ServerProcess::start(contender, site, options.pin)?),
    };
    let in_flight = match scenario.shape {
        Shape::Unary { in_flight } | Shape::Echo { in_flight } => in_flight,
        Shape::Stream => 1,
    };
    let payload = Bytes::from(pattern(scenario.payload_bytes));
    let load = |duration| Load {
        duration,
        payload: payload.clone(),
        in_flight,
    };
    let runtime = server::runtime()?;
    runtime.block_on(async {
        let mut client = in_time(PATIENCE, contender.connect(&server.address)).await?;
        let warm_up = load(options.warm_up());
        in_time(warm_up.duration + PATIENCE, client.run(scenario.shape, &warm_up)).await?;
        let window = load(options.window());
        let before = (cpu::used(), serving(server, broker)?);
        let done = in_time(window.duration + PATIENCE, client.run(scenario.shape, &window)).await?;
        let after = (cpu::used(), serving(server, broker)?);
        Ok(Figures::new(
            &done,
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
        ))
    })
}

/// The processor time of all that serves: what a broker does is done for the two ends.
fn serving(server: &mut ServerProcess, broker: Option<&Broker>) -> Result<Duration, Failure> {
    let broker = broker.map(Broker::cpu).transpose()?;
    Ok(server.cpu()? + broker.unwrap_or_default())
}

async fn in_time<T>(limit: Duration, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Stuck(limit)),
    }
}

/// Bytes that differ from each other, so that an answer in the wrong order is noticed.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A window that takes this much longer than it should is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
