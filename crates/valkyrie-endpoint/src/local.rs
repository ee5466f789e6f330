//! Calls to the services of this process, made as the peer of a connection, and not over it.
//!
//! An adapter to another protocol authenticates its client by a connection like any other and then has, for each of the
//! client's requests, nothing to do but to run a handler that is in the same process. What a session would add to that is a frame
//! each way, two tasks to wake and a record to seal twice. What it decides before a handler runs, and how a handler is stopped,
//! is the same here: the peer's grant, its rates, admission, deadline, cancellation, a panic that hurts nobody.
//!
//! What is of the session alone is absent: no credit, no lanes, no number of calls in flight. Whoever calls bounds that.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};
use valkyrie_frame::{Class, Extensions, Kind, StreamId};
use valkyrie_proto::Failure;
use valkyrie_security::policy::Grant;

use crate::call::closed_before;
use crate::context::Subject;
use crate::driver::not_served;
use crate::handler::{Answer, Panicked, Running, Started, drop_quietly, poll_running};
use crate::method::with_trace;
use crate::services::Serve;
use crate::shared::{Counters, Shared};
use crate::{CallError, Connection, Context, Method, Verified, clock};

/// Makes calls to this endpoint's services as the peer of one of its connections.
///
/// It keeps no connection open: once that has ended, for whatever reason, calls are refused and those in progress are stopped.
pub struct LocalCaller {
    shared: Arc<Shared>,
    /// What the peer may do, as the policy was when this was last looked at.
    grant: RwLock<Grant>,
}

impl LocalCaller {
    pub(crate) fn new(connection: &Connection) -> Self {
        let shared = Arc::clone(connection.shared());
        let grant = RwLock::new(shared.guard.grant(clock::now()));
        Self { shared, grant }
    }

    /// As whom calls are made.
    pub fn identity(&self) -> &Verified {
        self.shared.guard.identity()
    }

    /// Whether the connection has ended, and every call is refused.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed.is_some()
    }

    /// Calls a unary method of this endpoint.
    ///
    /// # Errors
    /// Awaited it gives a [`CallError`]: `Failed` where the policy, admission or the handler refuses, where nothing is served by this
    /// name and where the handler panicked; `NotSent` where the connection had ended, and nothing ran; `Lost` where it ended in the
    /// middle; `DeadlineExceeded`. The handler is gone by then, unless it has shielded itself.
    pub fn call(&self, method: &Method, payload: impl Into<Bytes>) -> LocalCall<'_> {
        LocalCall {
            caller: self,
            class: Class::Data,
            timeout: None,
            state: State::Unmade {
                extensions: method.extensions().clone(),
                payload: payload.into(),
            },
        }
    }

    /// Looks for a handler, as the peer, and starts it.
    fn start(
        &self,
        extensions: Extensions,
        payload: Bytes,
        class: Class,
        timeout: Option<Duration>,
    ) -> Begun {
        if let Some(reason) = &self.shared.lock().closed {
            return Begun::Over(Err(closed_before(reason)));
        }
        let (now, timeout) = clock::allowance(timeout, clock::now());
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let guard = &self.shared.guard;
        let mut grant = self.grant();
        if guard.is_stale(&grant) {
            drop(grant);
            *self.grant.write().unwrap_or_else(PoisonError::into_inner) = guard.grant(now);
            grant = self.grant();
        }
        let permitted = guard.permit(&grant, &extensions, class, now);
        drop(grant);
        let permit = match permitted {
            Ok(permit) => permit,
            Err(failure) => return Begun::Over(Err(CallError::Failed(failure))),
        };
        if let Err(failure) = self.shared.roster.admission.admit(class, now) {
            return Begun::Over(Err(CallError::Failed(failure)));
        }
        let handler = match self.shared.services.find(&extensions) {
            Some(Serve::Unary(handler)) => handler,
            serve => {
                let failure = not_served(Kind::REQUEST, &extensions, serve);
                return Begun::Over(Err(CallError::Failed(failure)));
            }
        };
        let run = Arc::new(Run::default());
        let context = Context::new(
            Arc::clone(&self.shared),
            permit,
            Subject::Local(Arc::clone(&run)),
            StreamId::lane(class, self.shared.side.peer()),
            deadline,
            extensions,
        );
        match handler.start(context, payload, deadline) {
            Started::Answered(answer) => {
                run.cancel();
                Begun::Over(answer.map_err(CallError::Failed))
            }
            Started::Panicked => {
                run.cancel();
                Begun::Over(Err(CallError::Failed(self.shared.panicked())))
            }
            Started::Waits(running) => {
                self.shared.roster.admission.enter(class);
                Begun::Waits(Waiting {
                    shared: Arc::clone(&self.shared),
                    running: Some(running),
                    run,
                    class,
                    deadline,
                })
            }
        }
    }

    fn grant(&self) -> std::sync::RwLockReadGuard<'_, Grant> {
        // Nothing panics while it is held.
        self.grant.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LocalCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCaller")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// How a call's beginning ended.
enum Begun {
    Over(Result<Bytes, CallError>),
    Waits(Waiting),
}

/// A call that is made when it is first polled. The handler runs in the task that awaits it. Dropping it cancels: the handler's
/// future is dropped, unless it has [shielded](Context::shield) itself, when it goes on in a task of its own.
#[must_use = "a call is made when it is awaited"]
pub struct LocalCall<'a> {
    caller: &'a LocalCaller,
    class: Class,
    timeout: Option<Duration>,
    state: State,
}

