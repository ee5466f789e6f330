//! A workload that is given an identity, and given it anew.
//!
//!     cargo run -p valkyrie-spiffe --example workload
//!     cargo run -p valkyrie-spiffe --example workload unix:/run/spire/agent.sock
//!
//! With the address of an agent it tells what that agent sends until it is interrupted. Without one it starts the small
//! agent that the tests use, which renews the identity once.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use valkyrie_security::{Live, Trust};
use valkyrie_spiffe::{Workload, WorkloadState};

use crate::agent::{Agent, Authority, Given};

#[path = "../tests/agent/agent.rs"]
#[expect(dead_code, reason = "tests want more of their agent")]
mod agent;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(address) => watch(&address).await,
        None => renew().await,
    }
}

async fn watch(address: &str) -> Result<(), Box<dyn Error>> {
    let trust = Live::new(Trust::default());
    let workload = Workload::connect(Some(address), &trust, PATIENCE).await?;
    let mut told = workload.state();
    tell(&told)?;
    while !told.ended {
        tokio::select! {
            state = workload.wait_for(|state| *state != told) => told = state,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        }
        tell(&told)?;
    }
    Ok(())
}

async fn renew() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new();
    let id = "spiffe://example.org/ci/runner";
    let agent = Agent::start(Given::until(&authority, id, 2041));
    let trust = Live::new(Trust::default());
    let workload = Workload::connect(Some(&agent.address()), &trust, PATIENCE).await?;
    tell(&workload.state())?;
    agent.give(Given::until(&authority, id, 2042).federated("abroad.example", &Authority::new()));
    tell(&workload.wait_for(|state| state.updates == 2).await)?;
    Ok(())
}

fn tell(state: &WorkloadState) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{} until {}", state.spiffe_id, state.not_after)?;
    writeln!(out, "    believes {}", state.trust_domains.join(", "))?;
    match &state.fault {
        Some(fault) => writeln!(out, "    {fault}"),
        None => Ok(()),
    }
}

/// An agent that is there answers at once.
const PATIENCE: Duration = Duration::from_secs(10);
