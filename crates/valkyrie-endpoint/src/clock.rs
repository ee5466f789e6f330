//! The one place where time is read, and the deadline that nested calls inherit.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use valkyrie_security::UnixTime;

/// Now, on the clock of the runtime: tests that pause tokio's clock pause ours with it.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What the calendar says.
pub(crate) fn unix_now() -> UnixTime {
    SystemTime::now().into()
}

/// Whether the runtime's clock stands still between its own timers, which only tests ask for.
///
/// Nothing tells, so it is watched while the machine's clock moves. A clock that is paused later than that is not found
/// out: pause it before the first connection.
pub(crate) fn is_paused() -> bool {
    let (before, begun) = (now(), Instant::now());
    while begun.elapsed() < NOTICEABLE {
        std::hint::spin_loop();
    }
    now() == before
}

/// Many steps of any monotonic clock in use.
const NOTICEABLE: Duration = Duration::from_micros(5);

thread_local! {
    /// The deadline of the handler that is being polled on this thread. It is set around each poll, so it is
    /// right wherever the handler's task happens to run.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `body` with `deadline` as what calls made inside inherit.
#[inline]
pub(crate) fn with_deadline<R>(deadline: Option<Instant>, body: impl FnOnce() -> R) -> R {
    /// Puts the outer deadline back even when `body` panics.
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEADLINE.set(self.0);
        }
    }
    let _restore = Restore(DEADLINE.replace(deadline));
    body()
}

/// What is left of the deadline of the handler that this is called in, or nothing where there is none. Calls and streams begun
/// in a handler keep to it by themselves; this is for what waits before it begins one. Meaningful only while a handler's future
/// is being polled, not in tasks that it spawned.
pub fn remaining() -> Option<Duration> {
    DEADLINE
        .get()
        .map(|deadline| deadline.saturating_duration_since(now()))
}

/// What a call may take: the caller's own wish or what is left of the handler's deadline, the shorter; and the time that
/// it counts from. Without either the clock is not read and `seen`, some recent time, does.
#[inline]
pub(crate) fn allowance(wish: Option<Duration>, seen: Instant) -> (Instant, Option<Duration>) {
    let inherited = DEADLINE.get();
    if wish.is_none() && inherited.is_none() {
        return (seen, None);
    }
    let now = now();
    let inherited = inherited.map(|deadline| deadline.saturating_duration_since(now));
    let shorter = match (wish, inherited) {
        (Some(wish), Some(inherited)) => Some(wish.min(inherited)),
        (wish, inherited) => wish.or(inherited),
    };
    (now, shorter)
}
