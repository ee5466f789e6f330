//! The way of a stream of replies to its next node.
//!
//! What is looked for is a connection; what the node is asked for is settled only when there is one.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Instant as Tick;
use valkyrie_endpoint::{Connection, Message, Method, OpenError, RecvError, RecvStream, Refusal};
use valkyrie_registry::health::Signal;

use crate::router::attempt::{Chosen, PAUSE_MAX, Tried, pause};
use crate::router::error::{ContinuedError, RoutedError};
use crate::router::options::Options;
use crate::router::peer::Peer;
use crate::router::service::Counters;
use crate::router::{Route, now};
use crate::{InFlight, RouteError};

/// What stays the same wherever the stream goes.
pub(super) struct Asked {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) options: Options,
    pub(super) deadline: Option<Instant>,
}

/// Attempts since the last that brought something.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) tried: Tried,
    failures: u32,
}

/// A node to ask.
pub(super) struct Found {
    connection: Connection,
    chosen: Chosen,
    /// It is busier for as long as the stream is being opened.
    _in_flight: Option<InFlight>,
}

/// A node that was asked.
pub(super) struct Source {
    pub(super) recv: RecvStream,
    pub(super) peer: Arc<Peer>,
    opened: Instant,
    /// It gave a reply.
    pub(super) replied: bool,
    /// It takes nothing new, and another one is looked for.
    pub(super) drains: bool,
    /// How often another one was found that did not take the stream.
    pub(super) turned_away: u32,
}

impl Source {
    /// It has brought something: a reply, or so much time that what ends it now has nothing to do with what it was asked.
    pub(super) fn has_stood(&self) -> bool {
        self.replied || now().saturating_duration_since(self.opened) >= STANDS_AFTER
    }
}

impl Asked {
    /// Whether the time for the whole is over, or will be within what a deadline loses when it is told to a peer.
    pub(super) fn is_late(&self, at: Instant) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= at + DEADLINE_UNIT)
    }

    /// Says what is to be thought of a node: something against it, or that it does what it is there for.
    pub(super) fn judge(&self, peer: &Arc<Peer>, blame: Option<Signal>) {
        let Some(way) = self.route.way_to(peer) else {
            return;
        };
        match blame {
            Some(signal) => way.failed(&self.route, now(), signal),
            None => way.succeeded(&self.route, now()),
        }
    }

    /// Counts an attempt that came to nothing.
    ///
    /// # Errors
    /// There is to be no other.
    pub(super) fn after(
        &self,
        mut trail: Trail,
        error: RoutedError,
    ) -> Result<(Trail, RoutedError), ContinuedError> {
        if self.is_late(now()) {
            return Err(ContinuedError::DeadlineExceeded);
        }
        // That one node was dialled in vain for as long as one is says nothing of the others: the whole has time left.
        let elsewhere = matches!(error, RoutedError::Stream { .. } | RoutedError::NoTime { .. });
        if !elsewhere && !error.is_for_another_peer() {
            return Err(ContinuedError::NotOpened(error));
        }
        trail.failures += 1;
        let retries = self.route.service.routing().retries;
        match trail.failures > retries {
            true => Err(ContinuedError::NoProgress { retries, last: error }),
            false => Ok((trail, error)),
        }
    }

    /// Takes the next attempt out of the budget of retries, and waits until then while there is none: unlike a call, a stream has come
    /// some way already.
    async fn pay(&self, until: Instant, last: &RoutedError) -> Result<(), ContinuedError> {
        let service = &*self.route.service;
        loop {
            let at = now();
            if service.budget.may_retry(at) {
                Counters::add(&service.counters.retries, 1);
                return Ok(());
            }
            if self.is_late(at) {
                return Err(ContinuedError::DeadlineExceeded);
            }
            if at >= until {
                Counters::add(&service.counters.over_budget, 1);
                return Err(ContinuedError::OverBudget { last: last.clone() });
            }
            // Not all who wait at once.
            sleep_until((at + PAUSE_MAX.mul_f64(fastrand::f64())).min(until)).await;
        }
    }

    /// Waits until everybody may be asked again.
    async fn pause(&self, trail: &Trail, asked: Duration, until: Instant) {
        trail.tried.clear();
        sleep_until((now() + pause(trail.failures, asked)).min(until)).await;
    }

    /// Chooses a node that was not tried and connects to it.
    async fn reach(&self, tried: &Tried, until: Instant) -> Result<Found, RoutedError> {
        let route = &self.route;
        route.router.inner.follow_qos(&route.service);
        let chosen = route.choose(&self.options, tried, until).await?;
        let in_flight = chosen.begin(now());
        let connection = route.connect(&chosen, &self.options, self.deadline).await?;
        Ok(Found {
            connection,
            chosen,
            _in_flight: in_flight,
        })
    }
}

