//! The sweep: who keeps time for connections that have no timer of their own.
//!
//! A connection for which nothing is due soon has no timer, because idle memory counts. Something has to look at it now
//! and then all the same: for its keepalive, and to give back what a burst has left behind.
//!
//! That is one thread of the process, which sleeps almost all the time, and not a timer of the runtime: as long as a
//! runtime has any timer pending, each of its waits for the network reads the clock and sets up a timeout in the kernel,
//! which costs a call that is alone on the wire a tenth of its time. Where time is paused, it moves only through the
//! runtime's timers, so there the sweep is a task with one.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};

use crate::clock;
use crate::roster::{Roster, TICK};

/// Has a roster swept until nobody is on it any more.
pub(crate) fn begin(roster: &Arc<Roster>) {
    let roster = Arc::downgrade(roster);
    let unswept = if clock::is_paused() {
        Some(roster)
    } else {
        Sweeper::add(roster)
    };
    if let Some(roster) = unswept {
        tokio::spawn(SweepTask { roster, over: false }.run());
    }
}

fn sweep(roster: &Weak<Roster>) -> bool {
    roster.upgrade().is_some_and(|roster| roster.tick(clock::now()))
}

/// The thread of the process, and the rosters that it sweeps: one an endpoint that is in use.
#[derive(Default)]
struct Sweeper {
    rosters: Mutex<Vec<Weak<Roster>>>,
    added: Condvar,
}

impl Sweeper {
    /// Gives a roster to the thread, which begins with the first. `Some` gives it back: the system has no thread to
    /// spare.
    fn add(roster: Weak<Roster>) -> Option<Weak<Roster>> {
        static SWEEPER: OnceLock<Option<Arc<Sweeper>>> = OnceLock::new();
        let sweeper = SWEEPER.get_or_init(|| {
            let sweeper = Arc::new(Self::default());
            let swept = Arc::clone(&sweeper);
            let thread = std::thread::Builder::new().name("valkyrie-sweep".to_owned());
            thread.stack_size(STACK_BYTES).spawn(move || swept.run()).ok()?;
            Some(sweeper)
        });
        let Some(sweeper) = sweeper else {
            return Some(roster);
        };
        sweeper
            .rosters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(roster);
        sweeper.added.notify_one();
        None
    }

    fn run(&self) {
        loop {
            let mut rosters = self.rosters.lock().unwrap_or_else(PoisonError::into_inner);
            while rosters.is_empty() {
                rosters = self.added.wait(rosters).unwrap_or_else(PoisonError::into_inner);
            }
            let swept = std::mem::take(&mut *rosters);
            drop(rosters);
            std::thread::sleep(TICK);
            let mut kept = swept.into_iter().filter(sweep).collect::<Vec<_>>();
            self.rosters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&mut kept);
        }
    }
}

/// The same as a task of the runtime.
struct SweepTask {
    roster: Weak<Roster>,
    over: bool,
}

impl SweepTask {
    async fn run(mut self) {
        while !self.over {
            tokio::time::sleep(TICK).await;
            self.over = !sweep(&self.roster);
        }
    }
}

impl Drop for SweepTask {
    fn drop(&mut self) {
        // A runtime that ends takes the task with it; the next connection on another one begins anew.
        if !self.over
            && let Some(roster) = self.roster.upgrade()
        {
            roster.sweep_ended();
        }
    }
}

/// The thread locks, compares times and wakes; it needs little, and wakers of other executors not much more.
const STACK_BYTES: usize = 128 * 1024;
