//! Who waits for a lane, and whether there is a point in asking the library about it.
//!
//! A driver that wakes up asks every lane. To ask the library takes the connection's lock and writes the waker down, for each lane
//! again, though all but one have nothing new to say. So each lane has a waker of its own, which notes that it was woken and wakes
//! the driver; a lane that was empty and has not been woken since is empty still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// One lane's.
#[derive(Debug)]
pub(crate) struct Waiter {
    shared: Arc<Shared>,
    /// What the library is given: it wakes `shared`.
    waker: Waker,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The library may have something to say.
    due: bool,
    task: Option<Waker>,
}

impl Waiter {
    /// One of a lane that nobody has asked about.
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared(Mutex::new(State {
            due: true,
            task: None,
        })));
        Self {
            waker: Waker::from(Arc::clone(&shared)),
            shared,
        }
    }

    /// Asks `poll`, unless nothing can have changed since it said `Pending`. The task of `cx` is woken when something has.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let mut state = self.shared.state();
            match &mut state.task {
                Some(task) => task.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            // Whoever wakes the lane from here on is asked for next time.
            if !std::mem::take(&mut state.due) {
                return Poll::Pending;
            }
        }
        let polled = poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            // It has not written the waker down, and may have more.
            self.shared.state().due = true;
        }
        polled
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state();
        state.due = true;
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn a_lane_that_was_empty_is_asked_again_when_it_was_woken() {
        let (waiter, (woken, waker)) = (Waiter::new(), task());
        let mut cx = Context::from_waker(&waker);
        let mut kept = None;
        let asked = waiter.poll(&mut cx, |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(asked.is_pending());
        for _ in 0..3 {
            let asked = waiter.poll(&mut cx, |_| -> Poll<()> { panic!("nothing has changed") });
            assert!(asked.is_pending());
        }
        kept.unwrap().wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(waiter.poll(&mut cx, |_| Poll::Ready(1)), Poll::Ready(1));
        // What had something may have more.
        assert_eq!(waiter.poll(&mut cx, |_| Poll::Ready(2)), Poll::Ready(2));
    }

    #[test]
    fn a_lane_that_is_woken_while_it_is_asked_is_asked_again() {
        let (waiter, (woken, waker)) = (Waiter::new(), task());
        let mut cx = Context::from_waker(&waker);
        let asked = waiter.poll(&mut cx, |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(asked.is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(waiter.poll(&mut cx, |_| Poll::Ready(())), Poll::Ready(()));
    }

    #[test]
    fn whoever_asked_last_is_woken() {
        let (waiter, (first, first_waker), (second, second_waker)) = (Waiter::new(), task(), task());
        let mut kept = None;
        let asked = waiter.poll(&mut Context::from_waker(&first_waker), |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(asked.is_pending());
        let asked = waiter.poll(&mut Context::from_waker(&second_waker), |_| Poll::<()>::Pending);
        assert!(asked.is_pending());
        kept.unwrap().wake();
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }
}
