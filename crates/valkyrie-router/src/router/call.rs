//! A routed call: attempts one after the other, and where it is worth it two at once.
//!
//! A call is sent again only when that cannot run it twice: its failure says that no handler ran, or the caller says that it is
//! idempotent. Each further attempt goes to a peer that has not been tried, is paid from the budget, and has what is left of
//! the time. All attempts of an idempotent call carry the same key, by which a service may know them for one.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use tokio::time::Instant as Tick;
use valkyrie_endpoint::{CallError, ErrorCode, Method, MethodError, Priority, Processed, remaining};
use valkyrie_frame::{Class, Family};
use valkyrie_registry::health::Signal;

use super::error::RoutedError;
use super::peer::Peer;
use super::service::{Counters, Service, Ways};
use super::{Route, now};
use crate::{Aside, Needs, RouteError, WayId};

/// A call that is made when it is awaited. Dropping it cancels what is under way.
#[must_use = "a call is made when it is awaited"]
#[derive(Clone, Debug)]
pub struct RoutedCall<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    payload: Bytes,
    needs: Needs,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    key: Option<Bytes>,
    idempotent: bool,
    trace: Option<[u8; 26]>,
}

impl<'a> RoutedCall<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>, payload: Bytes) -> Self {
        Self {
            route,
            method,
            payload,
            needs: Needs::of(route.service.routing().class),
            priority: None,
            timeout: route.service.routing().timeout,
            key: None,
            idempotent: false,
            trace: None,
        }
    }

    /// The class of service it travels in. What else was asked of the link is forgotten.
    pub fn class(mut self, class: Class) -> Self {
        self.needs = Needs::of(class);
        self
    }

    /// What the link has to be able to do, the class included.
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Its priority within the class.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How long the answer may take, all attempts together. A call made in a handler never outlives the handler's own deadline.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What it is about. With [`Balance::ByKey`](crate::Balance::ByKey) equal keys go to the same peer.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// It does no harm if it runs twice: it may be sent again when nobody knows whether it ran, and to two peers at once where
    /// the routing says so.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The trace it belongs to, as a W3C `traceparent` in binary.
    pub fn trace_context(mut self, context: &[u8; 26]) -> Self {
        self.trace = Some(*context);
        self
    }

    /// Makes the call.
    ///
    /// # Errors
    /// [`RoutedError`]: the last attempt's.
    pub async fn send(self) -> Result<Bytes, RoutedError> {
        let method = self.method.clone()?;
        let service = &*self.route.service;
        let idempotent = self.idempotent || service.is_idempotent(method.name());
        let begun = now();
        let deadline = match (self.timeout, remaining()) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        };
        let run = Run {
            call: &self,
            service,
            method,
            deadline: deadline.map(|allowed| begun + allowed),
            wait_until: begun + service.routing().wait_for_peer,
            key: idempotent.then(rand_key),
            idempotent,
            tried: Mutex::default(),
        };
        service.budget.attempted(begun);
        Counters::add(&service.counters.calls, 1);
        run.until_the_end().await
    }
}

impl<'a> IntoFuture for RoutedCall<'a> {
    type Output = Result<Bytes, RoutedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A call under way.
struct Run<'a> {
    call: &'a RoutedCall<'a>,
    service: &'a Service,
    method: Method,
    deadline: Option<Instant>,
    /// Until when it waits where nobody may be used.
    wait_until: Instant,
    /// The same for all attempts.
    key: Option<[u8; 16]>,
    /// The caller or the policy says so.
    idempotent: bool,
    /// Peers that have had it.
    tried: Mutex<Vec<Arc<Peer>>>,
}

