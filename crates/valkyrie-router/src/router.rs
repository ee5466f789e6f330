//! `StreamRouter`: a target in, a connection out, and a message that arrives although peers come, go, stall and fail.
//!
//! It follows a registry's [`View`], keeps one connection to each peer that it uses, and knows of each [`Target`] which ways
//! there are and how they have done lately. What is decided is decided by the modules around this one; here it is carried
//! out.
//!
//! Read [`StreamRouter::route`] first. `service` is what is known of a target, `peer` a peer and its connection, `call` the loop
//! of attempts, `replies` a stream that goes from one peer to the next.

mod attempt;
mod call;
mod error;
mod health;
mod leave;
mod open;
mod options;
mod peer;
mod replies;
mod routing;
mod service;
mod target;
mod topics;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::AbortHandle;
use valkyrie_endpoint::{Endpoint, Expect, ToMethod};
use valkyrie_registry::agent::{AgentId, Status, Word};
use valkyrie_registry::directory::{Member, Snapshot};
use valkyrie_registry::health::Verdict;
use valkyrie_registry::view::View;
use valkyrie_transport::{Bus, Locator, TopicError};

pub use call::RoutedCall;
pub use error::{ContinuedError, RoutedError};
pub use health::Watching;
pub use leave::{Leaving, leave};
pub use open::{RoutedNotify, RoutedOpen};
pub use replies::{ContinuedReplies, Position, RoutedReplies};
pub use routing::Routing;
pub use target::Target;
pub use topics::PublishError;

use health::HealthBoard;
use peer::{Peer, PeerId};
use service::{Candidate, Rules, Service};
use target::Whom;
use topics::Carrier;

use crate::balance::mixed;
use crate::{Idempotent, QosHandle, RouteError};

/// Sends messages to targets. Cloning is a reference count; when the last clone and the last [`Route`] are gone its connections
/// drain.
#[derive(Clone)]
pub struct StreamRouter {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    view: Option<Arc<View>>,
    /// Services that do not come from the registry.
    fixed: HashMap<Word, Vec<Locator>>,
    buses: Vec<Carrier>,
    zone: Option<Word>,
    routing: Routing,
    routings: HashMap<Word, Routing>,
    qos: Option<QosHandle>,
    /// Tells this router from others, for its part of large fleets.
    number: u64,
    services: Mutex<HashMap<Target, Weak<Service>>>,
    peers: Mutex<HashMap<PeerId, Weak<Peer>>>,
    health: Option<Arc<HealthBoard>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// Builds a [`StreamRouter`].
#[must_use]
pub struct StreamRouterBuilder {
    endpoint: Endpoint,
    view: Option<Arc<View>>,
    fixed: HashMap<Word, Vec<Locator>>,
    buses: Vec<Carrier>,
    zone: Option<Word>,
    routing: Routing,
    routings: HashMap<Word, Routing>,
    qos: Option<QosHandle>,
    watching: Option<Watching>,
    number: u64,
}

impl StreamRouterBuilder {
    /// Finds peers in a registry.
    pub fn view(mut self, view: Arc<View>) -> Self {
        self.view = Some(view);
        self
    }

    /// Peers that offer a service and are in no registry. Whoever answers there has to be trusted, and may be anybody who is.
    pub fn fixed(mut self, service: Word, places: impl IntoIterator<Item = Locator>) -> Self {
        self.fixed.entry(service).or_default().extend(places);
        self
    }

    /// A bus for topics of this pattern. Of several that are for a topic the first that can carry the message does.
    ///
    /// # Errors
    /// [`TopicError`]: the caller's pattern is none.
    pub fn bus(mut self, topics: &str, bus: Arc<dyn Bus>) -> Result<Self, TopicError> {
        self.buses.push(Carrier::new(topics, bus)?);
        Ok(self)
    }

    /// Where this router is: peers of the same zone come first.
    pub fn zone(mut self, zone: Word) -> Self {
        self.zone = Some(zone);
        self
    }

    /// How messages are routed where nothing else is said.
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// How messages for one service are routed.
    pub fn routing_of(mut self, service: Word, routing: Routing) -> Self {
        self.routings.insert(service, routing);
        self
    }

