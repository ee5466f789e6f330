//! What is left of a session's traffic while nothing moves: the counts that must go on.
//!
//! Tables and scheduler of a session that was used and fell idle are worth more than a kilobyte,
//! and a large node has thousands of those. What cannot be made anew is little: how far credit has
//! come on each lane, how many requests there were, and the statistics.

use valkyrie_frame::{Class, StreamId};

use crate::flow::{RecvWindow, SendCredit};
use crate::rtt::Rtt;
use crate::stats::ClassStats;
use crate::stream::Stream;
use crate::{Side, Stats};

use super::traffic::Traffic;

/// The counts of an idle session's traffic.
#[derive(Debug)]
pub(super) struct Dormant {
    lanes: Box<[Lane]>,
    classes: Box<[ClassCounts]>,
    /// Generations of exchanges go on above this, so that an old key stays stale.
    generation: u16,
    requests_refused: u64,
    deadlines_passed: u64,
    resets: u64,
    rtt: Rtt,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    id: StreamId,
    send: SendCredit,
    recv: RecvWindow,
}

#[derive(Clone, Copy, Debug)]
struct ClassCounts {
    class: Class,
    stats: ClassStats,
    requests_sent: u64,
    requests_received: u64,
}

impl Dormant {
    /// The counts of `traffic` when nothing else of it matters any more; `None` while something
    /// moves, waits or is owed.
    pub(super) fn of(traffic: &Traffic) -> Option<Self> {
        let quiet = traffic.outgoing.live() == 0
            && traffic.incoming.live() == 0
            && traffic.scheduler.len() == 0
            && traffic.parked.is_empty()
            && traffic.credit_due.is_empty()
            && traffic.cancels.is_empty()
            && traffic.reassembly == 0
            && traffic.critical_pending == 0
            && traffic.best_effort_pending == 0
            && traffic.notify_pending == 0
            && traffic.requests_queued == traffic.requests_sent
            && traffic.streams.iter().all(|(_, stream)| is_quiet(stream));
        if !quiet {
            return None;
        }
        let lanes = traffic.streams.iter().map(|(_, stream)| Lane {
            id: stream.id,
            send: stream.send.credit,
            recv: stream.recv.window,
        });
        let classes = Class::ALL.into_iter().map(|class| ClassCounts {
            class,
            stats: *traffic.stats.class(class),
            requests_sent: traffic.requests_sent[class.index()],
            requests_received: traffic.requests_received[class.index()],
        });
        let used = |counts: &ClassCounts| {
            counts.stats != ClassStats::default() || counts.requests_sent + counts.requests_received > 0
        };
        Some(Self {
            lanes: lanes.collect(),
            classes: classes.filter(used).collect(),
            generation: traffic.outgoing.last_generation(),
            requests_refused: traffic.stats.requests_refused,
            deadlines_passed: traffic.stats.deadlines_passed,
            resets: traffic.stats.resets,
            rtt: traffic.rtt,
        })
    }

    /// The traffic that goes on where this left off.
    pub(super) fn wake(&self, side: Side) -> Traffic {
        let mut traffic = Traffic {
            rtt: self.rtt,
            stats: self.stats(),
            ..Traffic::default()
        };
        traffic.outgoing.begin_above(self.generation);
        for lane in &self.lanes {
            let theirs = lane.id.opener() == Some(side.peer());
            let priority = lane.id.class().default_priority().byte();
            let mut stream = Stream::new(lane.id, 0, 0, priority, theirs);
            stream.send.credit = lane.send;
            stream.recv.window = lane.recv;
            traffic.streams.insert(stream);
        }
        for counts in &self.classes {
            let place = counts.class.index();
            traffic.requests_sent[place] = counts.requests_sent;
            traffic.requests_queued[place] = counts.requests_sent;
            traffic.requests_received[place] = counts.requests_received;
        }
        traffic
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            requests_refused: self.requests_refused,
            deadlines_passed: self.deadlines_passed,
            resets: self.resets,
            ..Stats::default()
        };
        for counts in &self.classes {
            stats.classes[counts.class.index()] = counts.stats;
        }
        stats
    }

    pub(super) const fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    pub(super) fn forget_path(&mut self) {
        self.rtt = Rtt::default();
    }
}

/// Whether a stream is a lane on which nothing moves, waits or is owed.
fn is_quiet(stream: &Stream) -> bool {
    stream.id.is_lane()
        && !stream.has_work()
        && !stream.send.blocked
        && !stream.send.ready
        && stream.recv.queue.is_empty()
        && stream.recv.partial.is_none()
        && stream.recv.window.unread == 0
        && !stream.recv.credit_due
}
