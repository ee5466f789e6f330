//! A member of a fleet as a state machine: packets and times go in, packets and what became of agents come out.
//!
//! One rule makes it safe to listen to peers of whom some may lie: **what speaks for an agent is signed by it, and what speaks against it can be
//! answered by it.** An agent is here because of its own statement, a record with a number. Whoever does not reach it accuses it by that
//! number, which is nobody's word to give but an accusation's; the agent answers with its next statement, and an accusation of the one before means
//! nothing any more. Every member waits by itself for that answer, and takes the agent out of its own view when none has come.
//!
//! A statement that is lacked is asked for, so what is passed on among members is small, and proof comes from whoever has it.
//!
//! What it is not: it reads no clock, knows no connection, and keeps no view. Read [`Swim::handle_packet`] first.

mod own;
mod packets;
mod statements;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_registry::Moment;
use valkyrie_registry::agent::{AgentId, Description, Word};
use valkyrie_registry::directory::Vetting;
use valkyrie_registry::record::{RecordError, SealError};
use valkyrie_security::UnixTime;
use valkyrie_security::identity::SigningKey;
use valkyrie_transport::Locator;

use self::own::Own;
use crate::detector::{Detector, Effect};
use crate::life::Numbers;
use crate::roll::Roll;
use crate::wire::{Kind, WireError};
use crate::{Life, SwimConfig};

/// A member.
pub struct Swim {
    config: SwimConfig,
    own: Own,
    vetting: Option<Arc<dyn Vetting>>,
    roll: Roll,
    detector: Detector,
    dice: fastrand::Rng,
    /// Which statements were asked for, and when.
    asked: BTreeMap<AgentId, (Numbers, Moment)>,
    /// When this member may answer the next accusation, and whether one waits for that.
    refute_after: Moment,
    refute_due: bool,
    /// Who has left a moment ago, and until when it is mentioned.
    parted: VecDeque<(AgentId, Moment)>,
    /// Its own last statement goes with every packet until then.
    tell_until: Moment,
    compare_at: Moment,
    reach_at: Moment,
    greet_at: Moment,
    /// How long this side was not running while time went on.
    skipped: Duration,
    left: bool,
    outbox: VecDeque<Transmit>,
    events: VecDeque<SwimEvent>,
    stats: SwimStats,
}

/// The time, both ways that a member needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By a clock that never goes back.
    pub at: Moment,
    /// The time of day, by which records end.
    pub unix: UnixTime,
}

/// A packet to be sent, once, to be lost if it cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: Recipient,
    /// The packet.
    pub packet: Bytes,
}

/// Whom a packet is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// An agent, by any connection that it has proved to be at the other end of, or by dialling one of its places.
    Agent {
        /// Who.
        id: AgentId,
        /// Where it says that it can be dialled; none where nothing of it is held yet.
        places: Vec<Locator>,
    },
    /// Whoever is at the places that were given to begin with.
    Seeds,
}

/// What became of an agent, this one included.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwimEvent {
    /// It is here, with this record: new, or another than before.
    Here {
        /// Who, in which life.
        life: Life,
        /// The record.
        record: Bytes,
    },
    /// It is accused, and has not answered yet. It is still here.
    Suspected(Life),
    /// It has answered.
    Answered(Life),
    /// It is not here any more.
    Gone {
        /// Who, in which life.
        life: Life,
        /// Why.
        why: GoneWhy,
    },
}

/// Why an agent is not here any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoneWhy {
    /// It did not answer an accusation in time.
    Silent,
    /// It has said that it leaves.
    Left,
    /// Its record has ended.
    Ended,
}

/// What a member has counted. All of it is about peers; none of it is an error of this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwimStats {
    /// Statements that were verified and taken.
    pub taken: u64,
    /// Statements that were true and not taken: their agent may not say so, or they have ended or are good for too long.
    pub refused: u64,
    /// Statements of new agents for which there was no room.
    pub full: u64,
    /// Packets of agents that were not here, of which no more was used than their statements.
    pub strangers: u64,
    /// Accusations of others that became suspicions.
    pub accusations: u64,
    /// Accusations of this member that it answered with a statement.
    pub refuted: u64,
    /// What was said of this member as if it had said more than it has.
    pub invented: u64,
    /// Members that were declared gone.
    pub declared: u64,
    /// Members that were declared gone and had a later statement after all.
    pub returned: u64,
    /// Times that this side was not running while time went on.
    pub stalls: u64,
}

/// A packet was not used, or not all of it. The state is what the part before the fault left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The peer wrote what is no packet.
    #[error("the peer sent what is no packet: {0}")]
    Wire(#[from] WireError),
    /// The peer passed on what an agent has not said: an honest one would have noticed.
    #[error("the peer passed on what is no statement of {id}: {fault}")]
    Statement {
        /// Whose it was to be.
        id: AgentId,
        /// What is wrong with it.
        fault: RecordError,
    },
    /// The peer gave a statement another number than its agent has.
    #[error("the peer gave a statement of {0} another number than it has")]
    Numbers(AgentId),
    /// An agent has counted further than there are numbers in a life.
    #[error("{0} has counted further than a life has numbers")]
    Sequence(AgentId),
    /// The peer asked for what makes no sense.
    #[error("the peer asked its question of whom it is about")]
    Probe,
    /// The peer says that it is this very agent, in another life.
    #[error(
        "the peer says that it is this very agent, in another life: two processes have one identity and instance"
    )]
    Ourselves,
}

