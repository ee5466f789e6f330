//! The session: one side of a conversation.
//!
//! This file holds the state and the small questions; `input` takes frames apart, `deliver` says
//! what a whole message means, `transmit` puts frames together, with `allowance`, `credit` and `bucket`, `exchanges` and `streams` are the
//! application's commands, `life` is opening, keepalive, drain and close, `lanes` and `resume` are links with lanes and links that
//! follow each other, `invariants` is what
//! must hold after every step.

mod allowance;
mod bucket;
mod credit;
mod deliver;
mod dormant;
mod exchanges;
mod input;
mod invariants;
mod lanes;
mod life;
mod pings;
mod resume;
mod streams;
mod traffic;
mod transmit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkyrie_frame::{Class, Header, Kind, Priority, Side, StreamId};

use crate::flow::{RecvWindow, SendCredit};
use crate::guard::Guard;
use crate::stream::Stream;
use crate::timer::Timers;
use crate::{CloseReason, Config, ConfigError, Event, Policy, Refusal, Settings, Stats};

use self::life::DrainState;
use self::pings::Pings;
use self::resume::Continuity;
use self::traffic::LazyTraffic;

pub use self::lanes::LaneSet;
pub use self::resume::{Offer, ResumeError};

/// One side of a conversation over one ordered byte pipe. See the crate's first page.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    /// In the place of the configuration's, once it was replaced.
    policy: Option<Arc<Policy>>,
    side: Side,
    phase: Phase,
    /// The peer's settings, from the opening on.
    peer: Option<Box<Settings>>,
    close_reason: Option<Box<CloseReason>>,

    /// Small frames that go before everything else.
    control: VecDeque<(Header, Bytes)>,
    events: VecDeque<Event>,
    guard: Guard,
    timers: Timers,
    pings: Pings,
    /// When the opening began, or any byte last came.
    last_input: Instant,

    traffic: LazyTraffic,
    /// Frames and bytes of the core group, which an idle session counts too.
    core_sent: FrameCount,
    core_received: FrameCount,

    send_credit: SendCredit,
    recv_window: RecvWindow,
    /// Frames in `control` that the peer caused.
    control_answers: usize,

    opened: StreamCount,
    accepted: StreamCount,

    drain: Option<Box<DrainState>>,
    peer_draining: bool,
    wants_exchange: bool,
    wants_stream: bool,

    /// At an acceptor: how this session may be continued, until the opening.
    offer: Option<Box<Offer>>,
    /// Where the session outlives its link.
    continuity: Option<Box<Continuity>>,
    /// Only the first frame of a link may come.
    awaits_opening: bool,
    lanes: u8,
    /// Lanes that were not blocked when the session was last asked for frames.
    free_lanes: LaneSet,
    /// Lanes on which the peer has said CLOSE.
    closed_lanes: u8,
    /// Lanes on which our own CLOSE is still to be said, and what it says.
    farewell: Option<Box<(LaneSet, Bytes)>>,
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's HELLO or HELLO_ACK has not come.
    Opening,
    Open,
    /// Instead of the opening the peer asked to continue another session. Nothing more is read.
    Yielded,
    /// Over; what is left in `control` may still go out.
    Closed,
}

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct FrameCount {
    bytes: u64,
    frames: u32,
}

impl FrameCount {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.frames = self.frames.saturating_add(1);
    }
}

/// A count of streams against an absolute limit.
#[derive(Clone, Copy, Debug, Default)]
struct StreamCount {
    opened: u64,
    limit: u64,
    /// How many have ended for good; for streams of the peer this raises the limit.
    ended: u64,
}

impl Session {
    /// A session that begins now. `config` has passed [`Config::check`].
    ///
    /// The dialling side has its HELLO ready for [`Session::poll_transmit`] at once.
    pub fn new(side: Side, config: Arc<Config>, now: Instant) -> Self {
        debug_assert!(config.check().is_ok(), "Config::check comes before Session::new");
        let limits = &config.limits;
        let mut session = Self {
            policy: None,
            side,
            phase: Phase::Opening,
            peer: None,
            close_reason: None,
            control: VecDeque::new(),
            events: VecDeque::new(),
            guard: Guard::new(now),
            timers: Timers::default(),
            pings: Pings::new(now),
            last_input: now,
            traffic: LazyTraffic::new(side),
            core_sent: FrameCount::default(),
            core_received: FrameCount::default(),
            send_credit: SendCredit::default(),
            recv_window: RecvWindow::new(limits.window_connection),
            control_answers: 0,
            opened: StreamCount::default(),
            accepted: StreamCount {
                limit: u64::from(limits.max_streams),
                ..StreamCount::default()
            },
            drain: None,
            peer_draining: false,
            wants_exchange: false,
            wants_stream: false,
            offer: None,
            continuity: None,
            awaits_opening: true,
            lanes: 1,
            free_lanes: LaneSet::ALL,
            closed_lanes: 0,
            farewell: None,
            config,
        };
        if side == Side::Dialer {
            session.push_hello(Kind::HELLO);
        }
        session
    }

    /// How this side divides the wire.
    #[inline]
    pub fn policy(&self) -> &Policy {
        self.policy.as_deref().unwrap_or(&self.config.policy)
    }

