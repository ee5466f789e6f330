//! Whether agents are well, from what is heard of them: suspicion that grows with silence, damping of those that come and go,
//! and a limit past which suspicion is taken for a fault of the observer.
//!
//! It is a state machine: signals and times come in, verdicts come out. It probes nobody; whoever calls, probes or relays
//! tells it what came of that. A verdict changes where calls go and nothing else. It never removes an agent: only a lease that
//! ends does, or a delete that is guarded by the very record that was judged, which [`HealthEvent::Condemned`] proposes.
//!
//! Read [`Health::handle_signal`] first, then [`Health::routable`].

mod damping;
mod phi;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::Moment;
use crate::agent::{AgentId, Incarnation, Word};

use self::damping::Penalty;
use self::phi::Arrivals;

/// How health is judged. [`HealthConfig::DEFAULT`] suspects after about three heartbeats in a row that did not come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthConfig {
    /// The interval of heartbeats that is expected of an agent of which nothing is known yet.
    pub interval: Duration,
    /// The least standard deviation of intervals that is believed: a peer that is regular to the millisecond would
    /// otherwise be suspected for a pause of a few.
    pub deviation_min: Duration,
    /// The suspicion at which an agent is suspect: it is minus the decimal logarithm of the chance that it is well and only
    /// late.
    pub phi_suspect: f64,
    /// Failures in a row after which an agent is suspect whatever is heard of it otherwise.
    pub failures_suspect: u32,
    /// The half-life of what flapping costs.
    pub flap_half_life: Duration,
    /// Recoveries at once past which an agent is held back: its penalty is above this many.
    pub flap_suppress: f64,
    /// The penalty below which it is let back in.
    pub flap_reuse: f64,
    /// The share of a service's agents that may be suspect. Past it, all of them are used: more likely it is the observer
    /// that is ill.
    pub panic_share: f64,
    /// How long an agent is suspect without a break before its removal is proposed; never, where there is none.
    pub condemn_after: Option<Duration>,
}

impl HealthConfig {
    /// Heartbeats of two seconds; suspicion at one in a hundred million; five failures in a row; half a service.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_secs(2),
        deviation_min: Duration::from_millis(500),
        phi_suspect: 8.0,
        failures_suspect: 5,
        flap_half_life: Duration::from_secs(60),
        flap_suppress: 3.0,
        flap_reuse: 1.0,
        panic_share: 0.5,
        condemn_after: None,
    };
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Something that was heard of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// A sign of life that comes at intervals: a renewal that was seen, an answer to a probe.
    Heartbeat,
    /// A call that it answered.
    Success,
    /// A call, a dial or a probe that failed in a way that the agent is to blame for.
    Failure,
    /// The connection to it broke without a farewell.
    ConnectionLost,
}

/// What is thought of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing speaks against it.
    Well,
    /// It is likely not there, or it fails.
    Suspect,
    /// It seems well and was suspect too often of late; it is held back until it has been well for a while.
    Flapping,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthEvent {
    /// The verdict about an agent is another.
    Changed {
        /// The agent.
        agent: AgentId,
        /// The life of it that was judged.
        incarnation: Incarnation,
        /// What was thought.
        before: Verdict,
        /// What is thought.
        after: Verdict,
    },
    /// More of a service is suspect than is believable, so all of it is used; or no longer.
    Panic {
        /// The service.
        service: Word,
        /// Whether it begins.
        begins: bool,
    },
    /// An agent has been suspect for so long that its entry may be deleted: under a guard on the record of this incarnation, or
    /// not at all.
    Condemned {
        /// The agent.
        agent: AgentId,
        /// The life of it that was judged.
        incarnation: Incarnation,
    },
}

/// What is thought of agents, and why.
#[derive(Debug)]
pub struct Health {
    config: HealthConfig,
    now: Moment,
    agents: HashMap<AgentId, Watched>,
    services: HashMap<Word, Members>,
    due: BTreeSet<(Moment, AgentId)>,
    events: VecDeque<HealthEvent>,
}