impl Run<'_> {
    async fn until_the_end(&self) -> Result<Bytes, RoutedError> {
        let mut failures = 0;
        loop {
            let error = match self.round().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let at = now();
            let late = self.deadline.is_some_and(|deadline| deadline <= at);
            if late || failures > self.service.routing().retries || !self.may_run_again(&error) {
                return Err(error);
            }
            if !self.service.budget.may_retry(at) {
                Counters::add(&self.service.counters.over_budget, 1);
                return Err(error);
            }
            Counters::add(&self.service.counters.retries, 1);
            if self.others_left() {
                continue;
            }
            // Asking the same peers again is of no use where they are not what was wrong.
            if !error.is_safe_to_retry() && error.processed() == Processed::No {
                return Err(error);
            }
            // Everybody has had it: whoever comes next has had a moment to recover.
            self.tried().clear();
            let asked = Duration::from_millis(retry_after(&error).into());
            let pause = PAUSE_MIN
                .saturating_mul(1 << failures.min(10))
                .min(PAUSE_MAX)
                .mul_f64(fastrand::f64())
                .max(asked);
            if self.deadline.is_some_and(|deadline| deadline <= at + pause) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the same may be sent again.
    fn may_run_again(&self, error: &RoutedError) -> bool {
        if error.is_for_another_peer() {
            return true;
        }
        // The deadline is the whole call's; when it has passed there is no time for another attempt.
        let over = matches!(
            error,
            RoutedError::Call {
                source: CallError::DeadlineExceeded,
                ..
            }
        );
        self.idempotent && !over && error.processed() == Processed::Unknown
    }

    fn others_left(&self) -> bool {
        let tried = self.tried();
        let table = self.service.table();
        tried.len() < table.len()
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Peer>>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt, and a second one beside it when the first takes longer than is usual.
    async fn round(&self) -> Result<Bytes, RoutedError> {
        let patience = self.patience();
        let mut first = pin!(self.attempt());
        let Some(patience) = patience else {
            return first.await;
        };
        tokio::select! {
            answer = &mut first => return answer,
            () = tokio::time::sleep(patience) => {}
        }
        if !self.others_left() || !self.service.budget.may_retry(now()) {
            return first.await;
        }
        Counters::add(&self.service.counters.hedges, 1);
        let mut second = pin!(self.attempt());
        tokio::select! {
            answer = &mut first => match answer {
                Ok(answer) => Ok(answer),
                Err(error) => second.await.or(Err(error)),
            },
            answer = &mut second => match answer {
                Ok(answer) => {
                    Counters::add(&self.service.counters.hedges_won, 1);
                    Ok(answer)
                }
                Err(_) => first.await,
            },
        }
    }

    /// How long to wait for an answer before somebody else is asked as well.
    fn patience(&self) -> Option<Duration> {
        let routing = self.service.routing();
        (routing.hedge && self.idempotent)
            .then(|| self.service.delays.p95())
            .flatten()
            // A little later than nineteen of twenty, so that answers which all take as long are not all sent twice.
            .map(|p95| (p95 + p95 / 8).max(HEDGE_AFTER_MIN))
    }

    /// Sends it to one peer.
    async fn attempt(&self) -> Result<Bytes, RoutedError> {
        let (table, id, peer) = self.choose().await?;
        let begun = now();
        let mut in_flight = table.begin(id, begun);
        let router = &self.call.route.router.inner;
        let age = self.service.routing().connection_age;
        let connecting = peer.connection(&router.endpoint, &self.call.needs, age);
        let connected = match self.deadline {
            None => connecting.await,
            Some(deadline) => tokio::time::timeout_at(Tick::from_std(deadline), connecting)
                .await
                .unwrap_or_else(|_| {
                    Err(RoutedError::NoTime {
                        locator: peer.locator(),
                    })
                }),
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                match &error {
                    RoutedError::Unfit { .. } => Counters::add(&self.service.counters.unfit, 1),
                    RoutedError::Connect { .. } => {
                        table.failed(id, now());
                        peer.tell(router.health.as_ref(), Signal::Failure);
                    }
                    _ => {}
                }
                return Err(error);
            }
        };
        let mut call = connection
            .call(&self.method, self.call.payload.clone())
            .class(self.call.needs.class());
        if let Some(priority) = self.call.priority {
            call = call.priority(priority);
        }
        if let Some(key) = self.key {
            call = call.idempotency_key(key);
        }
        if let Some(trace) = &self.call.trace {
            call = call.trace_context(trace);
        }
        let sent = now();
        if let Some(in_flight) = &mut in_flight {
            in_flight.sent(sent);
        }
        if let Some(deadline) = self.deadline {
            call = call.timeout(deadline.saturating_duration_since(sent));
        }
        let answer = call.await;
        let done = now();
        match &answer {
            Err(error) if is_the_peers_fault(error) => {
                table.failed(id, done);
                let lost = matches!(error, CallError::Lost(_));
                let signal = if lost {
                    Signal::ConnectionLost
                } else {
                    Signal::Failure
                };
                peer.tell(router.health.as_ref(), signal);
            }
            _ => {
                table.succeeded(id, done);
                peer.tell(router.health.as_ref(), Signal::Success);
                if let Some(in_flight) = in_flight {
                    in_flight.answered(done);
                }
                self.service.delays.note(done.saturating_duration_since(sent));
            }
        }
        answer.map_err(|source| RoutedError::Call {
            locator: peer.locator(),
            source,
        })
    }

    /// Chooses a peer that has not had it, and waits while there is none that may be used.
    async fn choose(&self) -> Result<(Arc<Ways>, WayId, Arc<Peer>), RoutedError> {
        let call = self.call;
        loop {
            // Registered before the table is read, so that no change is missed.
            let mut changed = pin!(self.service.changed.notified());
            changed.as_mut().enable();
            let at = now();
            let chosen = {
                let mut tried = self.tried();
                let chosen = self.service.choose(call.key.as_deref(), &call.needs, at, &tried);
                if let Ok((_, _, peer)) = &chosen {
                    tried.push(Arc::clone(peer));
                }
                chosen
            };
            let refused = match chosen {
                Ok(chosen) => return Ok(chosen),
                Err(refused) => refused,
            };
            let until = self
                .deadline
                .map_or(self.wait_until, |deadline| deadline.min(self.wait_until));
            let wait = match refused {
                RouteError::AllFailing { retry_after } => at + retry_after.max(LOOK_AGAIN),
                RouteError::Nobody => until,
                _ => return Err(refused.into()),
            };
            if at >= until {
                return Err(refused.into());
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(Tick::from_std(wait.min(until))) => {}
            }
        }
    }
}

impl Service {
    /// Chooses a peer for a message that some have had already.
    ///
    /// # Errors
    /// [`RouteError`]; nothing was sent.
    pub(super) fn choose(
        &self,
        key: Option<&[u8]>,
        needs: &Needs,
        now: Instant,
        tried: &[Arc<Peer>],
    ) -> Result<(Arc<Ways>, WayId, Arc<Peer>), RouteError> {
        let table = self.table();
        let mut rng = Rng::with_seed(fastrand::u64(..));
        let admits = |peer: &Arc<Peer>| {
            if tried.iter().any(|had| Arc::ptr_eq(had, peer)) {
                return Err(Aside::Tried);
            }
            peer.admits(now)
        };
        let id = table.choose_where(needs, self.routing().balance, key, now, &mut rng, admits)?;
        let peer = table.way(id).map(|way| Arc::clone(&way.peer));
        match peer {
            Some(peer) => Ok((table, id, peer)),
            None => Err(RouteError::Nobody),
        }
    }
}

/// Whether a failure says something against the peer: it is in trouble, or there is no getting through to it. That it is busy, or
/// does not like what it was asked, says nothing.
fn is_the_peers_fault(error: &CallError) -> bool {
    match error {
        CallError::Failed(failure) => {
            failure.code != ErrorCode::OVERLOADED
                && matches!(failure.code.family(), Some(Family::System | Family::Network))
        }
        CallError::Lost(_) | CallError::DeadlineExceeded => true,
        _ => false,
    }
}

fn retry_after(error: &RoutedError) -> u32 {
    match error {
        RoutedError::Call { source, .. } => source.retry_after_ms().unwrap_or(0),
        _ => 0,
    }
}

/// A key that no other call has.
fn rand_key() -> [u8; 16] {
    fastrand::u128(..).to_le_bytes()
}

/// What the first pause between attempts is below; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What the longest is below.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How soon those that are left alone are looked at again at the earliest.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A second attempt costs about this much itself; sooner it is not worth it.
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(1);
