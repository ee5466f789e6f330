//! What each attempt begins with, whatever is sent: a peer that has not had it yet, and a connection to that peer.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::Instant as Tick;
use valkyrie_endpoint::{Connection, ErrorCode, Failure};
use valkyrie_frame::Family;
use valkyrie_registry::health::Signal;

use super::error::RoutedError;
use super::options::Options;
use super::peer::Peer;
use super::service::{Counters, Service, Ways};
use super::{Route, now};
use crate::{Aside, InFlight, RouteError, WayId};

/// The peers that a message has been to.
#[derive(Debug, Default)]
pub(super) struct Tried(Mutex<Vec<Arc<Peer>>>);

impl Tried {
    fn peers(&self) -> MutexGuard<'_, Vec<Arc<Peer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers();
        if !peers.iter().any(|had| Arc::ptr_eq(had, peer)) {
            peers.push(Arc::clone(peer));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.peers().len()
    }

    /// Everybody may have it again.
    pub(super) fn clear(&self) {
        self.peers().clear();
    }
}

/// A peer, and the way that it was found by.
#[derive(Debug)]
pub(super) struct Chosen {
    table: Arc<Ways>,
    id: WayId,
    pub(super) peer: Arc<Peer>,
}

impl Chosen {
    /// Notes that something is sent there.
    pub(super) fn begin(&self, at: Instant) -> Option<InFlight> {
        self.table.begin(self.id, at)
    }

    /// What was sent there went well, or badly in a way that says nothing against the peer.
    pub(super) fn succeeded(&self, route: &Route, at: Instant) {
        self.table.succeeded(self.id, at);
        let health = route.router.inner.health.as_ref();
        self.peer.tell(health, Signal::Success);
    }

    /// The peer is to blame for what became of it.
    pub(super) fn failed(&self, route: &Route, at: Instant, signal: Signal) {
        self.table.failed(self.id, at);
        let health = route.router.inner.health.as_ref();
        self.peer.tell(health, signal);
    }
}

impl Route {
    /// Chooses a peer that is not among those tried, which it joins, and waits until then while there is none that may be used.
    pub(super) async fn choose(
        &self,
        options: &Options,
        tried: &Tried,
        until: Instant,
    ) -> Result<Chosen, RouteError> {
        let service = &*self.service;
        loop {
            // Registered before the table is read, so that no change is missed.
            let mut changed = pin!(service.changed.notified());
            changed.as_mut().enable();
            let at = now();
            let refused = match service.choose(options, at, tried) {
                Ok(chosen) => return Ok(chosen),
                Err(refused) => refused,
            };
            let wait = match refused {
                RouteError::AllFailing { retry_after } => at + retry_after.max(LOOK_AGAIN),
                RouteError::Nobody => until,
                _ => return Err(refused),
            };
            if at >= until {
                return Err(refused);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(Tick::from_std(wait.min(until))) => {}
            }
        }
    }

    /// The connection to a peer that was chosen, made if there is none. What goes wrong is counted, and held against the peer where it
    /// is the peer's.
    pub(super) async fn connect(
        &self,
        chosen: &Chosen,
        options: &Options,
        deadline: Option<Instant>,
    ) -> Result<Connection, RoutedError> {
        let age = self.service.routing().connection_age;
        let endpoint = &self.router.inner.endpoint;
        let connecting = chosen.peer.connection(endpoint, &options.needs, age);
        let connected = match deadline {
            None => connecting.await,
            Some(deadline) => tokio::time::timeout_at(Tick::from_std(deadline), connecting)
                .await
                .unwrap_or_else(|_| {
                    Err(RoutedError::NoTime {
                        locator: chosen.peer.locator(),
                    })
                }),
        };
        match &connected {
            Err(RoutedError::Unfit { .. }) => Counters::add(&self.service.counters.unfit, 1),
            Err(RoutedError::Connect { .. }) => chosen.failed(self, now(), Signal::Failure),
            _ => {}
        }
        connected
    }

    /// The way to a peer as it is now, if there is one still: for what lasts so long that it is not to hold on to a table.
    pub(super) fn way_to(&self, peer: &Arc<Peer>) -> Option<Chosen> {
        let table = self.service.table();
        let id = table.find(|other| Arc::ptr_eq(other, peer))?;
        let peer = Arc::clone(peer);
        Some(Chosen { table, id, peer })
    }
}

impl Service {
    /// # Errors
    /// [`RouteError`]; nothing was sent.
    fn choose(&self, options: &Options, now: Instant, tried: &Tried) -> Result<Chosen, RouteError> {
        let table = self.table();
        let mut rng = Rng::with_seed(fastrand::u64(..));
        let mut tried = tried.peers();
        let admits = |peer: &Arc<Peer>| {
            if tried.iter().any(|had| Arc::ptr_eq(had, peer)) {
                return Err(Aside::Tried);
            }
            peer.admits(now)
        };
        let (balance, key) = (self.routing().balance, options.key.as_deref());
        let id = table.choose_where(&options.needs, balance, key, now, &mut rng, admits)?;
        let peer = table.way(id).map(|way| Arc::clone(&way.peer));
        let peer = peer.ok_or(RouteError::Nobody)?;
        tried.push(Arc::clone(&peer));
        Ok(Chosen { table, id, peer })
    }
}

/// Whether a failure that a peer answers says something against the peer: it is in trouble. That it is busy, or does not like what it
/// was asked, says nothing.
pub(super) fn is_the_peers_fault(failure: &Failure) -> bool {
    failure.code != ErrorCode::OVERLOADED
        && matches!(failure.code.family(), Some(Family::System | Family::Network))
}

/// How long to wait when everybody has had it: whoever is next has had a moment to recover. Never shorter than what was `asked` for.
pub(super) fn pause(failures: u32, asked: Duration) -> Duration {
    PAUSE_MIN
        .saturating_mul(1 << failures.min(10))
        .min(PAUSE_MAX)
        .mul_f64(fastrand::f64())
        .max(asked)
}

/// What the first pause between attempts is below; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What the longest is below.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How soon those that are left alone are looked at again at the earliest.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