    /// Divides the wire in another way from the next frame on. Nothing that is queued is lost or changes its order within its
    /// stream, and the peer need not know. What a class had got ahead under the former shares is forgotten, what has
    /// gathered for stream 0 is kept as far as the new burst goes.
    ///
    /// Something that waited may be ready to go: drain the polls, [`Session::wants_transmit`] first.
    ///
    /// # Errors
    /// [`ConfigError`]: the caller is at fault. The policy is as it was.
    pub fn set_policy(&mut self, now: Instant, policy: Arc<Policy>) -> Result<(), ConfigError> {
        policy.check()?;
        let former = self.policy().clone();
        // One that is idle or asleep has nobody ahead and stream 0 at rest: it is not woken for this.
        if self.traffic.exists() {
            if former.shares != policy.shares {
                self.traffic.scheduler.level();
            }
            if former.critical != policy.critical {
                self.traffic
                    .critical
                    .change(now, former.critical, policy.critical);
            }
        }
        self.policy = Some(policy);
        self.debug_check();
        Ok(())
    }

    /// Which side this is.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Whether the opening is done and the session is not over.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the session is over. A last frame may still be waiting for the wire.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What the peer announced, once the opening is done.
    pub fn peer_settings(&self) -> Option<&Settings> {
        self.peer.as_deref()
    }

    /// Why the session is over, once it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_deref()
    }

    /// The next thing that happened.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counters since the beginning.
    pub fn stats(&self) -> Stats {
        let mut stats = self.traffic.stats();
        let critical = &mut stats.classes[Class::Critical.index()];
        critical.frames_sent += u64::from(self.core_sent.frames);
        critical.bytes_sent += self.core_sent.bytes;
        critical.frames_received += u64::from(self.core_received.frames);
        critical.bytes_received += self.core_received.bytes;
        stats
    }

    /// The smoothed round trip, once something has measured it.
    pub fn rtt(&self) -> Option<Duration> {
        self.traffic.rtt()
    }

    /// Exchanges begun here that have not ended.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.traffic.outgoing.live()
    }

    /// When the last byte came from the peer, or the session began.
    pub const fn idle_since(&self) -> Instant {
        self.last_input
    }

    /// Whether it owns the tables of traffic, which [`Session::shrink`] may put away.
    #[inline]
    pub fn is_awake(&self) -> bool {
        self.traffic.exists()
    }

    /// Gives back memory that a burst has left behind. For when the connection falls idle.
    pub fn shrink(&mut self) {
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        if self.control.is_empty() {
            self.control = VecDeque::new();
        }
        if self.traffic.exists() {
            self.traffic.arena.release();
            self.traffic.sleep();
        }
        if let Some(continuity) = &mut self.continuity {
            continuity.ledger.shrink();
        }
    }

    /// Whether new work may begin.
    fn admit(&self) -> Result<&Settings, Refusal> {
        match (self.phase, &self.peer) {
            (Phase::Closed, _) => Err(Refusal::Closed),
            (Phase::Open, Some(_)) if self.peer_draining || self.drain.is_some() => Err(Refusal::Draining),
            (Phase::Open, Some(peer)) => Ok(peer),
            _ => Err(Refusal::NotOpen),
        }
    }

    /// The table's stream for a lane, made when first used.
    #[inline]
    fn lane(&mut self, id: StreamId) -> u32 {
        match self.traffic.streams.find(id) {
            Some(index) => index,
            None => self.make_stream(id, id.opener() == Some(self.side.peer())).index,
        }
    }

    fn make_stream(&mut self, id: StreamId, theirs: bool) -> crate::StreamKey {
        let class = id.class();
        let send_limit = self.peer.as_deref().map_or(0, |peer| match class {
            Class::System => peer.window_system,
            Class::Job => peer.window_job,
            Class::Data => peer.window_data,
            Class::Critical | Class::Bulk => 0,
        });
        let recv_window = self.config.limits.window(class);
        let priority = class.default_priority().byte();
        self.traffic.streams.insert(Stream::new(
            id,
            u64::from(send_limit),
            recv_window,
            priority,
            theirs,
        ))
    }

    /// The priority byte that goes out, inside the class's band.
    #[inline]
    fn priority(&mut self, class: Class, priority: Option<Priority>) -> u8 {
        let Some(asked) = priority else {
            return class.default_priority().byte();
        };
        if !asked.fits(class) {
            self.traffic.stats.classes[class.index()].priority_clamped += 1;
        }
        asked.clamp_to(class).byte()
    }

    /// Marks a stream's return of credit as due when it is worth a frame.
    #[inline]
    fn note_credit(&mut self, index: u32) {
        if let Some(stream) = self.traffic.streams.at_mut(index)
            && !stream.recv.credit_due
            && stream.wants_credit()
            && stream.recv.window.is_due()
        {
            stream.recv.credit_due = true;
            self.traffic.credit_due.push(index);
        }
    }

    /// Puts a stream that can send into the scheduler, once.
    #[inline]
    fn schedule(&mut self, index: u32) {
        if let Some(stream) = self.traffic.streams.at_mut(index)
            && !stream.send.ready
            && !stream.send.parked
            && stream.has_work()
            && stream.class() != Class::Critical
        {
            stream.send.ready = true;
            let (class, priority) = (stream.class(), stream.send.priority);
            self.traffic.scheduler.push(class, priority, index);
        }
    }

    #[cfg(debug_assertions)]
    fn debug_check(&self) {
        if let Err(broken) = self.invariants() {
            panic!("session invariant broken: {broken}");
        }
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    fn debug_check(&self) {}
}
