//! Handlers of requests and notifications, started in the reading pass without an allocation.
//!
//! A handler's future is put into a box that was used before, polled once in place, and if it is ready (most are) the
//! box is used again. Only a future that has to wait keeps its box and becomes a task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, TryLockError};
use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use pin_project_lite::pin_project;
use valkyrie_frame::ErrorCode;
use valkyrie_proto::Failure;

use crate::{Context, clock, worker};

/// What a handler answers. Notifications answer nothing, which is the empty payload.
pub(crate) type Answer = Result<Bytes, Failure>;

/// A handler that did not answer at once.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a handler's first poll ended.
pub(crate) enum Started {
    Answered(Answer),
    /// The handler panicked; nobody else is hurt.
    Panicked,
    Waits(Running),
}

/// A handler behind `dyn`, started once a message.
pub(crate) trait Handler: Send + Sync {
    fn start(&self, context: Context, payload: Bytes, deadline: Option<Instant>) -> Started;
}

/// What a handler's future may end with.
pub(crate) trait IntoAnswer {
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for Answer {
    #[inline]
    fn into_answer(self) -> Answer {
        self
    }
}

impl IntoAnswer for () {
    #[inline]
    fn into_answer(self) -> Answer {
        Ok(Bytes::new())
    }
}

pin_project! {
    /// A place for a future that can be used again.
    struct Place<Fut> {
        #[pin]
        future: Option<Fut>,
    }
}

impl<Fut> Future for Place<Fut>
where
    Fut: Future<Output: IntoAnswer>,
{
    type Output = Answer;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Answer> {
        match self.project().future.as_pin_mut() {
            Some(future) => future.poll(cx).map(IntoAnswer::into_answer),
            None => Poll::Pending,
        }
    }
}

/// A place that is kept for the next message.
type Kept<Fut> = Mutex<Option<Pin<Box<Place<Fut>>>>>;

/// A function of the application with the places its futures are polled in.
pub(crate) struct Pooled<F, Fut> {
    function: F,
    /// One a worker thread, more or less. A stripe that is taken is not waited for: a new box is made instead.
    stripes: [Kept<Fut>; STRIPES],
}

impl<F, Fut> Pooled<F, Fut> {
    pub(crate) fn new(function: F) -> Self {
        Self {
            function,
            stripes: std::array::from_fn(|_| Mutex::new(None)),
        }
    }
}

impl<F, Fut> Handler for Pooled<F, Fut>
where
    F: Fn(Context, Bytes) -> Fut + Send + Sync,
    Fut: Future<Output: IntoAnswer> + Send + 'static,
{
    fn start(&self, context: Context, payload: Bytes, deadline: Option<Instant>) -> Started {
        let mut stripe = match self.stripes[worker::index() % STRIPES].try_lock() {
            Ok(stripe) => Some(stripe),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut place = stripe
            .as_mut()
            .and_then(|stripe| stripe.take())
            .unwrap_or_else(|| Box::pin(Place { future: None }));
        let polled = clock::with_deadline(deadline, || {
            catch_unwind(AssertUnwindSafe(|| {
                place
                    .as_mut()
                    .project()
                    .future
                    .set(Some((self.function)(context, payload)));
                // A future that has to wait is polled again by its own task, with that task's waker.
                let polled = place
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(Waker::noop()));
                if polled.is_ready() {
                    place.as_mut().project().future.set(None);
                }
                polled
            }))
        });
        match polled {
            Ok(Poll::Ready(answer)) => {
                if let Some(stripe) = &mut stripe {
                    **stripe = Some(place);
                }
                Started::Answered(answer)
            }
            Ok(Poll::Pending) => Started::Waits(place),
            Err(_) => {
                drop_quietly(place);
                Started::Panicked
            }
        }
    }
}

/// Polls a handler that waited. A panic is an answer.
pub(crate) fn poll_running<T>(
    running: &mut Pin<Box<dyn Future<Output = T> + Send>>,
    cx: &mut std::task::Context<'_>,
    deadline: Option<Instant>,
) -> Result<Poll<T>, Panicked> {
    clock::with_deadline(deadline, || {
        catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))).map_err(|_| Panicked)
    })
}

/// Drops what belongs to a handler: its destructors may panic as well.
pub(crate) fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// A handler panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Panicked {
    /// What the caller is told.
    pub(crate) fn failure() -> Failure {
        Failure::new(ErrorCode::HANDLER_PANICKED, "the handler panicked")
    }
}

/// As many as worker threads commonly serve one method at the same moment; a few words each.
const STRIPES: usize = 8;
