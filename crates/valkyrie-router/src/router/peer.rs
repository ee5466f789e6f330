//! A peer, and the one connection to it that all its services share.
//!
//! A peer may have several places; they are tried the cheapest first, each a moment after the one before, and the first that
//! answers wins. Which link carries the session after that is the endpoint's business: a session goes on over another link when
//! its own dies, and moves to a cheaper one when there is one.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use valkyrie_endpoint::{Connection, Endpoint, Expect, Redial};
use valkyrie_registry::agent::{AgentId, Incarnation};
use valkyrie_registry::health::Signal;
use valkyrie_transport::Locator;

use super::error::RoutedError;
use super::health::HealthBoard;
use super::now;
use crate::{Aside, Needs};

/// Who a peer is. An agent that has begun anew is another peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PeerId {
    Agent(AgentId, Incarnation),
    Place(Locator),
}

/// A peer, shared by the tables of all services that it offers.
pub(crate) struct Peer {
    id: PeerId,
    expect: Expect,
    /// What it is called where something is said of it: the first place that it had.
    name: Locator,
    /// Cheapest first.
    places: ArcSwap<Vec<Locator>>,
    live: ArcSwapOption<Live>,
    epoch: Instant,
    /// Nanoseconds after `epoch` before which it is not to be used; it asked for that, or could not be reached.
    away_until: AtomicU64,
    /// Something was said against it that a success makes good.
    blamed: AtomicBool,
    dialling: Mutex<Dialling>,
}

/// The connection that is in use.
struct Live {
    connection: Connection,
    /// When to replace it.
    retire: Option<Instant>,
    /// Ends the task that watches the connection, which holds it as well.
    _let_go: oneshot::Sender<()>,
}

/// What dialling has come to, held by whoever dials.
#[derive(Default)]
struct Dialling {
    failures: u32,
    /// The last failure, for those who waited while it happened.
    failed: Option<(Instant, RoutedError)>,
    /// Places that did not answer, and when.
    silent: HashMap<Locator, Instant>,
}

