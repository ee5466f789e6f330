//! Two sessions that go from link to link: what owners of sessions do, without I/O.
//!
//! Links have one lane or five, live for some microseconds or milliseconds, and break in the middle of anything. Each
//! end notices at a time of its own, or never. The dialler makes another link and sends RESUME; the acceptor knows the
//! session's secret and the last epoch, and checks tokens as `docs/protocol/resume.md` says.

mod link;
mod owner;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use valkyrie_proto::{
    Batch, Config, ErrorCode, Event, Failure, Kind, LaneSet, Offer, Resume, ResumeKey, Session, Side,
};

use crate::{Clock, Rng};

use self::link::{LANES_MAX, Link, Stray};
use self::owner::Owner;

/// HMAC-SHA-256: a secret and what is to be signed.
pub type Sign = fn(&[u8; 32], &[u8]) -> [u8; 32];

/// What happened between two sessions.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Links that broke.
    pub breaks: u64,
    /// Of those, breaks that both ends noticed at once.
    pub both_at_once: u64,
    /// Links that were left for another while they worked.
    pub hops: u64,
    /// RESUMEs that the acceptor took.
    pub resumes: u64,
    /// RESUMEs that it refused: false ones, old ones, and some that a later one has overtaken.
    pub refusals: u64,
    /// Breaks of a link before the dialler had heard RESUME_ACK on it.
    pub broken_while_resuming: u64,
    /// Of those, breaks after the acceptor had taken the RESUME.
    pub lost_acks: u64,
    /// From each loss of a link that both were on to when both were on one again.
    pub pauses: Vec<Duration>,
}

