//! What a session owns once there is traffic, and an idle one does without.
//!
//! Most connections of a large node are idle. A session that has only opened needs a few hundred
//! bytes; tables, scheduler and counters are made when the first message comes or goes, and put
//! away again (see [`Dormant`]) when the connection has been idle for a while.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::time::Duration;

use valkyrie_frame::{Class, Side};

use crate::Stats;
use crate::assembly::Arena;
use crate::congestion::DataYield;
use crate::exchange::{IncomingTable, OutgoingTable};
use crate::rtt::Rtt;
use crate::scheduler::Scheduler;
use crate::stream::Streams;

use super::allowance::Allowance;
use super::bucket::CriticalBucket;
use super::dormant::Dormant;
use super::exchanges::Cancel;

/// Tables and counters of a session with traffic.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) streams: Streams,
    pub(super) outgoing: OutgoingTable,
    pub(super) incoming: IncomingTable,
    pub(super) scheduler: Scheduler,
    pub(super) critical: CriticalBucket,
    pub(super) data_yield: DataYield,
    pub(super) rtt: Rtt,
    /// Streams that wait for credit of the connection.
    pub(super) parked: Vec<u32>,
    /// Streams whose next message is large and waits for others to arrive whole.
    pub(super) waiting: Vec<u32>,
    /// Streams that owe the peer a CREDIT.
    pub(super) credit_due: Vec<u32>,
    /// Memory for messages that arrive in fragments.
    pub(super) arena: Arena,
    /// Bytes of half-arrived messages.
    pub(super) reassembly: u64,
    /// Bytes of critical notifications that handlers hold.
    pub(super) critical_pending: u64,
    /// Bytes of best-effort notifications that handlers hold.
    pub(super) best_effort_pending: u64,
    /// Bytes of notifications that handlers hold and that count against the connection's window.
    pub(super) notify_pending: u64,
    /// Where to look for the next free id, by class.
    pub(super) next_id: [u32; Class::COUNT],
    /// Requests that have been queued, by class.
    pub(super) requests_queued: [u64; Class::COUNT],
    /// Cancels whose requests are still queued.
    pub(super) cancels: Vec<Cancel>,
    /// Requests that have gone out whole, by class.
    pub(super) requests_sent: [u64; Class::COUNT],
    /// Requests that have arrived whole, by class.
    pub(super) requests_received: [u64; Class::COUNT],
    pub(super) stats: Stats,
    /// What may be sent, where a capacity is divided among sessions.
    pub(super) allowance: Option<Allowance>,
}

/// A [`Traffic`] that comes into being when it is first changed, and that falls asleep when the
/// session is idle. Until it is changed again it reads as empty.
#[derive(Debug)]
pub(super) struct LazyTraffic {
    side: Side,
    state: State,
}

#[derive(Debug)]
enum State {
    None,
    Live(Box<Traffic>),
    Dormant(Box<Dormant>),
}

impl LazyTraffic {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            state: State::None,
        }
    }

    /// Whether there is traffic now.
    #[inline]
    pub(super) fn exists(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    /// Keeps no more than the counts, if nothing moves, waits or is owed.
    pub(super) fn sleep(&mut self) {
        if let State::Live(traffic) = &self.state
            && let Some(dormant) = Dormant::of(traffic)
        {
            self.state = State::Dormant(Box::new(dormant));
        }
    }

    /// Has the whole of it again, if there is any: before something reads what sleep puts away.
    pub(super) fn wake(&mut self) {
        if matches!(self.state, State::Dormant(_)) {
            self.make();
        }
    }

    /// The statistics, asleep or not.
    pub(super) fn stats(&self) -> Stats {
        match &self.state {
            State::None => Stats::default(),
            State::Live(traffic) => traffic.stats,
            State::Dormant(dormant) => dormant.stats(),
        }
    }

    /// The estimate of the round trip, asleep or not.
    pub(super) fn rtt(&self) -> Option<Duration> {
        match &self.state {
            State::None => None,
            State::Live(traffic) => traffic.rtt.smoothed(),
            State::Dormant(dormant) => dormant.rtt().smoothed(),
        }
    }

    /// Another link may lead along another path, whose delay and room say nothing of this one's.
    pub(super) fn forget_path(&mut self) {
        match &mut self.state {
            State::None => {}
            State::Live(traffic) => {
                traffic.rtt = Rtt::default();
                traffic.data_yield = DataYield::default();
            }
            State::Dormant(dormant) => dormant.forget_path(),
        }
    }

    #[cold]
    fn make(&mut self) {
        let traffic = match &self.state {
            State::Dormant(dormant) => Box::new(dormant.wake(self.side)),
            State::None | State::Live(_) => Box::default(),
        };
        self.state = State::Live(traffic);
    }
}

impl Deref for LazyTraffic {
    type Target = Traffic;

    #[inline(always)]
    fn deref(&self) -> &Traffic {
        match &self.state {
            State::Live(traffic) => traffic,
            State::None | State::Dormant(_) => &EMPTY,
        }
    }
}

impl DerefMut for LazyTraffic {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Traffic {
        if !self.exists() {
            self.make();
        }
        match &mut self.state {
            State::Live(traffic) => traffic,
            State::None | State::Dormant(_) => unreachable!("made just above"),
        }
    }
}

static EMPTY: LazyLock<Traffic> = LazyLock::new(Traffic::default);