/// Looks for a node, after what came of the last one.
pub(super) async fn seek(
    asked: Arc<Asked>,
    mut trail: Trail,
    mut trouble: Option<RoutedError>,
) -> Result<(Found, Trail), ContinuedError> {
    let patience = now() + asked.route.service.routing().wait_for_peer;
    let until = asked.deadline.map_or(patience, |deadline| deadline.min(patience));
    loop {
        if let Some(error) = &trouble {
            asked.pay(until, error).await?;
        }
        // Those that were not tried come first, and are not waited for while there are others.
        let mut reached = asked.reach(&trail.tried, now()).await;
        if let Err(RoutedError::Route(refused)) = &reached
            && !matches!(refused, RouteError::Unfit { .. })
        {
            if trail.tried.len() > 0 {
                let wait = trouble.as_ref().map_or(Duration::ZERO, retry_after);
                asked.pause(&trail, wait, until).await;
            }
            reached = asked.reach(&trail.tried, until).await;
        }
        match reached {
            Ok(found) => return Ok((found, trail)),
            Err(error) => {
                let (after, error) = asked.after(trail, error)?;
                (trail, trouble) = (after, Some(error));
            }
        }
    }
}

/// Looks for a node in the place of one that drains, for as long as somebody wants to know. It pays nothing: a stream that is asked to go
/// goes once, and what it costs elsewhere it no longer costs here.
pub(super) async fn seek_before_it_ends(
    asked: Arc<Asked>,
    leaving: Arc<Peer>,
    mut turned_away: u32,
) -> (Found, Trail) {
    loop {
        let mut changed = pin!(asked.route.service.changed.notified());
        changed.as_mut().enable();
        if turned_away > 0 {
            let wait = pause(turned_away, PAUSE_DRAINING_MIN);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let trail = Trail::default();
        trail.tried.push(&leaving);
        loop {
            match asked.reach(&trail.tried, now()).await {
                Ok(found) => return (found, trail),
                Err(error) if error.is_for_another_peer() => {}
                Err(_) => break,
            }
        }
        turned_away = turned_away.saturating_add(1);
    }
}

/// Asks a node that was found.
pub(super) async fn open(asked: Arc<Asked>, found: Found, request: Bytes) -> Result<Source, RoutedError> {
    let locator = found.chosen.peer.locator();
    let opening = asked
        .options
        .open(&found.connection, &asked.method, asked.deadline, Bytes::new());
    let not_opened = |source| RoutedError::Open {
        locator: locator.clone(),
        source,
    };
    let (mut send, recv) = match tokio::time::timeout(OPENS_WITHIN, opening).await {
        Ok(opened) => opened.map_err(not_opened)?,
        Err(_) => return Err(not_opened(OpenError::Refused(Refusal::NoExchange))),
    };
    if !request.is_empty()
        && let Err(error) = send.send(Message::data(request)).await
        && matches!(error.refusal, Refusal::MessageSize { .. } | Refusal::Misuse(_))
    {
        // Anything else has ended the stream, which whoever reads it is told.
        return Err(not_opened(OpenError::Refused(error.refusal)));
    }
    send.finish();
    Ok(Source {
        recv,
        peer: found.chosen.peer,
        opened: now(),
        replied: false,
        drains: false,
        turned_away: 0,
    })
}

/// When who refused asked to be asked again.
fn retry_after(error: &RoutedError) -> Duration {
    let millis = match error {
        RoutedError::Stream {
            source: RecvError::Reset(failure),
            ..
        } => failure.retry_after_ms,
        _ => 0,
    };
    Duration::from_millis(millis.into())
}

async fn sleep_until(until: Instant) {
    tokio::time::sleep_until(Tick::from_std(until)).await;
}

/// How long a node that grants no further stream for now is waited for before another is asked.
const OPENS_WITHIN: Duration = Duration::from_secs(1);
/// A stream that was open for so long has stood even if it had nothing to say: what watches for rare things is not to be given up because
/// nodes came and went meanwhile.
const STANDS_AFTER: Duration = Duration::from_secs(60);
/// The least between two looks for another node where the last came to nothing: replies go on meanwhile.
const PAUSE_DRAINING_MIN: Duration = Duration::from_millis(100);
/// Deadlines are told to peers in whole milliseconds, so that a peer may find one over by as much too soon.
const DEADLINE_UNIT: Duration = Duration::from_millis(1);
