//! Who is woken when a link can go on.
//!
//! A link is driven by whoever reads or writes, in their own task. Its descriptors know one waker; this is that waker, and
//! it wakes both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// The one waker of a link.
#[derive(Debug, Default)]
pub(crate) struct Relay(Mutex<[Option<Waker>; 2]>);

/// Which of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Reader,
    /// Who writes, or closes.
    Writer,
}

impl Who {
    fn other(self) -> Self {
        match self {
            Self::Reader => Self::Writer,
            Self::Writer => Self::Reader,
        }
    }
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers who waits.
    pub(crate) fn wait(&self, who: Who, cx: &Context<'_>) {
        let [reader, writer] = &mut *self.lock();
        let place = match who {
            Who::Reader => reader,
            Who::Writer => writer,
        };
        match place {
            Some(known) => known.clone_from(cx.waker()),
            unknown => *unknown = Some(cx.waker().clone()),
        }
    }

    /// Wakes whoever waits beside `who`, who has found something that may be for the other.
    pub(crate) fn wake_other(&self, who: Who) {
        let waker = {
            let [reader, writer] = &mut *self.lock();
            match who.other() {
                Who::Reader => reader.take(),
                Who::Writer => writer.take(),
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = std::mem::take(&mut *self.lock());
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}
