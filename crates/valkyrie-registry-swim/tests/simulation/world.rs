//! Members on virtual time, over a network that delays, loses and cuts packets, and members that stop, crash and start anew. One seed, one history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::Moment;
use valkyrie_registry::agent::{AgentId, Description, Incarnation, Word};
use valkyrie_registry_swim::{GoneWhy, Life, Now, PacketError, Recipient, Swim, SwimConfig, SwimEvent};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;

/// How often it is looked whether what is waited for has come: to look after every packet would take most of the time.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many steps are taken for each in which everything is checked.
const STEPS_PER_CHECK: u64 = 16;
/// When the world begins, by the time of day.
const DAWN: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(crate) struct World {
    pub(crate) at: Moment,
    pub(crate) config: SwimConfig,
    pub(crate) dice: fastrand::Rng,
    pub(crate) nodes: Vec<Node>,
    /// Packets in a hundred that are lost.
    pub(crate) loss: f64,
    /// Which part of the network each node is in; packets stay within a part.
    pub(crate) part: Vec<u8>,
    packets: BTreeMap<(Moment, u64), (usize, usize, Bytes)>,
    sent: u64,
    pub(crate) sent_bytes: u64,
    /// Verdicts of silence about members that were running and connected, ever.
    pub(crate) false_verdicts: u64,
    pub(crate) faults: Vec<PacketError>,
}

pub(crate) struct Node {
    pub(crate) id: AgentId,
    pub(crate) key: Arc<SigningKey>,
    /// `None` while it is not running.
    pub(crate) swim: Option<Swim>,
    /// It stands still: packets wait for it, and so does its time.
    pub(crate) stopped: bool,
    waiting: VecDeque<(usize, Bytes)>,
    /// Who it takes for present, and in which life.
    pub(crate) sees: BTreeMap<AgentId, Incarnation>,
    /// What happened to agents, when it noticed.
    pub(crate) noticed: Vec<(Moment, SwimEvent)>,
    /// By how much its time of day is ahead.
    pub(crate) clock_ahead: i64,
}

pub(crate) fn word(text: &str) -> Word {
    text.parse().unwrap()
}

