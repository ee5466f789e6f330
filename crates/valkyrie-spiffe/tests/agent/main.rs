//! A workload against an agent that speaks the Workload API over a Unix socket, as the SPIFFE specification lays it out.
//!
//! The agent here is ours, and small: it gives what a test puts into it. No agent of SPIRE ran in these tests.

mod agent;
mod environment;
mod faults;

mod meeting;
mod rotation;

use std::time::Duration;

use valkyrie_security::{Live, Trust};
use valkyrie_spiffe::{Workload, WorkloadError, WorkloadState};

use crate::agent::Agent;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

const RUNNER: &str = "spiffe://example.org/ci/runner";
const STORE: &str = "spiffe://example.org/ci/store";

/// A workload and whom it believes.
struct Node {
    workload: Workload,
    trust: Live<Trust>,
}

impl Node {
    async fn of(agent: &Agent) -> Self {
        let trust = Live::new(Trust::default());
        let workload = connect(agent, &trust).await.expect("the agent gives an identity");
        Self { workload, trust }
    }

    /// Waits for a state that fits.
    async fn until(&self, fits: impl FnMut(&WorkloadState) -> bool) -> WorkloadState {
        let waiting = self.workload.wait_for(fits);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(state) => state,
            Err(_) => panic!("still {:?}", self.workload.state()),
        }
    }
}

async fn connect(agent: &Agent, trust: &Live<Trust>) -> Result<Workload, WorkloadError> {
    Workload::connect(Some(&agent.address()), trust, PATIENCE).await
}