#[derive(Debug)]
struct Watched {
    incarnation: Incarnation,
    services: Vec<Word>,
    arrivals: Arrivals,
    failures: u32,
    penalty: Penalty,
    verdict: Verdict,
    /// Since when it has been suspect without a break.
    suspect_since: Option<Moment>,
    condemned: bool,
    /// When to look again.
    due: Moment,
}

#[derive(Debug, Default)]
struct Members {
    all: HashSet<AgentId>,
    unwell: usize,
    panic: bool,
}

impl Health {
    /// Nothing known of anybody.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            config,
            now: Moment::START,
            agents: HashMap::new(),
            services: HashMap::new(),
            due: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// An agent is here, in this life, with these services; or offers others now. What was thought of an earlier life is
    /// forgotten, but for how often it came and went.
    ///
    /// False where there is no room for another: its silence is then not noticed, and it counts as well.
    pub fn handle_agent(
        &mut self,
        now: Moment,
        agent: &AgentId,
        incarnation: Incarnation,
        services: &[Word],
    ) -> bool {
        self.handle_timeout(now);
        let before = self.agents.get(agent);
        if before.is_some_and(|watched| watched.incarnation > incarnation) {
            return true;
        }
        if before.is_none() && self.agents.len() >= AGENTS_MAX {
            return false;
        }
        let services: Vec<Word> = services
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .cloned()
            .collect();
        if let Some(watched) = self.agents.get(agent)
            && watched.incarnation == incarnation
        {
            if watched.services != services {
                self.leave_services(agent);
                self.join_services(agent, services);
            }
            return true;
        }
        let penalty = match self.agents.get(agent) {
            // Who crashes and comes back flaps as much as who is not heard.
            Some(watched) => watched.penalty.raised(&self.config, self.now),
            None => Penalty::default(),
        };
        self.forget(agent);
        let arrivals = Arrivals::new(&self.config, self.now);
        let due = arrivals.suspect_at(&self.config);
        let watched = Watched {
            incarnation,
            services: Vec::new(),
            arrivals,
            failures: 0,
            penalty,
            verdict: Verdict::Well,
            suspect_since: None,
            condemned: false,
            due,
        };
        self.due.insert((due, agent.clone()));
        self.agents.insert(agent.clone(), watched);
        self.join_services(agent, services);
        self.judge(agent);
        true
    }

    /// An agent is here no more.
    pub fn handle_gone(&mut self, now: Moment, agent: &AgentId) {
        self.handle_timeout(now);
        self.forget(agent);
    }

    /// Something was heard of an agent. What is said about an earlier life than the one that is here says nothing, and
    /// neither does what is said about agents that are not.
    pub fn handle_signal(&mut self, now: Moment, agent: &AgentId, incarnation: Incarnation, signal: Signal) {
        self.handle_timeout(now);
        let now = self.now;
        let Some(watched) = self.agents.get_mut(agent) else {
            return;
        };
        if watched.incarnation != incarnation {
            return;
        }
        match signal {
            Signal::Heartbeat => watched.arrivals.heard(now),
            Signal::Success => {
                watched.failures = 0;
                watched.arrivals.alive(now);
            }
            Signal::Failure => watched.failures = watched.failures.saturating_add(1),
            // One loss says as much as all but one of the failures: the next failure makes it suspect.
            Signal::ConnectionLost => {
                let almost = self.config.failures_suspect.saturating_sub(1);
                watched.failures = watched.failures.saturating_add(1).max(almost);
            }
        }
        self.judge(agent);
    }