/// Peers are equal when they are the same life of the same agent.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Peer {
    /// `name` is the first of its places.
    pub(crate) fn new(id: PeerId, expect: Expect, name: &Locator, places: &[Locator]) -> Self {
        Self {
            id,
            expect,
            name: name.without_credentials(),
            places: ArcSwap::from_pointee(places.to_vec()),
            live: ArcSwapOption::empty(),
            epoch: now(),
            away_until: AtomicU64::new(0),
            blamed: AtomicBool::new(false),
            dialling: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &PeerId {
        &self.id
    }

    /// Tells a router's health what came of a message. A success is only told where there is something that it makes good.
    pub(crate) fn tell(&self, board: Option<&Arc<HealthBoard>>, signal: Signal) {
        let Some(board) = board else { return };
        let tells = match signal {
            Signal::Success => {
                self.blamed.load(Ordering::Relaxed) && self.blamed.swap(false, Ordering::Relaxed)
            }
            _ => {
                self.blamed.store(true, Ordering::Relaxed);
                true
            }
        };
        if tells {
            board.signal(&self.id, signal);
        }
    }

    /// It has moved, or found other places.
    pub(crate) fn set_places(&self, places: &[Locator]) {
        if **self.places.load() != places {
            self.places.store(Arc::new(places.to_vec()));
        }
    }

    /// Whether it may be used now.
    pub(crate) fn admits(&self, now: Instant) -> Result<(), Aside> {
        match self.away_until.load(Ordering::Relaxed) {
            0 => Ok(()),
            until => {
                let until = self.epoch + Duration::from_nanos(until);
                if until > now {
                    Err(Aside::Until(until))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// The connection, made if there is none. One caller dials and the others wait for what comes of it.
    ///
    /// # Errors
    /// [`RoutedError`]; nothing was sent.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        needs: &Needs,
        age: Option<Duration>,
    ) -> Result<Connection, RoutedError> {
        if let Some(connection) = self.current(endpoint, needs, age)? {
            return Ok(connection);
        }
        let came = now();
        let mut dialling = self.dialling.lock().await;
        if let Some(connection) = self.current(endpoint, needs, age)? {
            return Ok(connection);
        }
        if let Some((at, error)) = &dialling.failed
            && *at >= came
        {
            return Err(error.clone());
        }
        self.dial(endpoint, needs, age, &mut dialling).await
    }

    /// The connection that there is, if it is of use.
    fn current(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        needs: &Needs,
        age: Option<Duration>,
    ) -> Result<Option<Connection>, RoutedError> {
        let live = self.live.load();
        let Some(live) = live.as_ref().filter(|live| !live.connection.is_closed()) else {
            return Ok(None);
        };
        if needs.is_particular() {
            self.fits(&live.connection, needs)?;
        }
        if live.retire.is_some_and(|retire| retire <= now()) {
            self.replace(endpoint.clone(), live.connection.id(), age);
        }
        Ok(Some(live.connection.clone()))
    }

    fn fits(&self, connection: &Connection, needs: &Needs) -> Result<(), RoutedError> {
        needs
            .check(&connection.link().capabilities)
            .map_err(|unfit| RoutedError::Unfit {
                locator: self.locator(),
                unfit,
            })
    }

    /// Dials another connection in place of an old one, which ends when what it carries has ended.
    fn replace(self: &Arc<Self>, endpoint: Endpoint, old: u64, age: Option<Duration>) {
        let peer = Arc::clone(self);
        tokio::spawn(async move {
            // Somebody is at it already, or has just been.
            let Ok(mut dialling) = peer.dialling.try_lock() else {
                return;
            };
            let is_old = |live: &Arc<Live>| live.connection.id() == old;
            if !peer.live.load().as_ref().is_some_and(is_old) {
                return;
            }
            let needs = Needs::of(valkyrie_frame::Class::Data);
            // What cannot be replaced is kept: an old connection is better than none.
            if let Ok(connection) = peer.try_places(&endpoint, &needs, &mut dialling).await {
                peer.publish(&connection, age);
            }
        });
    }

    async fn dial(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        needs: &Needs,
        age: Option<Duration>,
        dialling: &mut Dialling,
    ) -> Result<Connection, RoutedError> {
        let tried = tokio::time::timeout(DIAL_FOR, self.try_places(endpoint, needs, dialling)).await;
        let outcome = tried.unwrap_or_else(|_| {
            Err(RoutedError::NoTime {
                locator: self.locator(),
            })
        });
        match outcome {
            Ok(connection) => {
                dialling.failures = 0;
                dialling.failed = None;
                self.away_until.store(0, Ordering::Relaxed);
                self.publish(&connection, age);
                self.fits(&connection, needs)?;
                Ok(connection)
            }
            Err(error) => {
                let wait = backoff(&error).wait(dialling.failures, Duration::ZERO, fastrand::f64());
                dialling.failures = dialling.failures.saturating_add(1);
                self.stay_away(now() + wait.max(AWAY_MIN));
                dialling.failed = Some((now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Dials its places, each a moment after the one before, until one answers over a link that will do. Where none will, any
    /// connection is better than none: the peer is there.
    async fn try_places(
        &self,
        endpoint: &Endpoint,
        needs: &Needs,
        dialling: &mut Dialling,
    ) -> Result<Connection, RoutedError> {
        let begun = now();
        dialling
            .silent
            .retain(|_, at| begun.saturating_duration_since(*at) < SILENT_FOR);
        let mut places = (**self.places.load()).clone();
        places.sort_by_key(|place| dialling.silent.contains_key(place));
        let mut waiting = places.into_iter();
        let mut attempts = JoinSet::new();
        let (mut failure, mut unfit) = (None, None);
        loop {
            let more = waiting.next();
            let has_more = more.is_some();
            if let Some(place) = more {
                let (endpoint, expect) = (endpoint.clone(), self.expect.clone());
                attempts.spawn(async move {
                    let dialled = endpoint.connect_expecting(&place, expect).await;
                    (place, dialled)
                });
            }
            let joined = tokio::select! {
                joined = attempts.join_next() => joined,
                () = tokio::time::sleep(STAGGER), if has_more => continue,
            };
            match joined {
                Some(Ok((place, Ok(connection)))) => {
                    dialling.silent.remove(&place);
                    if self.fits(&connection, needs).is_ok() {
                        return Ok(connection);
                    }
                    unfit = unfit.or(Some(connection));
                }
                Some(Ok((place, Err(error)))) => {
                    dialling.silent.insert(place.clone(), now());
                    failure = failure.or(Some(RoutedError::Connect {
                        locator: place,
                        source: Arc::new(error),
                    }));
                }
                // An attempt that panicked is one that failed.
                Some(Err(_)) => {}
                None if has_more => {}
                None => {
                    return unfit.ok_or_else(|| failure.unwrap_or_else(|| crate::RouteError::Nobody.into()));
                }
            }
        }
    }

    fn publish(self: &Arc<Self>, connection: &Connection, age: Option<Duration>) {
        let (let_go, released) = oneshot::channel();
        tokio::spawn(watch(Arc::downgrade(self), connection.clone(), released));
        let jitter = 0.9 + 0.2 * fastrand::f64();
        self.live.store(Some(Arc::new(Live {
            connection: connection.clone(),
            retire: age.map(|age| now() + age.mul_f64(jitter)),
            _let_go: let_go,
        })));
    }

    /// A connection takes nothing new any more.
    fn ended(&self, connection: u64, back_in: Option<Duration>) {
        let is_it = |live: &Arc<Live>| live.connection.id() == connection;
        if self.live.load().as_ref().is_some_and(is_it) {
            self.live.store(None);
        }
        if let Some(back_in) = back_in.filter(|back_in| !back_in.is_zero()) {
            // Not all at once.
            let wait = Redial::default().wait(0, back_in, fastrand::f64());
            self.stay_away(now() + wait);
        }
    }

    fn stay_away(&self, until: Instant) {
        let until = until.saturating_duration_since(self.epoch).as_nanos();
        let until = u64::try_from(until).unwrap_or(u64::MAX).max(1);
        self.away_until.fetch_max(until, Ordering::Relaxed);
    }

    /// What it is called where something is said of it.
    pub(crate) fn locator(&self) -> Locator {
        self.name.clone()
    }
}

/// Waits until a connection takes nothing new, or nobody is interested any more.
async fn watch(peer: Weak<Peer>, connection: Connection, released: oneshot::Receiver<()>) {
    let hint = tokio::select! {
        hint = connection.peer_draining() => hint,
        _ = released => return,
    };
    let id = connection.id();
    drop(connection);
    if let Some(peer) = peer.upgrade() {
        peer.ended(id, hint.map(|millis| Duration::from_millis(millis.into())));
    }
}

/// When to dial a peer again. One that refuses us will do so for a while.
fn backoff(error: &RoutedError) -> Redial {
    let refused = matches!(error, RoutedError::Connect { source, .. } if !source.is_transient());
    Redial {
        first_wait_max: if refused {
            AWAY_MAX
        } else {
            Duration::from_millis(100)
        },
        wait_max: AWAY_MAX,
        ..Redial::default()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("places", &**self.places.load())
            .finish_non_exhaustive()
    }
}

/// How long all places of a peer are dialled until it counts as out of reach: as long as a handshake may take, twice.
const DIAL_FOR: Duration = Duration::from_secs(10);
/// How long a place has to answer before the next is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// How long a place that did not answer is tried after the others.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// The least that a peer which could not be reached is left alone, so that calls go elsewhere.
const AWAY_MIN: Duration = Duration::from_millis(10);
/// The most.
const AWAY_MAX: Duration = Duration::from_secs(5);