impl Swim {
    /// A member that is alone, in a new life, with the description that it gives of itself. `seed` is for its dice.
    ///
    /// # Errors
    /// [`SealError`]: the caller's description breaks a rule, or this machine cannot sign.
    pub fn new(
        now: Now,
        config: SwimConfig,
        cluster: Word,
        instance: Word,
        key: Arc<SigningKey>,
        description: Description,
        seed: u64,
    ) -> Result<Self, SealError> {
        let own = Own::begin(now.unix, cluster, instance, key, description)?;
        let mut dice = fastrand::Rng::with_seed(seed);
        let life = own.known().life.clone();
        let mut swim = Self {
            detector: Detector::new(life.clone(), &config, dice.u64(..)),
            roll: Roll::new(config.members_max.saturating_sub(1)),
            vetting: None,
            dice,
            asked: BTreeMap::new(),
            refute_after: Moment::START,
            refute_due: false,
            parted: VecDeque::new(),
            tell_until: Moment::START,
            compare_at: now.at.saturating_add(config.compare_every),
            reach_at: now.at,
            greet_at: now.at,
            skipped: Duration::ZERO,
            left: false,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            stats: SwimStats::default(),
            config,
            own,
        };
        swim.events.push_back(SwimEvent::Here {
            life,
            record: swim.own.known().bytes().clone(),
        });
        Ok(swim)
    }

    /// Taking only what this admits.
    #[must_use]
    pub fn with_vetting(mut self, vetting: Arc<dyn Vetting>) -> Self {
        self.vetting = Some(vetting);
        self
    }

    /// This member, in its present life.
    pub fn life(&self) -> &Life {
        &self.own.known().life
    }

    /// How many agents are here, this one included until it has left.
    pub fn members(&self) -> usize {
        self.roll.len() + usize::from(!self.left)
    }

    /// Who else is here.
    pub fn others(&self) -> impl Iterator<Item = &Life> {
        self.roll.all_here().map(|known| &known.life)
    }

    /// Who is accused now and has not answered yet. They are still here.
    pub fn suspected(&self) -> impl Iterator<Item = &AgentId> {
        self.roll.suspected()
    }

    /// What has been counted.
    pub fn stats(&self) -> SwimStats {
        self.stats
    }

    /// What this member says of itself.
    pub fn description(&self) -> &Description {
        self.own.description()
    }

    /// Says something else of itself.
    ///
    /// # Errors
    /// [`SealError`]: the caller's description breaks a rule, or this machine cannot sign. What was said before stays.
    pub fn describe(&mut self, now: Now, description: Description) -> Result<(), SealError> {
        let at = self.adopt(now.at);
        match self.left {
            true => Ok(()),
            false => self.say(at, now.unix, description),
        }
    }

    /// Leaves, telling others so. Nothing is said after that.
    ///
    /// # Errors
    /// [`SealError`]: this machine cannot sign. Others will notice by themselves.
    pub fn leave(&mut self, now: Now) -> Result<(), SealError> {
        self.adopt(now.at);
        if self.left {
            return Ok(());
        }
        let farewell = crate::roll::Known::of(self.own.farewell()?);
        let mut told: Vec<AgentId> = self.roll.all_here().map(|known| known.life.id.clone()).collect();
        self.dice.shuffle(&mut told);
        told.truncate(FAREWELLS_MAX);
        for id in told {
            self.send(&id, Kind::News, Vec::new(), vec![farewell.statement()]);
        }
        self.left = true;
        self.events.push_back(SwimEvent::Gone {
            life: farewell.life,
            why: GoneWhy::Left,
        });
        Ok(())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let at = self.adopt(now.at);
        if self.left {
            return;
        }
        while self.parted.front().is_some_and(|(_, until)| *until <= at) {
            self.parted.pop_front();
        }
        self.detector.handle_timeout(at);
        self.follow_detector(at);
        while let Some(id) = self.roll.poll_verdict(at) {
            if let Some(known) = self.roll.here(&id).cloned() {
                self.stats.declared += 1;
                self.lose(at, known, GoneWhy::Silent);
            }
        }
        if self.refute_due && at >= self.refute_after {
            self.refute(at, now.unix);
        }
        if at >= self.compare_at {
            self.compare_at = at.saturating_add(self.jittered(self.config.compare_every));
            self.look_at_ends(at, now.unix);
            self.compare();
        }
        if at >= self.reach_at {
            self.reach_at = at.saturating_add(self.jittered(self.config.reach_every));
            self.reach();
            if self.roll.len() == 0 || at >= self.greet_at {
                self.greet_at = at.saturating_add(self.config.greet_every);
                self.send_digest_to(None);
            }
        }
        self.follow_detector(at);
    }

