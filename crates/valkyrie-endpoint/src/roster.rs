//! The live connections of an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::shared::Shared;
use crate::sweep;

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
    /// Somebody keeps time for the idle ones.
    swept: bool,
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

    /// Adds a connection, and has the roster swept from the first on.
    pub(crate) fn insert(self: &Arc<Self>, shared: Arc<Shared>) {
        let mut state = self.lock();
        state.live.insert(shared.id, shared);
        let first = !std::mem::replace(&mut state.swept, true);
        drop(state);
        if first {
            sweep::begin(self);
        }
    }

    /// Wakes the drivers for which something is due before `horizon`, and has what fell idle before `idle` give back
    /// what it does not need. `false` when nobody is connected: then the sweep is over until it begins anew.
    pub(crate) fn sweep(&self, idle: Instant, horizon: Instant) -> bool {
        let mut state = self.lock();
        if state.live.is_empty() {
            state.swept = false;
            return false;
        }
        let mut drivers = Vec::new();
        for shared in state.live.values() {
            let mut core = shared.lock();
            if core.session.idle_since() < idle {
                core.shrink();
            }
            let due = core.session.poll_timeout();
            if due.is_some_and(|at| at <= horizon && core.armed.is_none_or(|armed| at < armed)) {
                drivers.extend(core.driver.clone());
            }
        }
        drop(state);
        drivers.into_iter().for_each(Waker::wake);
        true
    }

    /// Whoever swept is gone; the next connection finds another.
    pub(crate) fn sweep_ended(&self) {
        self.lock().swept = false;
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
