//! Which stream sends next.
//!
//! The four classes below critical form a ladder: at each rung a class faces all that are below
//! it. Each side of a rung has a virtual time that advances by bytes over share, and the side that
//! is behind goes next. So each class gets its share of what those above leave, what a class does
//! not use flows down the ladder, and nobody waits forever (weighted fair queueing, Demers, Keshav
//! and Shenker 1989, nested).
//!
//! Within a class the higher priority goes first, and equals take turns a quantum at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use valkyrie_frame::Class;

use crate::Shares;

/// A stream that could send: `(priority, turn, index)`.
type Ready = (u8, Reverse<u64>, u32);

/// Something about each class of the ladder.
pub(crate) type Wants = [bool; RUNGS + 1];

/// The ladder and the queues of ready streams. It holds each stream at most once.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    ready: [BinaryHeap<Ready>; RUNGS + 1],
    rungs: [Rung; RUNGS],
    turn: u64,
}

/// A class against all below it.
#[derive(Clone, Copy, Debug, Default)]
struct Rung {
    own: u64,
    rest: u64,
}

impl Scheduler {
    /// Puts a stream at the end of its priority's turn.
    #[inline]
    pub(crate) fn push(&mut self, class: Class, priority: u8, index: u32) {
        self.turn += 1;
        self.ready[rung(class)].push((priority, Reverse(self.turn), index));
    }

    /// Takes the stream whose turn it is in `class`.
    #[inline]
    pub(crate) fn pop(&mut self, class: Class) -> Option<u32> {
        self.ready[rung(class)].pop().map(|(_, _, index)| index)
    }

    /// Takes a stream out that is gone before its turn.
    pub(crate) fn remove(&mut self, class: Class, index: u32) {
        self.ready[rung(class)].retain(|&(_, _, ready)| ready != index);
    }

    /// How many streams wait.
    pub(crate) fn len(&self) -> usize {
        self.ready.iter().map(BinaryHeap::len).sum()
    }

    /// The class that sends next among those that are ready and that `may_send`.
    #[inline]
    pub(crate) fn pick(&self, may_send: impl Fn(Class) -> bool) -> Option<Class> {
        let ready = LADDER.map(|class| !self.ready[rung(class)].is_empty() && may_send(class));
        for (place, rung) in self.rungs.iter().enumerate() {
            let below = ready[place + 1..].iter().any(|&ready| ready);
            if ready[place] && (!below || rung.own <= rung.rest) {
                return Some(LADDER[place]);
            }
            if !below {
                return None;
            }
        }
        ready[RUNGS].then_some(Class::Bulk)
    }

    /// Forgets who is ahead of whom, for when the shares are others. A class that was ahead by one quantum of a small share
    /// would be made to wait for as much as that quantum was worth under the former ones.
    pub(crate) fn level(&mut self) {
        self.rungs = Default::default();
    }

    /// Which classes, by their place on the ladder, have somebody that waits.
    #[inline]
    pub(crate) fn wants(&self) -> Wants {
        self.ready.each_ref().map(|ready| !ready.is_empty())
    }

    /// Charges a class for what it sent. `wants` says which others want to send and may.
    #[inline]
    pub(crate) fn charge(&mut self, class: Class, bytes: u64, shares: &Shares, wants: Wants) {
        let place = rung(class);
        for (level, share) in [shares.system, shares.job, shares.data].into_iter().enumerate() {
            let share = u64::from(share);
            let rung = &mut self.rungs[level];
            // The side that did not want to send, or may not, must not save up time for later.
            if level == place {
                rung.own += bytes * 1000 / share;
                if !wants[level + 1..].contains(&true) {
                    rung.rest = rung.rest.max(rung.own);
                }
                return;
            }
            rung.rest += bytes * 1000 / (1000 - share);
            if !wants[level] {
                rung.own = rung.own.max(rung.rest);
            }
        }
    }
}

/// The classes that share the wire, from the top of the ladder.
pub(crate) const LADDER: [Class; RUNGS + 1] = [Class::System, Class::Job, Class::Data, Class::Bulk];

/// Rungs: every class of the ladder but the last faces those below it.
const RUNGS: usize = 3;

/// A class's place on the ladder. Critical has none: it goes before all and is never asked here.
#[inline]
pub(crate) const fn rung(class: Class) -> usize {
    match class {
        Class::Critical | Class::System => 0,
        Class::Job => 1,
        Class::Data => 2,
        Class::Bulk => 3,
    }
}