    /// Time passes. Every other command does this first.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = self.now.max(now);
        while let Some((due, agent)) = self.due.first() {
            if *due > self.now {
                break;
            }
            let agent = agent.clone();
            self.judge(&agent);
        }
    }

    /// When a verdict may change by itself.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What changed, in order.
    pub fn poll_event(&mut self) -> Option<HealthEvent> {
        self.events.pop_front()
    }

    /// What is thought of an agent. One of which nothing is known is well.
    pub fn verdict(&self, agent: &AgentId) -> Verdict {
        self.agents
            .get(agent)
            .map_or(Verdict::Well, |watched| watched.verdict)
    }

    /// How suspicious the silence of an agent is now.
    pub fn phi(&self, agent: &AgentId) -> f64 {
        self.agents
            .get(agent)
            .map_or(0.0, |watched| watched.arrivals.phi(&self.config, self.now))
    }

    /// Whether calls of a service go to this agent: it is well, or so much of the service is not that all of it is used.
    pub fn routable(&self, service: &Word, agent: &AgentId) -> bool {
        self.verdict(agent) == Verdict::Well || self.in_panic(service)
    }

    /// Whether so much of a service is not well that all of it is used.
    pub fn in_panic(&self, service: &Word) -> bool {
        self.services.get(service).is_some_and(|members| members.panic)
    }

    /// Whether the books agree. Tests ask after every step.
    ///
    /// # Panics
    /// When they do not.
    pub fn invariants(&self) {
        assert_eq!(self.due.len(), self.agents.len());
        for (service, members) in &self.services {
            assert!(!members.all.is_empty(), "{service} is empty");
            let unwell = members
                .all
                .iter()
                .filter(|agent| self.verdict(agent) != Verdict::Well)
                .count();
            assert_eq!(unwell, members.unwell, "{service}");
            assert_eq!(
                members.panic,
                self.is_panic(members.all.len(), unwell),
                "{service}"
            );
        }
        for (agent, watched) in &self.agents {
            assert!(self.due.contains(&(watched.due, agent.clone())));
            let suspect = watched.verdict == Verdict::Suspect;
            assert_eq!(suspect, watched.suspect_since.is_some());
            assert!(
                watched
                    .services
                    .iter()
                    .all(|service| self.services[service].all.contains(agent))
            );
        }
    }

    fn judge(&mut self, agent: &AgentId) {
        let (config, now) = (self.config, self.now);
        let Some(watched) = self.agents.get_mut(agent) else {
            return;
        };
        let before = watched.verdict;
        let silent = watched.arrivals.phi(&config, now) >= config.phi_suspect;
        let failing = watched.failures >= config.failures_suspect;
        let after = if silent || failing {
            Verdict::Suspect
        } else {
            if before == Verdict::Suspect {
                watched.penalty = watched.penalty.raised(&config, now);
            }
            match watched.penalty.holds(&config, now) {
                true => Verdict::Flapping,
                false => Verdict::Well,
            }
        };
        watched.verdict = after;
        match after {
            Verdict::Suspect => watched.suspect_since = Some(watched.suspect_since.unwrap_or(now)),
            Verdict::Well | Verdict::Flapping => {
                watched.suspect_since = None;
                watched.condemned = false;
            }
        }
        let incarnation = watched.incarnation;
        if before != after {
            self.events.push_back(HealthEvent::Changed {
                agent: agent.clone(),
                incarnation,
                before,
                after,
            });
            self.count(agent, before, after);
        }
        self.condemn(agent);
        self.look_again(agent);
    }

    /// Keeps the number of unwell members of each of an agent's services.
    fn count(&mut self, agent: &AgentId, before: Verdict, after: Verdict) {
        let services = self.agents.get(agent).map(|watched| watched.services.clone());
        for service in services.unwrap_or_default() {
            if let Some(members) = self.services.get_mut(&service) {
                members.unwell += usize::from(after != Verdict::Well);
                members.unwell -= usize::from(before != Verdict::Well);
            }
            self.update_panic(&service);
        }
    }

    /// Proposes the removal of an agent that has been suspect for long, unless one of its services is in panic: then it is
    /// the observer who is to be doubted, and a whole service would go at once.
    fn condemn(&mut self, agent: &AgentId) {
        let (now, after) = (self.now, self.config.condemn_after);
        let Some(watched) = self.agents.get(agent) else {
            return;
        };
        let long = after
            .zip(watched.suspect_since)
            .is_some_and(|(after, since)| now >= since.saturating_add(after));
        if !long || watched.condemned || watched.services.iter().any(|service| self.in_panic(service)) {
            return;
        }
        let incarnation = watched.incarnation;
        if let Some(watched) = self.agents.get_mut(agent) {
            watched.condemned = true;
        }
        self.events.push_back(HealthEvent::Condemned {
            agent: agent.clone(),
            incarnation,
        });
    }

    /// Sets when the verdict about an agent may change by itself.
    fn look_again(&mut self, agent: &AgentId) {
        let (config, now) = (self.config, self.now);
        let Some(watched) = self.agents.get_mut(agent) else {
            return;
        };
        let never = Moment::from_millis(u64::MAX);
        let due = match (watched.verdict, watched.suspect_since, config.condemn_after) {
            (Verdict::Suspect, Some(since), Some(after)) if !watched.condemned => {
                let due = since.saturating_add(after);
                // Held back by panic: looked at again later, since nothing else may come.
                if due <= now {
                    now.saturating_add(after.max(config.interval))
                } else {
                    due
                }
            }
            (Verdict::Suspect, ..) => never,
            (Verdict::Flapping, ..) => {
                let held = watched.penalty.holds_until(&config, now);
                held.min(watched.arrivals.suspect_at(&config))
            }
            (Verdict::Well, ..) => watched.arrivals.suspect_at(&config),
        };
        let due = due.max(now.saturating_add(Duration::from_millis(1)));
        if due != watched.due {
            self.due.remove(&(watched.due, agent.clone()));
            self.due.insert((due, agent.clone()));
            watched.due = due;
        }
    }

    fn forget(&mut self, agent: &AgentId) {
        self.leave_services(agent);
        if let Some(watched) = self.agents.remove(agent) {
            self.due.remove(&(watched.due, agent.clone()));
        }
    }

    fn join_services(&mut self, agent: &AgentId, services: Vec<Word>) {
        let Some(watched) = self.agents.get_mut(agent) else {
            return;
        };
        let unwell = usize::from(watched.verdict != Verdict::Well);
        watched.services.clone_from(&services);
        for service in services {
            let members = self.services.entry(service.clone()).or_default();
            members.all.insert(agent.clone());
            members.unwell += unwell;
            self.update_panic(&service);
        }
    }

    fn leave_services(&mut self, agent: &AgentId) {
        let Some(watched) = self.agents.get_mut(agent) else {
            return;
        };
        let unwell = usize::from(watched.verdict != Verdict::Well);
        for service in std::mem::take(&mut watched.services) {
            if let Some(members) = self.services.get_mut(&service) {
                members.all.remove(agent);
                members.unwell -= unwell;
            }
            self.update_panic(&service);
            if self
                .services
                .get(&service)
                .is_some_and(|members| members.all.is_empty())
            {
                self.services.remove(&service);
            }
        }
    }

    fn update_panic(&mut self, service: &Word) {
        let Some(members) = self.services.get(service) else {
            return;
        };
        let panic = self.is_panic(members.all.len(), members.unwell);
        if let Some(members) = self.services.get_mut(service)
            && members.panic != panic
        {
            members.panic = panic;
            self.events.push_back(HealthEvent::Panic {
                service: service.clone(),
                begins: panic,
            });
        }
    }

    fn is_panic(&self, all: usize, unwell: usize) -> bool {
        unwell > 0 && unwell as f64 > all as f64 * self.config.panic_share
    }
}

/// Agents that are watched: the fleet that the registry is measured with, with room.
pub const AGENTS_MAX: usize = 200_000;
