//! What a session owns once there is traffic, and an idle one does without.
//!
//! Most connections of a large node are idle. A session that has only opened needs a few hundred
//! bytes; tables, scheduler and counters are made when the first message comes or goes.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use valkyrie_frame::Class;

use crate::Stats;
use crate::assembly::Arena;
use crate::congestion::DataYield;
use crate::exchange::{IncomingTable, OutgoingTable};
use crate::rtt::Rtt;
use crate::scheduler::Scheduler;
use crate::stream::Streams;

use super::exchanges::Cancel;
use super::transmit::CriticalBucket;

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
}

/// A [`Traffic`] that comes into being when it is first changed. Until then it reads as empty.
#[derive(Debug, Default)]
pub(super) struct LazyTraffic(Option<Box<Traffic>>);

impl LazyTraffic {
    /// Whether there has been any traffic.
    #[inline]
    pub(super) fn exists(&self) -> bool {
        self.0.is_some()
    }
}

impl Deref for LazyTraffic {
    type Target = Traffic;

    #[inline(always)]
    fn deref(&self) -> &Traffic {
        match &self.0 {
            Some(traffic) => traffic,
            None => &EMPTY,
        }
    }
}

impl DerefMut for LazyTraffic {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Traffic {
        if self.0.is_none() {
            self.make();
        }
        match &mut self.0 {
            Some(traffic) => traffic,
            None => unreachable!("made just above"),
        }
    }
}

impl LazyTraffic {
    #[cold]
    fn make(&mut self) {
        self.0 = Some(Box::default());
    }
}

static EMPTY: LazyLock<Traffic> = LazyLock::new(Traffic::default);
