//! What a router knows of one target: the ways to it, how long answers take, and what may be retried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use valkyrie_transport::Capabilities;

use super::peer::Peer;
use super::routing::Routing;
use super::target::Target;
use crate::balance::{hash, mixed, pull};
use crate::quantile::Delays;
use crate::{Idempotent, RetryBudget, RouteError, Table, Way};

/// The ways of a target at one time.
pub(crate) type Ways = Table<Arc<Peer>>;

/// A target, shared by all who send to it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) target: Target,
    rules: ArcSwap<Rules>,
    pub(crate) budget: RetryBudget,
    pub(crate) delays: Delays,
    pub(crate) counters: Counters,
    /// Told when there are other ways.
    pub(crate) changed: Notify,
    table: ArcSwap<Ways>,
    /// What the table was made of.
    made_of: Mutex<Vec<Candidate>>,
}

/// How its messages are routed.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) routing: Routing,
    /// What the policy says may be done twice, whether or not the caller says so.
    pub(crate) idempotent: Idempotent,
    /// Of the policy that they are from; zero without one.
    pub(crate) version: u64,
}

/// Somebody who could be a way.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: Arc<Peer>,
    pub(crate) weight: u32,
    pub(crate) near: bool,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.peer, &other.peer) && self.weight == other.weight && self.near == other.near
    }
}

/// What has been counted for a target.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) hedges_won: AtomicU64,
    pub(crate) over_budget: AtomicU64,
    pub(crate) unfit: AtomicU64,
    pub(crate) ejected: AtomicU64,
    pub(crate) moves: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Service {
    /// # Errors
    /// [`RouteError::TooMany`].
    pub(crate) fn new(
        target: Target,
        rules: Rules,
        candidates: Vec<Candidate>,
        router: u64,
        now: Instant,
    ) -> Result<Self, RouteError> {
        let routing = rules.routing;
        let ways = ways(&candidates, &routing, router);
        Ok(Self {
            target,
            rules: ArcSwap::from_pointee(rules),
            budget: RetryBudget::new(routing.budget, now),
            delays: Delays::default(),
            counters: Counters::default(),
            changed: Notify::new(),
            table: ArcSwap::from_pointee(Table::new(ways, routing.breaker, now)?),
            made_of: Mutex::new(candidates),
        })
    }

    /// How its messages are routed now. It takes no lock.
    pub(crate) fn routing(&self) -> Routing {
        self.rules.load().routing
    }

    /// Whether a method may be called twice, by the policy.
    pub(crate) fn is_idempotent(&self, method: &str) -> bool {
        self.rules.load().idempotent.includes(method)
    }

    /// Of which policy its rules are.
    pub(crate) fn version(&self) -> u64 {
        self.rules.load().version
    }

    /// Puts other rules in force. The ways are made anew with the next [`Service::refresh`].
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
        self.made_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The ways that there are now. It takes no lock.
    pub(crate) fn table(&self) -> Arc<Ways> {
        self.table.load_full()
    }

    /// There may be others now.
    ///
    /// # Errors
    /// [`RouteError::TooMany`]; the ways stay what they were.
    pub(crate) fn refresh(
        &self,
        candidates: Vec<Candidate>,
        router: u64,
        now: Instant,
    ) -> Result<(), RouteError> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if *made_of == candidates {
            return Ok(());
        }
        let ways = ways(&candidates, &self.routing(), router);
        let table = Table::after(&self.table.load(), ways, now)?;
        self.table.store(Arc::new(table));
        *made_of = candidates;
        drop(made_of);
        self.changed.notify_waiters();
        Ok(())
    }
}

/// The ways among candidates, a part of them where there are more than this router is to talk to. Which part depends on
/// the router and each candidate alone, so little changes when one comes or goes.
fn ways(candidates: &[Candidate], routing: &Routing, router: u64) -> Vec<Way<Arc<Peer>>> {
    let mut taken: Vec<&Candidate> = candidates.iter().collect();
    if let Some(subset) = routing.subset.filter(|subset| *subset < taken.len()) {
        let pull = |candidate: &Candidate| {
            let hash = hash(candidate.peer.locator().as_str().as_bytes());
            pull(mixed(hash ^ router), candidate.weight.max(1))
        };
        // Near ones before all others, as when one is chosen.
        taken.sort_by(|a, b| (b.near.cmp(&a.near)).then(pull(b).total_cmp(&pull(a))));
        taken.truncate(subset.max(1));
    }
    taken
        .into_iter()
        .map(|candidate| Way {
            peer: Arc::clone(&candidate.peer),
            locator: candidate.peer.locator(),
            capabilities: ANYTHING,
            weight: candidate.weight,
            near: candidate.near,
        })
        .collect()
}

/// What a peer can do is known once there is a link to it; until then it is taken to be everything.
const ANYTHING: Capabilities = Capabilities::EVERYTHING;
