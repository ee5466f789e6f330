//! `--spiffe`: an identity from the SPIFFE agent of this machine, in the place of the one in files.
//!
//! Whom the files trust is trusted as before; the trust domains that the agent names come on top.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use valkyrie::security::{Live, Trust};
use valkyrie_spiffe::{Workload, WorkloadError, WorkloadState};

use crate::exit::{CliError, Exit};
use crate::out::Notes;

/// Whether to ask an agent.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SpiffeArgs {
    /// Show the X.509-SVID that the SPIFFE agent of this machine gives, and believe the trust domains that it names. The
    /// agent is at ADDRESS, such as unix:/run/spire/agent.sock, or where $SPIFFE_ENDPOINT_SOCKET says.
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        help_heading = "Security"
    )]
    spiffe: Option<String>,
}

impl SpiffeArgs {
    /// Whether an agent is to be asked.
    pub(crate) const fn is_asked(&self) -> bool {
        self.spiffe.is_some()
    }

    /// Asks the agent, if that is wanted, and waits for its first answer. Within a runtime.
    pub(crate) async fn workload(&self, trust: &Live<Trust>) -> Result<Option<Arc<Workload>>, CliError> {
        let Some(address) = &self.spiffe else {
            return Ok(None);
        };
        let address = Some(address.as_str()).filter(|address| !address.is_empty());
        let workload = Workload::connect(address, trust, PATIENCE).await?;
        Ok(Some(Arc::new(workload)))
    }
}

/// What an agent has said since somebody looked last.
pub(crate) struct AgentNews {
    workload: Arc<Workload>,
    seen: WorkloadState,
}

impl AgentNews {
    pub(crate) fn of(workload: Arc<Workload>) -> Self {
        let seen = workload.state();
        Self { workload, seen }
    }

    /// Tells people what is new; whether identity or trust may be others than before.
    pub(crate) fn look(&mut self, notes: Notes) -> bool {
        let state = self.workload.state();
        if state == self.seen {
            return false;
        }
        let answered = state.updates != self.seen.updates;
        let withdrawn = state.trust_domains != self.seen.trust_domains;
        match &state.fault {
            Some(fault) if state.fault != self.seen.fault => notes.warning(fault),
            None if answered => notes.remark(format_args!(
                "the SPIFFE agent has renewed the identity {}, which believes {}",
                state.spiffe_id,
                state.trust_domains.join(", ")
            )),
            _ => {}
        }
        self.seen = state;
        answered || withdrawn
    }
}

impl From<WorkloadError> for CliError {
    fn from(error: WorkloadError) -> Self {
        let described = Self::new(Exit::Local, error.to_string());
        match error {
            WorkloadError::NoAddress => described.hint("write --spiffe=unix:/run/spire/agent.sock, say"),
            _ => described,
        }
    }
}

/// An agent that has just been started, or told of this workload, needs a moment.
const PATIENCE: Duration = Duration::from_secs(10);