impl Tally {
    /// The pause that this share of all pauses is not longer than.
    pub fn pause(&self, share: f64) -> Duration {
        let mut pauses = self.pauses.clone();
        pauses.sort_unstable();
        let place = (pauses.len() as f64 * share) as usize;
        pauses
            .get(place.min(pauses.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// A session with what its owner keeps beside it.
#[derive(Debug)]
struct Node {
    session: Session,
    events: VecDeque<Event>,
    /// The link that it is on.
    link: Option<u64>,
    inputs: [BytesMut; LANES_MAX],
    outputs: [Batch; LANES_MAX],
    /// Lanes whose input the session has not looked at yet.
    unseen: LaneSet,
}

impl Node {
    fn new(session: Session) -> Self {
        Self {
            session,
            events: VecDeque::new(),
            link: None,
            inputs: Default::default(),
            outputs: Default::default(),
            unseen: LaneSet::NONE,
        }
    }

    /// Onto another link, or none.
    fn plug(&mut self, link: Option<u64>) {
        self.link = link;
        self.inputs = Default::default();
        self.outputs = Default::default();
        self.unseen = LaneSet::NONE;
    }
}

/// Two sessions and the links that come and go between them.
#[derive(Debug)]
pub struct Roaming {
    clock: Clock,
    rng: Rng,
    config: Arc<Config>,
    nodes: [Node; 2],
    links: Vec<Link>,
    next_link: u64,
    owner: Owner,
    /// The dialler's last epoch.
    epoch: u64,
    redial_at: Option<Instant>,
    hop_at: Instant,
    pause_since: Option<Instant>,
    /// A RESUME as it went over some link, for whoever wants to say it again.
    overheard: Option<Bytes>,
    calm: bool,
    tally: Tally,
}

impl Roaming {
    /// Two sessions that have opened to each other.
    ///
    /// # Panics
    /// When they do not open.
    pub fn open(config: Config, sign: Sign, seed: u64) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let config = Arc::new(config);
        let mut rng = Rng::new(seed);
        let key = ResumeKey {
            session: std::array::from_fn(|_| rng.any() as u8),
            secret: std::array::from_fn(|_| rng.any() as u8),
        };
        let [dialer, mut acceptor] =
            [Side::Dialer, Side::Acceptor].map(|side| Session::new(side, config.clone(), now));
        acceptor.offer(Offer::new(key, Bytes::new()));
        let mut roaming = Self {
            clock,
            rng,
            config,
            nodes: [Node::new(dialer), Node::new(acceptor)],
            links: Vec::new(),
            next_link: 0,
            owner: Owner::new(key, sign),
            epoch: 0,
            redial_at: None,
            hop_at: now,
            pause_since: None,
            overheard: None,
            calm: true,
            tally: Tally::default(),
        };
        let (id, lanes) = roaming.make_link(None);
        for node in &mut roaming.nodes {
            node.session.set_lanes(lanes);
            node.plug(Some(id));
        }
        roaming.run_for(Duration::from_millis(100));
        for node in &mut roaming.nodes {
            assert!(
                node.session.is_open() && node.session.is_resumable(),
                "the sessions open"
            );
            node.events.clear();
        }
        roaming.calm = false;
        roaming.hop_at = roaming.now();
        roaming.break_link(id);
        roaming
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.clock.now()
    }

    /// What happened so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The session of one side.
    pub fn session(&mut self, side: Side) -> &mut Session {
        &mut self.nodes[place(side)].session
    }

    /// The next thing that a session has said, but for what is its owner's to know.
    pub fn event(&mut self, side: Side) -> Option<Event> {
        self.hear(place(side));
        self.nodes[place(side)].events.pop_front()
    }

    /// No link breaks from now on.
    pub fn calm(&mut self) {
        self.calm = true;
        self.links.iter_mut().for_each(|link| link.breaks_at = None);
    }

    /// Has the two sessions compare their books.
    ///
    /// # Panics
    /// When they differ, or anything is still running.
    pub fn compare_books(&self) {
        let [dialer, acceptor] = &self.nodes;
        for (one, other) in [(dialer, acceptor), (acceptor, dialer)] {
            if let Err(difference) = one.session.reconcile(&other.session) {
                panic!("{:?}: {difference}", one.session.side());
            }
        }
        let [Some((ours, sent)), Some((theirs, said))] = [dialer, acceptor].map(|node| node.session.counts())
        else {
            panic!("both count frames");
        };
        assert_eq!((ours, sent), (said, theirs), "each counts what the other does");
    }

    fn make_link(&mut self, stray: Option<Stray>) -> (u64, u8) {
        let (now, id) = (self.now(), self.next_link);
        self.next_link += 1;
        let mut link = Link::new(id, now, &mut self.rng, stray);
        if self.calm {
            link.breaks_at = None;
        }
        let lanes = link.lanes;
        self.links.push(link);
        (id, lanes)
    }

    fn stray(&self) -> Stray {
        Stray::new(Session::new(Side::Acceptor, self.config.clone(), self.now()))
    }

    /// The dialler begins on another link, and leaves the one that it is on.
    fn dial(&mut self) {
        let now = self.now();
        let stray = self.stray();
        let (id, lanes) = self.make_link(Some(stray));
        if let Some(old) = self.nodes[0].link.take() {
            self.leave(old, 0);
            self.pause_since.get_or_insert(now);
        }
        self.epoch += 1;
        let resume = self.owner.resume(self.epoch);
        let node = &mut self.nodes[0];
        node.plug(Some(id));
        let begun = node.session.begin_resume(now, resume, lanes);
        begun.expect("an open session goes on");
        self.redial_at = None;
    }

    /// One end lets go of a link; the other finds out.
    fn leave(&mut self, id: u64, side: usize) {
        let now = self.now();
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.snap(now, &mut self.rng);
            link.held[side] = false;
            link.notice[side] = None;
        }
    }

    fn break_link(&mut self, id: u64) {
        let now = self.now();
        let both = self.nodes.iter().all(|node| node.link == Some(id));
        let resuming = self.nodes[0].link == Some(id) && self.nodes[0].session.is_resuming();
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        if link.broken {
            return;
        }
        link.snap(now, &mut self.rng);
        self.tally.breaks += 1;
        self.tally.both_at_once += u64::from(link.notice[0] == link.notice[1]);
        self.tally.broken_while_resuming += u64::from(resuming);
        self.tally.lost_acks += u64::from(resuming && both);
        if both {
            self.pause_since.get_or_insert(now);
        }
    }

    /// One round of what owners do; whether anything moved.
    pub fn step(&mut self) -> bool {
        self.weather();
        self.redial();
        let now = self.now();
        let mut moved = false;
        for side in 0..2 {
            self.hear(side);
            let session = &mut self.nodes[side].session;
            if session.poll_timeout().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
                self.hear(side);
            }
            moved |= self.read(side);
            self.hear(side);
            moved |= self.transmit(side);
            self.hear(side);
        }
        moved |= self.receive_strays();
        self.note_pause();
        moved
    }

    /// What breaks, and what is noticed of it.
    fn weather(&mut self) {
        let now = self.now();
        let due: Vec<u64> = self
            .links
            .iter()
            .filter(|link| link.breaks_at.is_some_and(|at| at <= now))
            .map(|link| link.id)
            .collect();
        for id in due {
            self.break_link(id);
        }
        for side in 0..2 {
            let due = |link: &&mut Link| link.notice[side].is_some_and(|at| at <= now);
            let mut lost = false;
            for link in self.links.iter_mut().filter(due) {
                link.notice[side] = None;
                link.held[side] = false;
                lost |= self.nodes[side].link == Some(link.id);
            }
            if lost {
                self.nodes[side].plug(None);
                self.nodes[side].session.handle_link_lost(now);
                self.hear(side);
            }
        }
        let nodes = &self.nodes;
        self.links.retain(|link| {
            let used = |side: usize| link.held[side] && nodes[side].link == Some(link.id);
            used(0) || used(1) || (link.stray.is_some() && link.held[1])
        });
    }

    /// The dialler looks for another link, because it has none or because it wants a better one. Now and then somebody
    /// else does, who may not.
    fn redial(&mut self) {
        let now = self.now();
        if self.nodes[0].link.is_none() {
            let wait = Duration::from_micros(self.rng.below(150));
            if *self.redial_at.get_or_insert(now + wait) <= now {
                self.dial();
            }
        } else if self.hop_at <= now && !self.calm {
            self.hop_at = now + Duration::from_micros(self.rng.below(20_000));
            match self.rng.below(3) {
                0 if !self.nodes[0].session.is_resuming() => {
                    self.tally.hops += 1;
                    self.dial();
                }
                _ => self.intrude(),
            }
        }
    }

    /// Somebody says a RESUME that was overheard, as it was or changed.
    fn intrude(&mut self) {
        let Some(overheard) = self.overheard.clone() else {
            return;
        };
        let mut frame = BytesMut::from(&overheard[..]);
        let epoch = frame[HEADER_BYTES + 16..HEADER_BYTES + 24].try_into();
        let used = epoch.is_ok_and(|epoch| u64::from_be_bytes(epoch) <= self.owner.epoch());
        match self.rng.below(4) {
            // The same again: its epoch is used up.
            0 if used => {}
            // A later epoch with the token of this one.
            1 => frame[HEADER_BYTES + 16] = 0xFF,
            // Another token.
            2 => frame[HEADER_BYTES + 24 + self.rng.below(32) as usize] ^= 1,
            // Another session.
            _ => frame[HEADER_BYTES + self.rng.below(16) as usize] ^= 0x80,
        }
        let mut stray = self.stray();
        let before = self.nodes[1].session.counts();
        let resume = stray.hear(self.clock.now(), frame).expect("it is a whole RESUME");
        assert!(!self.answer(&mut stray, &resume, 1), "refused");
        assert_eq!(before, self.nodes[1].session.counts());
        let mut output = Batch::default();
        assert!(stray.session.poll_transmit(self.clock.now(), &mut output, 4096));
        let code = output.chunk().get(HEADER_BYTES..HEADER_BYTES + 4);
        assert_eq!(code, Some(&ErrorCode::RESUME_REFUSED.value().to_be_bytes()[..]));
    }

    /// The acceptor's owner takes a RESUME, or refuses it.
    fn answer(&mut self, stray: &mut Stray, resume: &Resume, lanes: u8) -> bool {
        let now = self.now();
        let session = &mut self.nodes[1].session;
        if self.owner.admits(resume) && session.accept_resume(now, resume.received, lanes).is_ok() {
            self.tally.resumes += 1;
            return true;
        }
        self.tally.refusals += 1;
        let failure = Failure::new(ErrorCode::RESUME_REFUSED, "not this one");
        stray.session.refuse_resume(failure);
        false
    }

    /// The acceptor reads links that have no session yet.
    fn receive_strays(&mut self) -> bool {
        let now = self.now();
        let mut moved = false;
        for number in 0..self.links.len() {
            let Some(mut stray) = self.links[number].stray.take() else {
                continue;
            };
            let mut input = BytesMut::new();
            moved |= self.links[number].read(now, 1, 0, &mut input) > 0;
            let Some(resume) = stray.hear(now, input) else {
                self.links[number].stray = Some(stray);
                continue;
            };
            let (id, lanes) = (self.links[number].id, self.links[number].lanes);
            if !self.answer(&mut stray, &resume, lanes) {
                // A later attempt was faster.
                let given_up = self.nodes[0].link != Some(id) && resume.epoch < self.owner.epoch();
                assert!(given_up, "the dialler's own RESUME is right: {resume:?}");
                self.leave(id, 1);
                continue;
            }
            if let Some(old) = self.nodes[1].link.take() {
                self.leave(old, 1);
            }
            self.nodes[1].plug(Some(id));
            self.nodes[1].inputs[0] = stray.input;
            self.nodes[1].unseen = LaneSet::NONE.with(0);
            moved = true;
        }
        moved
    }

    /// What is for the owner; the rest waits for the application.
    fn hear(&mut self, side: usize) {
        while let Some(event) = self.nodes[side].session.poll_event() {
            match event {
                Event::Detached => {
                    // It found out by itself.
                    if let Some(link) = self.nodes[side].link.take() {
                        self.leave(link, side);
                        self.nodes[side].plug(None);
                    }
                }
                Event::Resumed => {}
                Event::Closed(reason) => panic!("{side} has ended: {reason}"),
                event => self.nodes[side].events.push_back(event),
            }
        }
    }

    fn read(&mut self, side: usize) -> bool {
        let now = self.now();
        let node = &mut self.nodes[side];
        let Some(link) = self.links.iter_mut().find(|link| Some(link.id) == node.link) else {
            return false;
        };
        let mut moved = false;
        // Lanes are independent: any of them may be first.
        let first = self.rng.below(u64::from(link.lanes)) as u8;
        for lane in (first..link.lanes).chain(0..first) {
            let input = &mut node.inputs[usize::from(lane)];
            let read = link.read(now, side, lane, input);
            moved |= read > 0;
            if read > 0 || node.unseen.contains(lane) {
                let waits = lane != 0 && node.session.awaits_opening();
                node.unseen = if waits {
                    node.unseen.with(lane)
                } else {
                    node.unseen.without(lane)
                };
                let handled = node.session.handle_lane_input(now, lane, input);
                handled.expect("the peer keeps the rules");
            }
        }
        moved
    }

    fn transmit(&mut self, side: usize) -> bool {
        let now = self.now();
        let node = &mut self.nodes[side];
        let Some(link) = self.links.iter_mut().find(|link| Some(link.id) == node.link) else {
            return false;
        };
        let mut moved = false;
        loop {
            let mut free = LaneSet::NONE;
            for lane in 0..link.lanes {
                let output = &mut node.outputs[usize::from(lane)];
                moved |= link.write(now, side, lane, output) > 0;
                if !output.has_remaining() && link.room(now, side, lane) > 0 {
                    free = free.with(lane);
                }
            }
            if free == LaneSet::NONE {
                return moved;
            }
            let wants = node.session.wants_transmit();
            let mut batch = Batch::default();
            let max_bytes = 1 + self.rng.below(16 * 1024) as usize;
            let lane = node.session.poll_transmit_lane(now, &mut batch, max_bytes, free);
            let Some(lane) = lane else {
                return moved;
            };
            let kind = batch.chunk().get(3).copied().map(Kind::from_byte);
            // A PING that measures the round trip goes along when somebody asks.
            let asked = wants || link.lanes > 1 || kind == Some(Kind::PING);
            assert!(asked, "what is sent was wanted before: {kind:?}");
            if side == 0 && kind == Some(Kind::RESUME) {
                self.overheard = Some(Bytes::copy_from_slice(batch.chunk()));
            }
            node.outputs[usize::from(lane)] = batch;
        }
    }

    fn note_pause(&mut self) {
        let [dialer, acceptor] = &self.nodes;
        let together = dialer.link.is_some() && dialer.link == acceptor.link;
        let carried = [dialer, acceptor].iter().all(|node| !node.session.is_detached());
        let whole = self
            .links
            .iter()
            .any(|link| Some(link.id) == dialer.link && !link.broken);
        if together
            && carried
            && whole
            && let Some(since) = self.pause_since.take()
        {
            self.tally
                .pauses
                .push(self.clock.now().saturating_duration_since(since));
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let waits = |node: &Node| node.outputs.iter().any(|output| output.has_remaining());
        let waiting = self.nodes.iter().any(waits);
        let links = self
            .links
            .iter()
            .filter_map(|link| link.next(self.now(), waiting));
        let timers = self.nodes.iter().filter_map(|node| node.session.poll_timeout());
        let hop = (!self.calm).then_some(self.hop_at);
        let all = links.chain(timers).chain(self.redial_at).chain(hop);
        // What is past and still there waits for something else.
        all.filter(|&at| at > self.now()).min()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        loop {
            self.settle();
            match self.next() {
                Some(next) if next <= end => {
                    self.clock
                        .advance_to(next.max(self.now() + Duration::from_nanos(1)));
                }
                _ => break,
            }
        }
        self.clock.advance_to(end);
        self.settle();
    }

    /// Does everything that can be done without time passing.
    fn settle(&mut self) {
        let mut rounds = 0;
        while self.step() {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "it comes to rest: {self:#?}");
        }
    }
}

const fn place(side: Side) -> usize {
    match side {
        Side::Dialer => 0,
        Side::Acceptor => 1,
    }
}

/// No two sessions have so much to say to each other in no time.
const ROUNDS_MAX: u32 = 100_000;

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells what was said from anything else, which is enough where nobody calculates.
    fn sign(secret: &[u8; 32], said: &[u8]) -> [u8; 32] {
        let mut tag = *secret;
        for (place, byte) in said.iter().enumerate() {
            let part = &mut tag[place % 32];
            *part = part.wrapping_mul(31).wrapping_add(*byte);
        }
        tag
    }

    #[test]
    fn what_one_link_taught_of_delay_is_forgotten_on_the_next() {
        let config = Config {
            limits: valkyrie_proto::Limits {
                resume_for: Duration::from_secs(60),
                ..valkyrie_proto::Limits::default()
            },
            ..Config::default()
        };
        let mut roaming = Roaming::open(config, sign, 1);
        roaming.calm();
        for asleep in [false, true] {
            let now = roaming.now();
            roaming.session(Side::Dialer).ping(now, 1).expect("open");
            roaming.run_for(Duration::from_secs(1));
            if asleep {
                roaming.session(Side::Dialer).shrink();
            }
            assert!(roaming.session(Side::Dialer).rtt().is_some(), "measured");
            roaming.dial();
            roaming.run_for(Duration::from_secs(1));
            assert!(!roaming.session(Side::Dialer).is_resuming(), "it goes on");
            assert_eq!(roaming.session(Side::Dialer).rtt(), None, "not of this link");
        }
    }
}
