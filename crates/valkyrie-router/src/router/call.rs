//! A routed call: attempts one after the other, and where it is worth it two at once.
//!
//! A call is sent again only when that cannot run it twice: its failure says that no handler ran, or the caller says that it is
//! idempotent. Each further attempt goes to a peer that has not been tried, is paid from the budget, and has what is left of
//! the time. All attempts of an idempotent call carry the same key, by which a service may know them for one.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_endpoint::{CallError, Method, MethodError, Processed};
use valkyrie_registry::health::Signal;

use super::attempt::{Tried, is_the_peers_fault, pause};
use super::error::RoutedError;
use super::options::{Options, options};
use super::service::{Counters, Service};
use super::{Route, now};

/// A call that is made when it is awaited. Dropping it cancels what is under way.
#[must_use = "a call is made when it is awaited"]
#[derive(Clone, Debug)]
pub struct RoutedCall<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    payload: Bytes,
    options: Options,
    idempotent: bool,
}

impl<'a> RoutedCall<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>, payload: Bytes) -> Self {
        let routing = route.service.routing();
        let mut options = Options::new(&routing);
        options.timeout = routing.timeout;
        Self {
            route,
            method,
            payload,
            options,
            idempotent: false,
        }
    }

    options!(message);
    options!(timed);

    /// It does no harm if it runs twice: it may be sent again when nobody knows whether it ran, and to two peers at once where
    /// the routing says so.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
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
        let run = Run {
            call: &self,
            service,
            method,
            deadline: self.options.deadline(begun),
            wait_until: begun + service.routing().wait_for_peer,
            key: idempotent.then(rand_key),
            idempotent,
            tried: Tried::default(),
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
    tried: Tried,
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
            self.tried.clear();
            let asked = Duration::from_millis(retry_after(&error).into());
            let pause = pause(failures, asked);
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
        self.tried.len() < self.service.table().len()
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
        let (route, options) = (self.call.route, &self.call.options);
        let until = self
            .deadline
            .map_or(self.wait_until, |deadline| deadline.min(self.wait_until));
        let chosen = route.choose(options, &self.tried, until).await?;
        let mut in_flight = chosen.begin(now());
        let connection = route.connect(&chosen, options, self.deadline).await?;
        let mut call = connection
            .call(&self.method, self.call.payload.clone())
            .class(options.needs.class());
        if let Some(priority) = options.priority {
            call = call.priority(priority);
        }
        if let Some(key) = self.key {
            call = call.idempotency_key(key);
        }
        if let Some(trace) = &options.trace {
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
            Err(error) if blames_the_peer(error) => {
                let signal = match error {
                    CallError::Lost(_) => Signal::ConnectionLost,
                    _ => Signal::Failure,
                };
                chosen.failed(route, done, signal);
            }
            _ => {
                chosen.succeeded(route, done);
                if let Some(in_flight) = in_flight {
                    in_flight.answered(done);
                }
                self.service.delays.note(done.saturating_duration_since(sent));
            }
        }
        answer.map_err(|source| RoutedError::Call {
            locator: chosen.peer.locator(),
            source,
        })
    }
}

/// Whether the peer is to blame: it is in trouble, or there is no getting through to it.
fn blames_the_peer(error: &CallError) -> bool {
    match error {
        CallError::Failed(failure) => is_the_peers_fault(failure),
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

/// A second attempt costs about this much itself; sooner it is not worth it.
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(1);