    /// What a policy of quality of service says about services, in place of what `routing` and `routing_of` say about the same things;
    /// replaced while calls go on when the policy is.
    pub fn qos(mut self, qos: QosHandle) -> Self {
        self.qos = Some(qos);
        self
    }

    /// Watches how the agents of the registry are, and sends nothing to those that are not well.
    pub fn watching(mut self, watching: Watching) -> Self {
        self.watching = Some(watching);
        self
    }

    /// Builds it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> StreamRouter {
        let health = self.watching.map(|watching| Arc::new(HealthBoard::new(watching)));
        let inner = Arc::new(Inner {
            endpoint: self.endpoint,
            view: self.view.clone(),
            fixed: self.fixed,
            buses: self.buses,
            zone: self.zone,
            routing: self.routing,
            routings: self.routings,
            qos: self.qos,
            number: self.number,
            services: Mutex::default(),
            peers: Mutex::default(),
            health: health.clone(),
            tasks: Mutex::default(),
        });
        let mut tasks = vec![tokio::spawn(keep(Arc::downgrade(&inner), self.view.clone())).abort_handle()];
        if let (Some(board), Some(view)) = (health, self.view) {
            let watch = health::watch(Arc::downgrade(&inner), board, view);
            tasks.push(tokio::spawn(watch).abort_handle());
        }
        *inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        StreamRouter { inner }
    }
}

impl StreamRouter {
    /// A router that dials with `endpoint`.
    pub fn builder(endpoint: Endpoint) -> StreamRouterBuilder {
        StreamRouterBuilder {
            endpoint,
            view: None,
            fixed: HashMap::new(),
            buses: Vec::new(),
            zone: None,
            routing: Routing::default(),
            routings: HashMap::new(),
            qos: None,
            watching: None,
            number: mixed(fastrand::u64(..)),
        }
    }

    /// The way to a target, to be kept by whoever sends there often: what is known of how its peers do is kept for as long as
    /// somebody holds it. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`RouteError::TooMany`]: more peers offer the service than a table holds.
    pub fn route(&self, target: Target) -> Result<Route, RouteError> {
        let mut services = self.inner.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.get(&target).and_then(Weak::upgrade) {
            return Ok(self.with(service));
        }
        let candidates = self.inner.candidates(&target);
        let rules = self.inner.rules_of(&target);
        let service = Service::new(target.clone(), rules, candidates, self.inner.number, now())?;
        let service = Arc::new(service);
        services.insert(target, Arc::downgrade(&service));
        Ok(self.with(service))
    }

    /// What is thought of an agent's health; [`Verdict::Well`] where this router does not watch.
    pub fn verdict(&self, agent: &AgentId) -> Verdict {
        let health = self.inner.health.as_ref();
        health.map_or(Verdict::Well, |health| health.verdict(agent))
    }

    fn with(&self, service: Arc<Service>) -> Route {
        Route {
            router: self.clone(),
            service,
        }
    }
}

/// The way to a target. Cloning is two reference counts.
#[derive(Clone)]
pub struct Route {
    router: StreamRouter,
    service: Arc<Service>,
}

impl Route {
    /// Whom it leads to.
    pub fn target(&self) -> &Target {
        &self.service.target
    }

    /// Calls a method of whoever is chosen: `route.call(("orders", "get"), payload).await`. Options are set on the
    /// [`RoutedCall`] before it is awaited.
    pub fn call(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> RoutedCall<'_> {
        self.router.inner.follow_qos(&self.service);
        RoutedCall::new(self, method.to_method(), payload.into())
    }