    /// When something will be due; `None` once it has left.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if self.left {
            return None;
        }
        let inner = self.due();
        Some(inner.saturating_add(self.skipped))
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// What became of agents, in order.
    pub fn poll_event(&mut self) -> Option<SwimEvent> {
        self.events.pop_front()
    }

    /// Whether what is known twice agrees. Tests ask after every step.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.roll.invariants();
        let mut detected: Vec<(&Life, u64)> = self.detector.members().collect();
        detected.sort();
        let here: Vec<(&Life, u64)> = self
            .roll
            .all_here()
            .map(|known| (&known.life, known.sequence))
            .collect();
        assert_eq!(detected, here, "the detector knows others than are here");
        assert!(self.asked.len() <= ASKED_MAX);
    }

    fn due(&self) -> Moment {
        let refute = self.refute_due.then_some(self.refute_after);
        let others = [self.detector.poll_timeout(), self.roll.poll_timeout(), refute];
        let own = self.compare_at.min(self.reach_at);
        others.into_iter().flatten().fold(own, Moment::min)
    }

    /// The time as this member counts it: without what it slept through. A process that was stopped, or starved, heard nobody in that time
    /// and has no business to judge by it.
    //= protocol/membership.md#time
    fn adopt(&mut self, now: Moment) -> Moment {
        let due = self.due().saturating_add(self.skipped);
        let late = now.since(due);
        if late > self.config.stall() {
            self.skipped += late;
            self.stats.stalls += 1;
        }
        Moment::from_millis(now.millis().saturating_sub(millis(self.skipped)))
    }

    /// Between half of a time and the whole, so that members do not keep step.
    fn jittered(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.5 + 0.5 * self.dice.f64())
    }

    /// Compares everything with somebody.
    fn compare(&mut self) {
        let others: Vec<&AgentId> = self.roll.all_here().map(|known| &known.life.id).collect();
        if let Some(id) = self.dice.choice(others).cloned() {
            self.send_digest_to(Some(&id));
        }
    }

    /// Tries somebody who is gone: perhaps it was the way there that was.
    fn reach(&mut self) {
        let gone = self.roll.all_gone().filter(|gone| !gone.over);
        let gone: Vec<&AgentId> = gone.map(|gone| &gone.known.life.id).collect();
        if let Some(id) = self.dice.choice(gone).cloned() {
            self.send_digest_to(Some(&id));
        }
    }

    /// Lets go of those whose records have ended, and says itself anew in time.
    fn look_at_ends(&mut self, at: Moment, unix: UnixTime) {
        let ended: Vec<_> = self
            .roll
            .all_here()
            .filter(|known| known.record.not_after() <= unix)
            .cloned()
            .collect();
        for known in ended {
            self.lose(at, known, GoneWhy::Ended);
        }
        let then = at.millis().saturating_sub(millis(self.config.remember_for));
        self.roll.forget_before(Moment::from_millis(then));
        let asked_until = at.millis().saturating_sub(millis(ASK_AGAIN));
        self.asked.retain(|_, (_, asked)| asked.millis() >= asked_until);
        if self.own.is_due(unix) {
            // Where it cannot be signed now, it is tried again with the next look, for half a day.
            let _ = self.say(at, unix, self.own.description().clone());
        }
    }

    fn follow_detector(&mut self, at: Moment) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::Send { to, kind, updates } => {
                    let statements = match at < self.tell_until {
                        true => vec![self.own.known().statement()],
                        false => Vec::new(),
                    };
                    self.send(&to.id, kind, updates, statements);
                }
                Effect::Unanswered { life, sequence } => {
                    let held = self.roll.here(&life.id);
                    let present = held.is_some_and(|held| held.numbers() == (life.incarnation, sequence));
                    if present && self.suspect(at, &life.id) {
                        // It is told first: it may be there after all.
                        self.send(&life.id, Kind::News, Vec::new(), Vec::new());
                        self.detector.spread(at);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Swim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swim")
            .field("life", self.life())
            .field("here", &self.roll.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long it is waited for a statement before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long it is not asked for again when it has come and was not taken.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Statements that are asked for at a time: those of a whole fleet.
const ASKED_MAX: usize = crate::wire::MEMBERS_MAX;
/// Members that one who leaves tells so itself. They tell the others.
const FAREWELLS_MAX: usize = 32;
/// How long a member's new statement goes with all that it sends.
const TELL_FOR: Duration = Duration::from_millis(300);
/// Statements that go out in answer to a list. The next list brings the rest.
const PUSHED_MAX: usize = 256;
/// How long each who hears a farewell for the first time mentions it with all that it sends: a few rounds of probes.
const PARTED_FOR: Duration = Duration::from_secs(1);
/// Farewells that are mentioned at a time. Whoever misses one notices by itself that nobody is there.
const PARTED_MAX: usize = 64;
/// By how much clocks of honest machines may differ, as for every reader of records.
const CLOCK_SKEW: Duration = Duration::from_secs(90);
