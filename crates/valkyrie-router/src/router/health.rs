//! How the agents of a registry are, as this router finds: it asks each of them now and then, hears what came of calls, and leaves
//! out whom [`Health`] does not call well.
//!
//! What is thought of an agent changes where calls go and nothing else. Where the caller gives a store, an agent that has been
//! suspect for long is removed, if its entry is still the one that was judged, and never a whole service at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use valkyrie_endpoint::{Class, Endpoint, Method};
use valkyrie_registry::agent::{AgentId, Incarnation, Word};
use valkyrie_registry::directory::{Member, Snapshot};
use valkyrie_registry::health::{Health, HealthConfig, HealthEvent, Signal, Verdict};
use valkyrie_registry::registrar::remove;
use valkyrie_registry::{Moment, Store};

use super::Inner;
use super::peer::{Peer, PeerId};
use crate::Needs;
use crate::probe::{ProbeError, ProbeRules, ask};

/// How agents are watched.
#[derive(Clone)]
pub struct Watching {
    health: HealthConfig,
    timeout: Duration,
    call: Option<Method>,
    rules: ProbeRules,
    store: Option<Arc<dyn Store>>,
}

impl Watching {
    /// By PING over the connection that calls take, at the interval that `health` expects, each answered within half of it.
    pub fn new(health: HealthConfig) -> Self {
        Self {
            health,
            timeout: health.interval / 2,
            call: None,
            rules: ProbeRules::new(),
            store: None,
        }
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// By this call instead, which has to be answered without a failure: one that is answered by what does the work.
    #[must_use]
    pub fn by_call(mut self, method: Method) -> Self {
        self.call = Some(method);
        self
    }

    /// Agents that say where they can be asked are asked there, where the rules allow it, and as all others where they do not.
    #[must_use]
    pub fn at_places_of(mut self, rules: ProbeRules) -> Self {
        self.rules = rules;
        self
    }

    /// Who has been suspect for as long as [`HealthConfig::condemn_after`] is removed from this store.
    #[must_use]
    pub fn deregistering_from(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("health", &self.health)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// What is known of agents' health.
pub(crate) struct HealthBoard {
    watching: Watching,
    health: Mutex<Health>,
    began: Instant,
    /// Verdicts have changed.
    changed: Notify,
}

impl HealthBoard {
    pub(crate) fn new(watching: Watching) -> Self {
        Self {
            health: Mutex::new(Health::new(watching.health)),
            watching,
            began: Instant::now(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::START.saturating_add(self.began.elapsed())
    }

    /// Whether calls of a service go to an agent. Of no service in particular: whether it is well.
    pub(crate) fn routable(&self, service: Option<&Word>, agent: &AgentId) -> bool {
        let health = self.lock();
        match service {
            Some(service) => health.routable(service, agent),
            None => health.verdict(agent) == Verdict::Well,
        }
    }

    pub(crate) fn verdict(&self, agent: &AgentId) -> Verdict {
        self.lock().verdict(agent)
    }

    /// Waits until a verdict has changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Something was heard of a peer.
    pub(crate) fn signal(&self, peer: &PeerId, signal: Signal) {
        if let PeerId::Agent(agent, incarnation) = peer {
            let now = self.now();
            // What comes of it is seen to with the next look; until then the breaker of each way knows.
            self.lock().handle_signal(now, agent, *incarnation, signal);
        }
    }
}

/// An agent that is asked.
struct Asked {
    incarnation: Incarnation,
    due: Instant,
    /// Held, so that the connection is there the next time, also while no calls go there.
    peer: Arc<Peer>,
}

/// Asks the agents that a router sends to, for as long as there is a router. One that it has begun to ask it asks until it is gone.
pub(crate) async fn watch(router: Weak<Inner>, board: Arc<HealthBoard>, view: Arc<valkyrie_registry::View>) {
    let mut asked: HashMap<AgentId, Asked> = HashMap::new();
    let mut running = JoinSet::new();
    let interval = board.watching.health.interval;
    let mut tick = tokio::time::interval((interval / TICKS).max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            Some(_) = running.join_next() => continue,
        }
        let Some(live) = router.upgrade() else { return };
        let snapshot = view.snapshot();
        follow(&live, &board, &snapshot, &mut asked);
        let now = Instant::now();
        for (id, asked) in &mut asked {
            let Some(member) = snapshot.get(id) else { continue };
            if asked.due > now || running.len() >= ASKED_MAX {
                continue;
            }
            asked.due = now + interval;
            let ask = ask_one(
                live.endpoint.clone(),
                Arc::clone(&board),
                Arc::clone(member),
                Arc::clone(&asked.peer),
            );
            running.spawn(ask);
        }
        act(&board, &snapshot, &mut running);
    }
}

/// Tells the health of who has come and who has gone.
fn follow(router: &Inner, board: &HealthBoard, snapshot: &Snapshot, asked: &mut HashMap<AgentId, Asked>) {
    // Looked up before the health is locked: whoever makes a table asks about health.
    let tables: Vec<_> = router.held().iter().map(|service| service.table()).collect();
    let now = board.now();
    let mut health = board.lock();
    health.handle_timeout(now);
    asked.retain(|id, _| {
        let here = snapshot.get(id).is_some();
        if !here {
            health.handle_gone(now, id);
        }
        here
    });
    for table in tables {
        for way in table.ways() {
            let PeerId::Agent(id, incarnation) = way.peer.id() else {
                continue;
            };
            let known = asked
                .get(id)
                .is_some_and(|asked| asked.incarnation >= *incarnation);
            let member = snapshot.get(id).filter(|_| !known);
            let Some(member) = member.filter(|member| member.record().incarnation() == *incarnation) else {
                continue;
            };
            let services: Vec<Word> = member
                .description()
                .services
                .iter()
                .map(|s| s.name.clone())
                .collect();
            if health.handle_agent(now, id, *incarnation, &services) {
                let new = Asked {
                    incarnation: *incarnation,
                    // Not all at once.
                    due: Instant::now() + board.watching.health.interval.mul_f64(fastrand::f64()),
                    peer: Arc::clone(&way.peer),
                };
                asked.insert(id.clone(), new);
            }
        }
    }
}

/// Does what has come of verdicts: tells the router, and removes who is condemned.
fn act(board: &Arc<HealthBoard>, snapshot: &Snapshot, running: &mut JoinSet<()>) {
    let mut events = Vec::new();
    {
        let mut health = board.lock();
        while let Some(event) = health.poll_event() {
            events.push(event);
        }
    }
    if !events.is_empty() {
        board.changed.notify_one();
    }
    for event in events {
        let HealthEvent::Condemned { agent, incarnation } = event else {
            continue;
        };
        let Some(store) = board.watching.store.clone() else {
            continue;
        };
        let judged = snapshot
            .get(&agent)
            .filter(|member| member.record().incarnation() == incarnation);
        if let Some(judged) = judged.cloned() {
            // Where the store cannot be told, the lease ends it, or the agent is condemned again.
            running.spawn(async move {
                let _ = tokio::time::timeout(REMOVE_FOR, remove(&*store, &judged)).await;
            });
        }
    }
}

async fn ask_one(endpoint: Endpoint, board: Arc<HealthBoard>, member: Arc<Member>, peer: Arc<Peer>) {
    let asked = ask_by(&endpoint, &board.watching, &member, &peer);
    let well = matches!(
        tokio::time::timeout(board.watching.timeout, asked).await,
        Ok(true)
    );
    let now = board.now();
    let incarnation = member.record().incarnation();
    let mut health = board.lock();
    if well {
        health.handle_signal(now, member.id(), incarnation, Signal::Heartbeat);
        // An answer also ends a row of failures.
        health.handle_signal(now, member.id(), incarnation, Signal::Success);
    } else {
        health.handle_signal(now, member.id(), incarnation, Signal::Failure);
    }
}

/// Whether an agent answers as one that is well.
async fn ask_by(endpoint: &Endpoint, watching: &Watching, member: &Member, peer: &Arc<Peer>) -> bool {
    if let Some(place) = &member.description().probe {
        match ask(&watching.rules, &member.id().owner(), place).await {
            // Where the place may not be asked, the agent itself is.
            Err(ProbeError::NotAllowed(_)) => {}
            asked => return asked.is_ok(),
        }
    }
    let needs = Needs::of(Class::Data);
    let Ok(connection) = peer.connection(endpoint, &needs, None).await else {
        return false;
    };
    match &watching.call {
        None => connection.ping().await.is_ok(),
        // In the class that every peer may use.
        Some(method) => connection.call(method, "").class(Class::Data).await.is_ok(),
    }
}

/// Looks in the time of one interval: agents are asked within a tenth of when they should be.
const TICKS: u32 = 10;
/// Agents that are asked at one time.
const ASKED_MAX: usize = 256;
/// How long a removal may take.
const REMOVE_FOR: Duration = Duration::from_secs(5);