enum State {
    Unmade { extensions: Extensions, payload: Bytes },
    Refused(CallError),
    Waits(Waiting, Option<Pin<Box<Sleep>>>),
    Done,
}

impl LocalCall<'_> {
    /// The class of service it is made in; [`Class::Data`] unless told otherwise.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// How long the answer may take. A call made inside a handler never outlives the handler's own deadline, whatever is said here.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The trace it belongs to, as a W3C `traceparent` in binary: version, trace id, parent id and flags.
    pub fn trace_context(mut self, context: &[u8; 26]) -> Self {
        if let State::Unmade { extensions, .. } = &mut self.state {
            match with_trace(extensions, context) {
                Ok(traced) => *extensions = traced,
                Err(error) => self.state = State::Refused(error.into()),
            }
        }
        self
    }
}

impl Future for LocalCall<'_> {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (mut waiting, mut sleep) = match mem::replace(&mut this.state, State::Done) {
            State::Unmade { extensions, payload } => {
                match this.caller.start(extensions, payload, this.class, this.timeout) {
                    Begun::Over(answer) => return Poll::Ready(answer),
                    Begun::Waits(waiting) => {
                        let sleep = waiting.deadline.map(|at| Box::pin(sleep_until(at.into())));
                        (waiting, sleep)
                    }
                }
            }
            State::Waits(waiting, sleep) => (waiting, sleep),
            State::Refused(error) => return Poll::Ready(Err(error)),
            State::Done => return Poll::Pending,
        };
        if let Poll::Ready(answer) = waiting.poll(cx) {
            return Poll::Ready(answer);
        }
        if let Some(sleep) = &mut sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            // Dropped here, the handler is stopped.
            return Poll::Ready(Err(CallError::DeadlineExceeded));
        }
        this.state = State::Waits(waiting, sleep);
        Poll::Pending
    }
}

impl fmt::Debug for LocalCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCall")
            .field("class", &self.class)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A handler that did not answer at once. It is counted as a call in progress until it is gone.
struct Waiting {
    shared: Arc<Shared>,
    /// Gone when it has ended.
    running: Option<Running>,
    run: Arc<Run>,
    class: Class,
    deadline: Option<Instant>,
}

impl Waiting {
    /// Goes on with the handler, unless the connection has ended meanwhile.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Bytes, CallError>> {
        if !self.run.shielded.load(Relaxed) {
            let mut core = self.shared.lock();
            if let Some(reason) = &core.closed {
                let lost = CallError::Lost((**reason).clone());
                drop(core);
                self.end();
                return Poll::Ready(Err(lost));
            }
            core.watch_life(cx.waker());
        }
        self.poll_handler(cx)
            .map(|answer| answer.map_err(CallError::Failed))
    }

    fn poll_handler(&mut self, cx: &mut TaskContext<'_>) -> Poll<Answer> {
        let Some(running) = &mut self.running else {
            return Poll::Pending;
        };
        let answer = match poll_running(running, cx, self.deadline) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(Panicked) => Err(self.shared.panicked()),
        };
        self.end();
        Poll::Ready(answer)
    }

    /// Drops the handler, then says that it is gone.
    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            drop_quietly(running);
            self.shared.roster.admission.leave(self.class, clock::now());
            self.run.cancel();
        }
    }
}

/// Nobody waits for the answer any more.
impl Drop for Waiting {
    fn drop(&mut self) {
        let shielded = self.running.is_some() && self.run.shielded.load(Relaxed);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if shielded && !self.run.is_over() => {
                self.run.cancel();
                let rest = Self {
                    shared: Arc::clone(&self.shared),
                    running: self.running.take(),
                    run: Arc::clone(&self.run),
                    class: self.class,
                    deadline: self.deadline,
                };
                runtime.spawn(Shielded(rest));
            }
            // Dropped for the second time: with the runtime that its task was on.
            _ => self.end(),
        }
    }
}

/// A handler that cleans up after its caller has gone.
struct Shielded(Waiting);

impl Future for Shielded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.0.poll_handler(cx).map(drop)
    }
}

/// What a handler's context and its caller tell each other.
#[derive(Debug, Default)]
pub(crate) struct Run {
    shielded: AtomicBool,
    /// Nobody waits for the answer, or the handler has ended.
    over: AtomicBool,
    watchers: Mutex<Vec<Waker>>,
}

impl Run {
    pub(crate) fn shield(&self) {
        self.shielded.store(true, Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Whether nobody wants the answer any more; who asks is woken when that comes.
    pub(crate) fn poll_cancelled(&self, waker: &Waker) -> bool {
        let mut watchers = self.watchers();
        if self.is_over() {
            return true;
        }
        if !watchers.iter().any(|known| known.will_wake(waker)) {
            watchers.push(waker.clone());
        }
        false
    }

    /// Nobody waits, or nobody works, any more.
    fn cancel(&self) {
        let mut watchers = self.watchers();
        self.over.store(true, Relaxed);
        let woken = mem::take(&mut *watchers);
        drop(watchers);
        woken.into_iter().for_each(Waker::wake);
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Waker>> {
        // Nothing panics while it is held.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What is said of a handler that panicked. It is counted.
    fn panicked(&self) -> Failure {
        Counters::add(&self.counters.panics);
        Panicked::failure()
    }
}
