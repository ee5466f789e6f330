//! A workload and what its agent tells it.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use valkyrie_security::provider::StaticKey;
use valkyrie_security::{Identity, Live, Trust};

use crate::agent::Answers;
use crate::fault::{AgentFault, WorkloadError};
use crate::keeper::Keeper;
use crate::state::WorkloadState;

/// A workload that has been given an identity. What it holds is kept up to date as long as it lives; dropped, it leaves
/// identity and trust as they were last.
///
/// An agent that goes away changes nothing: the workload is who it was, believes whom it believed, and connects again when
/// the agent is back. What the agent withdraws is believed no longer: a trust domain that it does not name any more, or
/// all of them when it says that this workload is not registered.
///
/// Bundles are put into the trust that is there. A trust domain that the agent names is the agent's from then on, and goes
/// when the agent does not name it any more, even if it was believed before. Whoever replaces all of
/// the trust takes the agent's bundles out until its next update, unless [`Trust::in_place_of`] is used, as keystores do.
///
/// ```no_run
/// # async fn run() -> Result<(), valkyrie_spiffe::WorkloadError> {
/// use std::time::Duration;
/// use valkyrie_security::security::Security;
/// use valkyrie_security::{Live, Trust};
/// use valkyrie_spiffe::Workload;
///
/// let trust = Live::new(Trust::default());
/// let agent = Some("unix:/run/spire/agent.sock");
/// let workload = Workload::connect(agent, &trust, Duration::from_secs(10)).await?;
/// let security = Security::new(workload.identity().clone(), trust);
/// # let _ = security;
/// # Ok(())
/// # }
/// ```
pub struct Workload {
    identity: Live<Identity>,
    state: watch::Receiver<WorkloadState>,
    follower: JoinHandle<()>,
}

impl Workload {
    /// Asks the agent at `address`, such as `unix:/run/spire/agent.sock`, or where the environment variable
    /// `SPIFFE_ENDPOINT_SOCKET` says. Returns once the workload has an identity and `trust` has the bundles; what else is
    /// in `trust` stays. An agent that is not there yet, or does not know this workload yet, is asked again. The static
    /// key is made here and lives as long as the workload: peers that know it know it again under a new certificate.
    ///
    /// Needs a Tokio runtime with time and I/O, on which it keeps a task.
    ///
    /// # Errors
    /// [`WorkloadError`]: the address is none, or there is no usable identity within `patience`. Trust is unchanged.
    pub async fn connect(
        address: Option<&str>,
        trust: &Live<Trust>,
        patience: Duration,
    ) -> Result<Self, WorkloadError> {
        let mut answers = Answers::new(address)?;
        let static_key = StaticKey::generate().map_err(|_| WorkloadError::Key)?;
        let mut last = AgentFault::Silent;
        let first = async {
            loop {
                let taken = match answers.next().await {
                    Ok(context) => Keeper::new(&context, &static_key, trust),
                    Err(fault) => Err(fault),
                };
                match taken {
                    Ok(keeper) => return Some(keeper),
                    Err(fault) => last = fault,
                }
                if last.is_final() {
                    return None;
                }
            }
        };
        let first = tokio::time::timeout(patience, first).await;
        let Ok(Some(mut keeper)) = first else {
            return Err(WorkloadError::NoIdentity {
                patience,
                fault: last,
            });
        };
        let (identity, state) = (keeper.identity().clone(), keeper.watch());
        let follower = tokio::spawn(async move {
            loop {
                match answers.next().await {
                    Ok(context) => keeper.take(&context),
                    Err(fault) => {
                        let last = fault.is_final();
                        keeper.note(fault);
                        if last {
                            break;
                        }
                    }
                }
            }
        });
        Ok(Self {
            identity,
            state,
            follower,
        })
    }

    /// The identity, which is replaced when the agent renews it.
    pub const fn identity(&self) -> &Live<Identity> {
        &self.identity
    }

    /// What it knows of its agent now.
    pub fn state(&self) -> WorkloadState {
        self.state.borrow().clone()
    }

    /// Waits for a state that fits, and returns it; the last one, when nothing more comes.
    pub async fn wait_for(&self, fits: impl FnMut(&WorkloadState) -> bool) -> WorkloadState {
        let mut watched = self.state.clone();
        if let Ok(state) = watched.wait_for(fits).await {
            return state.clone();
        }
        self.state()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