    /// Opens a stream to whoever is chosen. It stays with that peer, and outlives its links as the endpoint's sessions do; see
    /// [`Route::replies`] for one that goes on elsewhere.
    pub fn open(&self, method: impl ToMethod) -> RoutedOpen<'_> {
        self.router.inner.follow_qos(&self.service);
        RoutedOpen::new(self, method.to_method())
    }

    /// Asks whoever is chosen for a stream of replies, which goes on at another peer when that one dies or drains: `position` says how to
    /// ask for the rest, and the service has to honour it.
    ///
    /// ```no_run
    /// # async fn example(orders: valkyrie_router::Route) -> Result<(), valkyrie_router::ContinuedError> {
    /// let after = |received: u64| bytes::Bytes::from(received.to_be_bytes().to_vec());
    /// let mut replies = orders.replies(("orders", "history"), after).await?;
    /// while let Some(reply) = replies.recv().await? {
    ///     // Each once and in order, from however many nodes.
    /// #   drop(reply);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn replies(&self, method: impl ToMethod, position: impl Position + 'static) -> RoutedReplies<'_> {
        self.router.inner.follow_qos(&self.service);
        RoutedReplies::new(self, method.to_method(), Box::new(position))
    }

    /// Sends a message that has no answer to whoever is chosen.
    pub fn notify(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> RoutedNotify<'_> {
        self.router.inner.follow_qos(&self.service);
        RoutedNotify::new(self, method.to_method(), payload.into())
    }

    /// How many peers there are to choose from now, whatever their state.
    pub fn peers(&self) -> usize {
        self.service.table().len()
    }

    /// The peers that are left alone now because they failed, by the first of their places.
    pub fn left_alone(&self) -> Vec<Locator> {
        let table = self.service.table();
        table
            .left_alone(now())
            .map(|(way, _)| way.locator.clone())
            .collect()
    }

    /// What has been counted since somebody has held it.
    pub fn stats(&self) -> RouteStats {
        let counters = &self.service.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        RouteStats {
            calls: read(&counters.calls),
            retries: read(&counters.retries),
            hedges: read(&counters.hedges),
            hedges_won: read(&counters.hedges_won),
            over_budget: read(&counters.over_budget),
            unfit: read(&counters.unfit),
            ejected: read(&counters.ejected),
            moves: read(&counters.moves),
            p95: self.service.delays.p95(),
        }
    }
}

/// What a route has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteStats {
    /// Calls, each counted once however often it was sent.
    pub calls: u64,
    /// Calls, and streams of replies, sent again after a failure.
    pub retries: u64,
    /// Calls sent to a second peer because the first was slow.
    pub hedges: u64,
    /// How many of those the second peer answered first.
    pub hedges_won: u64,
    /// Failures that would have been retried, had there been a budget.
    pub over_budget: u64,
    /// Messages that no link could carry.
    pub unfit: u64,
    /// Peers that were left alone because they stood out from the others.
    pub ejected: u64,
    /// Streams of replies that were opened anew after they had been open.
    pub moves: u64,
    /// What nineteen of twenty answers lately kept below.
    pub p95: Option<Duration>,
}

impl Inner {
    fn rules_of(&self, target: &Target) -> Rules {
        let name = match &target.0 {
            Whom::Service(query) => query.wanted_service(),
            Whom::Node(_) => None,
        };
        let routing = name.and_then(|service| self.routings.get(service));
        let routing = routing.copied().unwrap_or(self.routing);
        let Some(qos) = &self.qos else {
            return Rules {
                routing,
                idempotent: Idempotent::None,
                version: 0,
            };
        };
        let (policy, version) = qos.load();
        let policy = policy.service(name.map_or("", Word::as_str));
        Rules {
            routing: routing.following(policy),
            idempotent: policy.idempotent.clone(),
            version,
        }
    }

    /// Sees to it that a target is routed by the policy in force. One load where it is.
    fn follow_qos(&self, service: &Service) {
        if self
            .qos
            .as_ref()
            .is_none_or(|qos| qos.version() == service.version())
        {
            return;
        }
        service.set_rules(self.rules_of(&service.target));
        let candidates = self.candidates(&service.target);
        // Of too many the ways stay what they were.
        let _ = service.refresh(candidates, self.number, now());
    }

    /// Whoever could be a way to a target, by what is known now.
    fn candidates(&self, target: &Target) -> Vec<Candidate> {
        let snapshot = self.view.as_ref().map(|view| view.snapshot());
        let mut candidates = match (&snapshot, &target.0) {
            (Some(snapshot), Whom::Node(id)) => {
                let member = snapshot.get(id).into_iter();
                member.filter_map(|member| self.candidate(member)).collect()
            }
            (Some(snapshot), Whom::Service(query)) => self.offering(snapshot, query),
            (None, _) => Vec::new(),
        };
        if let Whom::Service(query) = &target.0
            && let Some(service) = query.wanted_service()
        {
            let places = self.fixed.get(service).into_iter().flatten();
            candidates.extend(places.filter_map(|place| self.fixed_candidate(place)));
        }
        candidates
    }

