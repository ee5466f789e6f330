//! The live connections of an endpoint, and the sweep that keeps time for the idle ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock;
use crate::driver::SOON;
use crate::shared::Shared;

/// Who is connected. Shared by the endpoint and every connection of it.
#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
    connections_max: usize,
}

#[derive(Debug, Default)]
struct State {
    live: HashMap<u64, Arc<Shared>>,
    next: u64,
    sweeping: bool,
}

impl Roster {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            connections_max,
        }
    }

    /// The number of the next connection, or `None` when there are as many as are allowed.
    pub(crate) fn place(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.live.len() >= self.connections_max {
            return None;
        }
        state.next += 1;
        Some(state.next)
    }

    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Adds a connection, and begins to sweep with the first.
    pub(crate) fn insert(self: &Arc<Self>, shared: Arc<Shared>) {
        let mut state = self.lock();
        state.live.insert(shared.id, shared);
        if !state.sweeping {
            state.sweeping = true;
            drop(state);
            let sweep = Sweep {
                roster: Arc::downgrade(self),
            };
            tokio::spawn(sweep.run());
        }
    }

    pub(crate) fn remove(roster: &Arc<Self>, id: u64) {
        let removed = roster.lock().live.remove(&id);
        drop(removed);
    }

    /// Everybody who is connected now.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Shared>> {
        self.lock().live.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is one insertion or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Walks over the connections now and then and wakes the drivers for which something is due soon. One task an endpoint
/// instead of one timer a connection; it ends when nobody is connected.
struct Sweep {
    roster: Weak<Roster>,
}

impl Sweep {
    async fn run(self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let Some(roster) = self.roster.upgrade() else {
                return;
            };
            let live = {
                let mut state = roster.lock();
                if state.live.is_empty() {
                    state.sweeping = false;
                    return;
                }
                state.live.values().cloned().collect::<Vec<_>>()
            };
            let now = clock::now();
            let horizon = now + SOON;
            for shared in live {
                let driver = {
                    let mut core = shared.lock();
                    if core.session.idle_since() + SOON < now {
                        core.shrink();
                    }
                    let due = core
                        .session
                        .poll_timeout()
                        .is_some_and(|at| at <= horizon && core.armed.is_none_or(|armed| at < armed));
                    if due { core.driver.clone() } else { None }
                };
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        // A runtime that ends takes the sweep with it; the next connection on another one starts it anew.
        if let Some(roster) = self.roster.upgrade() {
            roster.lock().sweeping = false;
        }
    }
}

/// Half of [`SOON`], so that nothing becomes due between two sweeps without having been seen.
const SWEEP_INTERVAL: Duration = Duration::from_millis(SOON.as_millis() as u64 / 2);
