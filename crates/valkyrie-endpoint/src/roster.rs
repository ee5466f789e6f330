//! The live connections of an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::continuity::Sessions;
use crate::driver::SOON;
use crate::secure::Secure;
use crate::shaping::Shaping;
use crate::shared::Shared;
use crate::{clock, sweep};

/// Who is connected. Shared by the endpoint and every connection of it.
#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
    connections_max: usize,
    secure: Arc<Secure>,
    /// Sessions that peers began and may continue.
    pub(crate) sessions: Sessions,
    /// How many calls are in progress, and who is refused.
    pub(crate) admission: Admission,
    /// What of the link below each may have.
    pub(crate) shaping: Arc<Shaping>,
}

#[derive(Debug, Default)]
struct State {
    live: HashMap<u64, Arc<Shared>>,
    next: u64,
    /// Somebody keeps time for the idle ones.
    swept: bool,
    /// Connections that were in use and have not fallen asleep since, each once.
    awake: Vec<Arc<Shared>>,
    /// Ticks since the last sweep over everybody.
    ticks: u32,
    /// The trust that everybody was last judged by.
    trust_version: u64,
    /// The policy that everybody was last told of.
    policy_version: u64,
}

impl Roster {
    pub(crate) fn new(connections_max: usize, secure: Arc<Secure>) -> Self {
        Self {
            state: Mutex::default(),
            connections_max,
            secure,
            sessions: Sessions::default(),
            admission: Admission::new(clock::now()),
            shaping: Arc::default(),
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

    /// Whether one more connection may begin, for now.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().live.len() < self.connections_max
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

    /// Notes that a connection has more than an idle one needs.
    pub(crate) fn awake(&self, shared: &Arc<Shared>) {
        self.lock().awake.push(Arc::clone(shared));
    }

    /// Does what the time asks for, [`TICK`] after the last time: sessions that have fallen idle give back what they
    /// do not need, and every so often everybody is looked at. `false` when nobody is connected: then ticking is over
    /// until it begins anew.
    pub(crate) fn tick(&self, now: Instant) -> bool {
        let idle = now.checked_sub(TICK).unwrap_or(now);
        let mut state = self.lock();
        if state.live.is_empty() {
            state.swept = false;
            state.awake = Vec::new();
            return false;
        }
        let awake = std::mem::take(&mut state.awake);
        state.ticks += 1;
        let sweeps = state.ticks >= SWEEP_TICKS;
        if sweeps {
            state.ticks = 0;
        }
        drop(state);
        // Only those are looked at that were in use, so that a node of many idle connections has little to do.
        let mut still = awake
            .into_iter()
            .filter(|shared| !shared.falls_asleep(idle))
            .collect::<Vec<_>>();
        self.lock().awake.append(&mut still);
        if sweeps {
            self.sweep(now, now + SOON);
        }
        true
    }

    /// Wakes the drivers for which something is due before `horizon`, and all of them when there is a new policy: a
    /// stream on which nothing happens has to end as well. Those whose peers are not to be believed any more are
    /// closed.
    fn sweep(&self, now: Instant, horizon: Instant) {
        let unix = clock::unix_now();
        let mut state = self.lock();
        let (trust_version, policy_version) = self.secure.versions();
        let judges = std::mem::replace(&mut state.trust_version, trust_version) != trust_version;
        let tells = std::mem::replace(&mut state.policy_version, policy_version) != policy_version;
        let mut drivers = Vec::new();
        let mut suspects = Vec::new();
        for shared in state.live.values() {
            if judges || shared.guard.is_over(now, unix) {
                suspects.push(Arc::clone(shared));
            }
            let core = shared.lock();
            let due = core.session.poll_timeout();
            let due = due.is_some_and(|at| at <= horizon && core.armed.is_none_or(|armed| at < armed));
            if due || tells {
                drivers.extend(core.driver.clone());
            }
        }
        drop(state);
        drivers.into_iter().for_each(Waker::wake);
        if suspects.is_empty() {
            return;
        }
        let trust = self.secure.security.trust().load();
        for shared in suspects {
            if let Some(failure) = shared.guard.dismissal(&trust, now, unix) {
                shared.dismiss(failure);
            }
        }
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

/// The time between two looks at the sessions in use. One that has heard nothing for as long goes to sleep, early
/// enough that a wave of new connections finds the memory of those before it.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Ticks between two looks at everybody: half of [`SOON`], so that nothing becomes due without having been seen.
const SWEEP_TICKS: u32 = (SOON.as_millis() / 2 / TICK.as_millis()) as u32;