    fn offering(&self, snapshot: &Snapshot, query: &valkyrie_registry::query::Query) -> Vec<Candidate> {
        let found = snapshot.find(query);
        let service = query.wanted_service();
        let ready = found.filter(|found| {
            let description = found.member.description();
            // Who says that it wants nothing gets nothing.
            description.status == Status::Ready
                && description.capacity.weight > 0
                && self.is_well(service, found.member)
        });
        ready.filter_map(|found| self.candidate(found.member)).collect()
    }

    fn is_well(&self, service: Option<&Word>, member: &Member) -> bool {
        let board = self.health.as_ref();
        board.is_none_or(|board| board.routable(service, member.id()))
    }

    fn candidate(&self, member: &Member) -> Option<Candidate> {
        let description = member.description();
        let places = self.endpoint.usable(description.locators.iter().cloned());
        let id = PeerId::Agent(member.id().clone(), member.record().incarnation());
        Some(Candidate {
            peer: self.peer(id, Expect::Fingerprint(member.id().owner()), &places)?,
            weight: description.capacity.weight,
            near: self.zone.is_some() && self.zone == description.zone,
        })
    }

    fn fixed_candidate(&self, place: &Locator) -> Option<Candidate> {
        let places = self.endpoint.usable([place.clone()]);
        Some(Candidate {
            peer: self.peer(PeerId::Place(place.clone()), Expect::Anybody, &places)?,
            weight: 1,
            near: false,
        })
    }

    /// The peer, new or known. `None` where this endpoint can dial none of its places.
    fn peer(&self, id: PeerId, expect: Expect, places: &[Locator]) -> Option<Arc<Peer>> {
        let name = places.first()?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&id).and_then(Weak::upgrade) {
            peer.set_places(places);
            return Some(peer);
        }
        let peer = Arc::new(Peer::new(id, expect, name, places));
        peers.insert(peer.id().clone(), Arc::downgrade(&peer));
        Some(peer)
    }

    /// The targets that somebody holds, those that nobody does forgotten.
    fn held(&self) -> Vec<Arc<Service>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, service| service.strong_count() > 0);
        services.values().filter_map(Weak::upgrade).collect()
    }

    fn refresh(&self) {
        for service in self.held() {
            let candidates = self.candidates(&service.target);
            // Of too many the ways stay what they were; whoever asks for the route anew is told.
            let _ = service.refresh(candidates, self.number, now());
        }
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| peer.strong_count() > 0);
    }

    fn eject_outliers(&self) {
        for service in self.held() {
            let ejected = service.table().eject_outliers(&service.routing().outliers, now());
            service::Counters::add(&service.counters.ejected, ejected as u64);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Keeps the tables in step with the registry, and looks for outliers.
async fn keep(router: Weak<Inner>, view: Option<Arc<View>>) {
    let mut seen = None;
    let health = router.upgrade().and_then(|router| router.health.clone());
    let mut look = tokio::time::interval(OUTLIERS_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let news = async {
            match &view {
                Some(view) => view
                    .wait_for(|progress| progress.listed && Some(progress.revision) != seen)
                    .await
                    .map(|snapshot| snapshot.revision()),
                None => std::future::pending().await,
            }
        };
        let judged = async {
            match &health {
                Some(health) => health.changed().await,
                None => std::future::pending().await,
            }
        };
        let refresh = tokio::select! {
            news = news => match news {
                Ok(revision) => {
                    seen = Some(revision);
                    true
                }
                // With its runtime.
                Err(_) => return,
            },
            () = judged => true,
            _ = look.tick() => false,
        };
        let Some(router) = router.upgrade() else { return };
        match refresh {
            true => router.refresh(),
            false => router.eject_outliers(),
        }
    }
}

/// Now, on the clock of the runtime, as the endpoint reads it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl fmt::Debug for StreamRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRouter")
            .field("zone", &self.inner.zone)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamRouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRouterBuilder")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("target", self.target())
            .finish_non_exhaustive()
    }
}

/// How often outliers are looked for, as Envoy does.
const OUTLIERS_EVERY: Duration = Duration::from_secs(10);
