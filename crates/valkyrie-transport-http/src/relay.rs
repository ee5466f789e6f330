//! Who is woken when the connection can go on.
//!
//! The connection below a link is driven by whoever reads or writes, in their own task, so that a message takes no hop
//! through another. The socket knows one waker; this is that waker, and it wakes those who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// The one waker of a connection.
#[derive(Debug, Default)]
pub(crate) struct Relay(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    pusher: Option<Waker>,
    /// Somebody is at the connection and will look at `noted` before leaving.
    held: bool,
    noted: bool,
    /// Something was noted or passed on since the connection was last looked at.
    stirred: bool,
}

/// Which of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Reader,
    Writer,
    Pusher,
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on wakes are noted instead of passed on.
    pub(crate) fn hold(&self) {
        self.lock().held = true;
    }

    /// The connection is about to be looked at, which answers whatever was noted.
    pub(crate) fn look(&self) {
        let mut waiting = self.lock();
        waiting.noted = false;
        waiting.stirred = false;
    }

    /// Whether there was a wake since [`look`](Self::look), whoever got it.
    pub(crate) fn is_stirred(&self) -> bool {
        self.lock().stirred
    }

    /// Whether there was something to note since the last time.
    pub(crate) fn take_noted(&self) -> bool {
        std::mem::take(&mut self.lock().noted)
    }

    /// Passes wakes on again, those that were noted first.
    pub(crate) fn release(&self) {
        let mut waiting = self.lock();
        waiting.held = false;
        if std::mem::take(&mut waiting.noted) {
            wake_all(waiting);
        }
    }

    /// Remembers who waits.
    pub(crate) fn wait(&self, who: Who, cx: &Context<'_>) {
        let mut waiting = self.lock();
        let place = waiting.place(who);
        match place {
            Some(known) => known.clone_from(cx.waker()),
            unknown => *unknown = Some(cx.waker().clone()),
        }
    }

    /// Whether `who` waits.
    pub(crate) fn waits(&self, who: Who) -> bool {
        self.lock().place(who).is_some()
    }

    /// Wakes one of them, whoever is at the connection.
    pub(crate) fn wake(&self, who: Who) {
        let waker = self.lock().place(who).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waiting {
    fn place(&mut self, who: Who) -> &mut Option<Waker> {
        match who {
            Who::Reader => &mut self.reader,
            Who::Writer => &mut self.writer,
            Who::Pusher => &mut self.pusher,
        }
    }
}

fn wake_all(mut waiting: MutexGuard<'_, Waiting>) {
    let wakers = [
        waiting.reader.take(),
        waiting.writer.take(),
        waiting.pusher.take(),
    ];
    drop(waiting);
    for waker in wakers.into_iter().flatten() {
        waker.wake();
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = self.lock();
        waiting.stirred = true;
        match waiting.held {
            true => waiting.noted = true,
            false => wake_all(waiting),
        }
    }
}
