//! The failure detector: SWIM's rounds of probes and its gossip, by the crate foca.
//!
//! foca decides whom to probe when, whom to ask for help, and how often an update is passed on. It is told nothing that has not been
//! checked: a life is known to it only while a signed statement of that life is held, its numbers are those of statements, and nobody
//! is ever down to it, because a member that is declared gone is taken out at once. So whatever a peer says, foca's state stays what this
//! side has verified. Its own suspicion timers are not used either: they would run at whoever noticed, and everybody else would have
//! to believe the verdict.
//!
//! Calls go in, [`Effect`]s come out; `now` is the caller's. Read [`Detector::handle_probe`] first.

mod plain;

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{
    Foca, Header, Identity, Member, Message, NoCustomBroadcast, Notification, PeriodicParams, State, Timer,
};
use valkyrie_registry::Moment;
use valkyrie_registry::agent::AgentId;

use self::plain::{PLAIN_BYTES, Plain, put_header, read_sent};
use crate::wire::{Kind, Probe, Update};
use crate::{Life, SwimConfig};

/// What the detector wants done.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Send this to a member.
    Send {
        to: Life,
        kind: Kind,
        updates: Vec<Update>,
    },
    /// A member did not answer a probe, at this statement of it.
    Unanswered { life: Life, sequence: u64 },
}

pub(crate) struct Detector {
    foca: Foca<Life, Plain, Dice, NoCustomBroadcast>,
    config: foca::Config,
    timers: BTreeMap<(Moment, u8, u64), Timer<Life>>,
    timers_made: u64,
    effects: VecDeque<Effect>,
    collected: Collected,
}

/// The last statement of a life that foca's numbers can follow; after it another life begins.
pub(crate) const SEQUENCE_MAX: u64 = u16::MAX as u64 - 1;