impl World {
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let nodes = (0..count).map(|_| {
            let mut bytes = [0; 32];
            dice.fill(&mut bytes);
            let key = Arc::new(SigningKey::from_seeds(&bytes, None).unwrap());
            Node {
                id: AgentId::new(key.fingerprint(), word("main")).unwrap(),
                key,
                swim: None,
                stopped: false,
                waiting: VecDeque::new(),
                sees: BTreeMap::new(),
                noticed: Vec::new(),
                clock_ahead: 0,
            }
        });
        Self {
            at: Moment::from_millis(1),
            config: SwimConfig::default(),
            nodes: nodes.collect(),
            dice,
            loss: 0.0,
            part: vec![0; count],
            packets: BTreeMap::new(),
            sent: 0,
            sent_bytes: 0,
            false_verdicts: 0,
            faults: Vec::new(),
        }
    }

    /// All of them running and knowing each other.
    pub(crate) fn settled(seed: u64, count: usize) -> Self {
        let mut world = Self::new(seed, count);
        for node in 0..count {
            world.start(node);
        }
        world.run_until(Duration::from_secs(60), |world| world.converged());
        assert!(world.converged(), "they have not found each other");
        for node in &mut world.nodes {
            node.noticed.clear();
        }
        world
    }

    pub(crate) fn now(&self, node: usize) -> Now {
        let ahead = self.nodes[node].clock_ahead;
        let unix = DAWN.millis() + self.at.millis();
        Now {
            at: self.at,
            unix: UnixTime::from_millis(unix.checked_add_signed(ahead).unwrap()),
        }
    }

    /// Starts a node in a new life. The first is where all others are told to begin.
    pub(crate) fn start(&mut self, node: usize) {
        let now = self.now(node);
        let seed = self.dice.u64(..);
        let key = Arc::clone(&self.nodes[node].key);
        let description = Description::new(word(&format!("node-{node}")));
        let swim = Swim::new(
            now,
            self.config.clone(),
            word("test"),
            word("main"),
            key,
            description,
            seed,
        );
        self.nodes[node].swim = Some(swim.unwrap());
        self.nodes[node].stopped = false;
        self.nodes[node].sees.clear();
        self.settle(node);
    }

    pub(crate) fn crash(&mut self, node: usize) {
        self.nodes[node].swim = None;
        self.nodes[node].sees.clear();
        self.nodes[node].waiting.clear();
    }

    pub(crate) fn leave(&mut self, node: usize) {
        let now = self.now(node);
        self.nodes[node].swim.as_mut().unwrap().leave(now).unwrap();
        self.settle(node);
        self.crash(node);
    }

    /// Lets a node that stood still go on: its timers are due, and it finds its packets waiting behind them.
    pub(crate) fn resume(&mut self, node: usize) {
        self.nodes[node].stopped = false;
        let now = self.now(node);
        if let Some(swim) = &mut self.nodes[node].swim {
            swim.handle_timeout(now);
            self.settle(node);
        }
        while let Some((from, packet)) = self.nodes[node].waiting.pop_front() {
            self.deliver(from, node, &packet);
        }
    }

    fn runs(&self, node: usize) -> bool {
        self.nodes[node].swim.is_some() && !self.nodes[node].stopped
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|node| self.runs(*node))
    }

    /// Whether everybody who is running takes those and only those for present that are, in the lives that they live.
    pub(crate) fn converged(&self) -> bool {
        let lives: BTreeMap<AgentId, Incarnation> = self
            .running()
            .map(|node| {
                let life = self.nodes[node].swim.as_ref().unwrap().life();
                (life.id.clone(), life.incarnation)
            })
            .collect();
        self.running().all(|node| self.nodes[node].sees == lives)
    }

    /// Who does not see `node`, of those who run.
    pub(crate) fn blind_to(&self, node: usize) -> BTreeSet<usize> {
        let id = &self.nodes[node].id;
        self.running()
            .filter(|other| *other != node && !self.nodes[*other].sees.contains_key(id))
            .collect()
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done`, or for `time`. How long it took.
    pub(crate) fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.at;
        let end = begin.saturating_add(time);
        let mut look = begin;
        loop {
            if self.at >= look {
                if done(self) {
                    break;
                }
                look = self.at.saturating_add(LOOK_EVERY);
            }
            let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
            let due = self.running().filter_map(|node| {
                let at = self.nodes[node].swim.as_ref().unwrap().poll_timeout()?;
                Some((at, node))
            });
            let due = due.min();
            match (packet, due) {
                (Some(packet), due) if packet <= end && due.is_none_or(|(due, _)| packet <= due) => {
                    self.at = self.at.max(packet);
                    let (_, (from, to, bytes)) = self.packets.pop_first().unwrap();
                    self.deliver(from, to, &bytes);
                }
                (_, Some((due, node))) if due <= end => {
                    self.at = self.at.max(due);
                    let now = self.now(node);
                    self.nodes[node].swim.as_mut().unwrap().handle_timeout(now);
                    self.settle(node);
                }
                _ => {
                    self.at = end;
                    break;
                }
            }
        }
        self.at.since(begin)
    }

    /// A packet that somebody made up.
    pub(crate) fn inject(&mut self, from: usize, to: usize, bytes: &Bytes) {
        self.deliver(from, to, bytes);
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: &Bytes) {
        if self.part[from] != self.part[to] {
            return;
        }
        if self.nodes[to].stopped {
            self.nodes[to].waiting.push_back((from, bytes.clone()));
            return;
        }
        let (now, owner) = (self.now(to), self.nodes[from].id.owner());
        let Some(swim) = &mut self.nodes[to].swim else {
            return;
        };
        if let Err(fault) = swim.handle_packet(now, owner, bytes) {
            self.faults.push(fault);
        }
        self.settle(to);
    }

    /// Takes what a member has to say.
    fn settle(&mut self, node: usize) {
        let swim = self.nodes[node].swim.as_mut().unwrap();
        if self.dice.u64(..STEPS_PER_CHECK) == 0 {
            swim.invariants();
        }
        let (mut transmits, mut events) = (Vec::new(), Vec::new());
        transmits.extend(std::iter::from_fn(|| swim.poll_transmit()));
        events.extend(std::iter::from_fn(|| swim.poll_event()));
        for transmit in transmits {
            self.sent_bytes += transmit.packet.len() as u64;
            let to = match &transmit.to {
                Recipient::Seeds => Some(0),
                Recipient::Agent { id, .. } => self.nodes.iter().position(|node| node.id == *id),
            };
            let Some(to) = to.filter(|to| *to != node) else {
                continue;
            };
            self.sent += 1;
            if self.dice.f64() * 100.0 < self.loss {
                continue;
            }
            let after = Duration::from_millis(self.dice.u64(1..=3));
            let key = (self.at.saturating_add(after), self.sent);
            self.packets.insert(key, (node, to, transmit.packet));
        }
        for event in events {
            self.note(node, event);
        }
    }

    fn note(&mut self, node: usize, event: SwimEvent) {
        match &event {
            SwimEvent::Here { life, .. } => {
                self.nodes[node].sees.insert(life.id.clone(), life.incarnation);
            }
            SwimEvent::Gone { life, why } => {
                if *why == GoneWhy::Silent && self.is_well(node, life) {
                    self.false_verdicts += 1;
                }
                self.nodes[node].sees.remove(&life.id);
            }
            _ => {}
        }
        self.nodes[node].noticed.push((self.at, event));
    }

    /// Whether that life runs, where `node` can reach it.
    fn is_well(&self, node: usize, life: &Life) -> bool {
        let about = self.nodes.iter().position(|other| other.id == life.id).unwrap();
        let same = |swim: &Swim| swim.life() == life;
        self.runs(about)
            && self.part[about] == self.part[node]
            && self.nodes[about].swim.as_ref().is_some_and(same)
    }

    /// When the others declared `node` gone, after `since`.
    pub(crate) fn verdicts_about(&self, node: usize, since: Moment) -> Vec<Duration> {
        let id = &self.nodes[node].id;
        let of = |other: &Node| {
            let mut events = other.noticed.iter();
            let gone = events.find(
                |(at, event)| matches!(event, SwimEvent::Gone { life, .. } if life.id == *id && *at >= since),
            );
            gone.map(|(at, _)| at.since(since))
        };
        let mut all: Vec<Duration> = self
            .running()
            .filter_map(|other| of(&self.nodes[other]))
            .collect();
        all.sort();
        all
    }
}