impl Detector {
    pub(crate) fn new(own: Life, config: &SwimConfig, seed: u64) -> Self {
        let fanout = NonZeroUsize::new(config.fanout).unwrap_or(NonZeroUsize::MIN);
        let config = foca::Config {
            probe_period: config.probe_every,
            probe_rtt: config.probe_timeout,
            num_indirect_probes: fanout,
            max_transmissions: transmissions(1),
            suspect_to_down_after: config.suspect_for,
            // Never used: nobody is ever down to foca.
            remove_down_after: Duration::ZERO,
            max_packet_size: NonZeroUsize::new(PLAIN_BYTES).unwrap_or(NonZeroUsize::MIN),
            notify_down_members: false,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: config.gossip_every,
                num_members: fanout,
            }),
        };
        let dice = Dice(fastrand::Rng::with_seed(seed));
        Self {
            foca: Foca::new(own, config.clone(), dice, Plain),
            config,
            timers: BTreeMap::new(),
            timers_made: 0,
            effects: VecDeque::new(),
            collected: Collected::default(),
        }
    }

    /// A member has said this statement and none later.
    pub(crate) fn here(&mut self, now: Moment, life: Life, sequence: u64) {
        self.apply(now, Member::new(life, number(sequence), State::Alive), true);
        self.follow_size();
    }

    /// Somebody says that a member, after this statement, does not answer.
    pub(crate) fn accused(&mut self, now: Moment, life: Life, sequence: u64) {
        self.apply(now, Member::new(life, number(sequence), State::Suspect), true);
    }

    /// This member has made a statement after `sequence`, and is to tell others.
    pub(crate) fn said_more(&mut self, now: Moment, sequence: u64) {
        // foca counts its own number up when it answers an accusation, and for no other reason.
        let own = self.foca.identity().clone();
        self.apply(now, Member::new(own, number(sequence), State::Suspect), true);
    }

    /// This member has begun another life.
    pub(crate) fn begun_anew(&mut self, now: Moment, own: Life) {
        let mut collected = std::mem::take(&mut self.collected);
        // The only fault is that it is the life it had.
        let _ = self.foca.change_identity(own, &mut collected);
        self.collected = collected;
        self.drain(now);
        // It counts itself alone until it is told something.
        self.apply_nothing(now);
    }

    /// A member is gone.
    pub(crate) fn gone(&mut self, now: Moment, life: Life, sequence: u64) {
        self.apply(
            now,
            Member::new(life.clone(), number(sequence), State::Down),
            false,
        );
        // At once, so that a later statement of the same life is one of somebody new.
        let mut collected = std::mem::take(&mut self.collected);
        let _ = self.foca.handle_timer(Timer::RemoveDown(life), &mut collected);
        self.collected = collected;
        self.drain(now);
        self.follow_size();
    }

    /// A step of a probe has come from a member that is here, whose last statement is `sequence`.
    ///
    /// # Errors
    /// [`ProbeFault`]: the peer asks what makes no sense.
    pub(crate) fn handle_probe(
        &mut self,
        now: Moment,
        from: (Life, u64),
        to: Life,
        probe: Probe,
        number_of_round: u8,
    ) -> Result<(), ProbeFault> {
        let probe_number = number_of_round;
        let message = match probe {
            Probe::Ping => Message::Ping(probe_number),
            Probe::Ack => Message::Ack(probe_number),
            Probe::Ask { target } => Message::PingReq { target, probe_number },
            Probe::PingFor { origin } => Message::IndirectPing { origin, probe_number },
            Probe::AckFor { target } => Message::IndirectAck { target, probe_number },
            Probe::AckOf { origin } => Message::ForwardedAck { origin, probe_number },
        };
        let header = Header {
            src: from.0,
            src_incarnation: number(from.1),
            dst: to,
            message,
        };
        let mut data = Vec::new();
        put_header(&mut data, &header);
        let mut collected = std::mem::take(&mut self.collected);
        let handled = self.foca.handle_data(&data, &mut collected);
        self.collected = collected;
        self.drain(now);
        handled.map_err(|_| ProbeFault)
    }

    /// Passes news on now, and not only with the next round of gossip.
    pub(crate) fn spread(&mut self, now: Moment) {
        if self.foca.updates_backlog() == 0 {
            return;
        }
        let mut collected = std::mem::take(&mut self.collected);
        // What foca cannot encode is what it was never given.
        let _ = self.foca.gossip(&mut collected);
        self.collected = collected;
        self.drain(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let timer = entry.remove();
            let mut collected = std::mem::take(&mut self.collected);
            // It reports that a round of probes was cut short, after a stall, and begins the next all the same.
            let _ = self.foca.handle_timer(timer, &mut collected);
            self.collected = collected;
            self.drain(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.timers.first_key_value().map(|((at, ..), _)| *at)
    }

    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Who is here to foca, and after which statement.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Life, u64)> {
        let members = self.foca.iter_membership_state();
        members.map(|member| (member.id(), u64::from(member.incarnation())))
    }

    fn apply(&mut self, now: Moment, member: Member<Life>, spread: bool) {
        let mut collected = std::mem::take(&mut self.collected);
        // Encoding into memory does not fail, and nothing else can.
        let _ = self
            .foca
            .apply_many(std::iter::once(member), spread, &mut collected);
        self.collected = collected;
        self.drain(now);
    }

    fn apply_nothing(&mut self, now: Moment) {
        let mut collected = std::mem::take(&mut self.collected);
        let _ = self.foca.apply_many(std::iter::empty(), false, &mut collected);
        self.collected = collected;
        self.drain(now);
    }

    /// How often an update is passed on grows with how many have to hear of it.
    fn follow_size(&mut self) {
        let wanted = transmissions(self.foca.num_members());
        if self.config.max_transmissions != wanted {
            self.config.max_transmissions = wanted;
            let _ = self.foca.set_config(self.config.clone());
        }
    }

    /// Takes what foca wanted done in a call.
    fn drain(&mut self, now: Moment) {
        let Collected { sent, timers } = &mut self.collected;
        for (after, timer) in timers.drain(..) {
            let rank = match &timer {
                Timer::ChangeSuspectToDown {
                    member_id,
                    incarnation,
                    ..
                } => {
                    self.effects.push_back(Effect::Unanswered {
                        life: member_id.clone(),
                        sequence: u64::from(*incarnation),
                    });
                    continue;
                }
                Timer::RemoveDown(_) => continue,
                // A round is asked for help before it is judged, when both are due.
                Timer::SendIndirectProbe { .. } => 0,
                _ => 1,
            };
            self.timers_made += 1;
            self.timers
                .insert((now.saturating_add(after), rank, self.timers_made), timer);
        }
        for (to, data) in sent.drain(..) {
            if let Some((kind, updates)) = read_sent(&to, &data) {
                self.effects.push_back(Effect::Send { to, kind, updates });
            }
        }
    }
}

/// A step of a probe made no sense: it is about whom it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeFault;

/// How often an update is passed on by each member in a fleet of this size: three times as often as it takes to reach everybody when
/// each tells one more, so that loss of one packet in five is made good.
fn transmissions(members: usize) -> NonZeroU8 {
    let doublings = usize::BITS - members.leading_zeros();
    let wanted = (3 * doublings).clamp(4, 30);
    u8::try_from(wanted)
        .ok()
        .and_then(NonZeroU8::new)
        .unwrap_or(NonZeroU8::MIN)
}

/// A statement's number as foca's. Nothing is given to it that has a greater one than there can be.
fn number(sequence: u64) -> u16 {
    u16::try_from(sequence).unwrap_or(u16::MAX)
}

impl Identity for Life {
    type Addr = AgentId;

    /// Never: who answers an accusation makes another statement, and nobody is down to foca.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> AgentId {
        self.id.clone()
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.incarnation > other.incarnation
    }
}

/// What foca wants done, until it is looked at.
#[derive(Debug, Default)]
struct Collected {
    sent: Vec<(Life, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Life>)>,
}

impl foca::Runtime<Life> for Collected {
    /// Who comes and goes is this side's to say to foca and not the other way round.
    fn notify(&mut self, _: Notification<'_, Life>) {}

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.sent.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Life>, after: Duration) {
        self.timers.push((after, event));
    }
}

/// foca's dice, from a seed: the same in every run of a simulation.
struct Dice(fastrand::Rng);

impl rand_core::RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}
