//! One capacity for many sessions: which of them sends next, and in which class.
//!
//! The classes share it as they share a wire within one session, by the same ladder, and the sessions that wait in a class take turns of
//! about a frame. So a class has its share over all sessions, a session its part of its class, and what a class does not
//! use flows down. Critical frames, control and credit do not wait here: they go, and what they took is taken from what comes next.
//!
//! It grants; the sessions send (see [`Session::set_allowance`](crate::Session::set_allowance)), and whoever drives them says what came of it. It
//! reads no clock: a grant is due when the wire, at this capacity, has carried what was granted before. Read [`Shaper::poll_grant`] first.

use std::time::{Duration, Instant};

use valkyrie_frame::Class;

use crate::Shares;
use crate::scheduler::Scheduler;

/// Bytes by class, in the order of [`Class::ALL`].
pub type ByClass = [u64; Class::COUNT];

/// Divides a capacity among sessions, its members.
#[derive(Debug)]
pub struct Shaper {
    bytes_per_second: u64,
    shares: Shares,
    /// The members that wait, by class.
    lines: Scheduler,
    members: Vec<Option<Member>>,
    free: Vec<u32>,
    /// Members with a grant in a class that have not said yet what came of it.
    granted: [u32; Class::COUNT],
    /// When the wire has carried everything that was granted.
    free_at: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    waits: [bool; Class::COUNT],
    grants: ByClass,
}

/// One that takes part, until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberKey(u32);

impl MemberKey {
    /// A small number that no other member has meanwhile.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Shaper {
    /// Shares so many bytes a second, at least one, from now on.
    pub fn new(bytes_per_second: u64, shares: Shares, now: Instant) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            shares,
            lines: Scheduler::default(),
            members: Vec::new(),
            free: Vec::new(),
            granted: [0; Class::COUNT],
            free_at: now,
        }
    }

    /// Another capacity and other shares from now on. Who waits goes on waiting in its place.
    pub fn change(&mut self, bytes_per_second: u64, shares: Shares) {
        self.bytes_per_second = bytes_per_second.max(1);
        if self.shares != shares {
            self.shares = shares;
            self.lines.level();
        }
    }

    /// One more member.
    pub fn join(&mut self) -> MemberKey {
        let index = self.free.pop().unwrap_or(self.members.len() as u32);
        let member = Some(Member::default());
        match self.members.get_mut(index as usize) {
            Some(place) => *place = member,
            None => self.members.push(member),
        }
        MemberKey(index)
    }

    /// A member is gone: it waits no more, and what was granted to it and not sent is others'.
    pub fn leave(&mut self, now: Instant, key: MemberKey) {
        self.settle(now, key, &ByClass::default(), &[false; Class::COUNT]);
        let Some(member) = self.members.get_mut(key.index()).and_then(Option::take) else {
            return;
        };
        for class in Class::ALL {
            if member.waits[class.index()] {
                self.lines.remove(class, key.0);
            }
        }
        self.free.push(key.0);
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members.len() - self.free.len()
    }

    /// What a member may send.
    pub fn grants(&self, key: MemberKey) -> ByClass {
        self.member(key)
            .map_or(ByClass::default(), |member| member.grants)
    }

    /// A member has sent this much of each class, and wants to send more in these. Where it has sent of what it was granted, or does not
    /// want it any more, the rest is others' again, and where it wants more it goes to the end of the line. A grant that it has not
    /// come to and still wants it keeps: a batch is for one lane, and may have been one of critical frames.
    pub fn settle(&mut self, now: Instant, key: MemberKey, sent: &ByClass, wants: &[bool; Class::COUNT]) {
        let Some(Some(member)) = self.members.get_mut(key.index()) else {
            return;
        };
        let mut over = 0;
        for class in Class::ALL {
            let place = class.index();
            if member.grants[place] > 0 {
                if wants[place] && sent[place] == 0 {
                    continue;
                }
                over += core::mem::take(&mut member.grants[place]);
                self.granted[place] -= 1;
            }
            if wants[place] && class != Class::Critical && !core::mem::replace(&mut member.waits[place], true)
            {
                self.lines.push(class, 0, key.0);
            }
        }
        let mut sent_all = 0;
        for class in Class::ALL {
            let place = class.index();
            sent_all += sent[place];
            if class != Class::Critical && sent[place] > 0 {
                let waiting = self.waiting();
                self.lines.charge(class, sent[place], &self.shares, waiting);
            }
        }
        // Nobody is owed for a wire that was idle, but a timer that is late by a moment must not cost capacity.
        let floor = now.checked_sub(SLACK).unwrap_or(now);
        let free_at = self.free_at.max(floor) + self.time_of(sent_all);
        self.free_at = free_at.checked_sub(self.time_of(over)).unwrap_or(free_at);
    }

    /// Gives the wire to the next member, if it is free and somebody waits.
    pub fn poll_grant(&mut self, now: Instant) -> Option<(MemberKey, Class)> {
        if self.free_at > now {
            return None;
        }
        let class = self.lines.pick(|_| true)?;
        let index = self.lines.pop(class)?;
        let bytes = self.quantum();
        let member = self.members.get_mut(index as usize)?.as_mut()?;
        let place = class.index();
        member.waits[place] = false;
        member.grants[place] = bytes;
        self.granted[place] += 1;
        let floor = now.checked_sub(SLACK).unwrap_or(now);
        self.free_at = self.free_at.max(floor) + self.time_of(bytes);
        Some((MemberKey(index), class))
    }

    /// When [`Shaper::poll_grant`] has something to give; `None` when nobody waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.lines.len() > 0).then_some(self.free_at)
    }

    /// Whether the member waits for a grant in this class.
    pub fn waits(&self, key: MemberKey, class: Class) -> bool {
        self.member(key).is_some_and(|member| member.waits[class.index()])
    }

    fn member(&self, key: MemberKey) -> Option<&Member> {
        self.members.get(key.index())?.as_ref()
    }

    /// The classes, as the ladder has them, in which somebody wants to send: waits, or sends just now.
    fn waiting(&self) -> crate::scheduler::Wants {
        let mut waiting = self.lines.wants();
        for class in [Class::System, Class::Job, Class::Data, Class::Bulk] {
            waiting[crate::scheduler::rung(class)] |= self.granted[class.index()] > 0;
        }
        waiting
    }

    /// Bytes of one turn: a frame, or where that is gone in less time than a timer can tell, half a millisecond's worth.
    fn quantum(&self) -> u64 {
        (self.bytes_per_second / 2000).clamp(QUANTUM_MIN, QUANTUM_MAX)
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }
}

/// How much of the time in which nobody was granted anything is made up for: what timers are late by. Those of the runtime count
/// milliseconds, and whoever waits for them in the system waits for whole ones as well: up to two. Half of this cost a link of 100 Mbit/s a
/// seventh of what it carries.
const SLACK: Duration = Duration::from_millis(2);

/// The default frame.
const QUANTUM_MIN: u64 = 16 * 1024;

/// What a batch holds.
const QUANTUM_MAX: u64 = 128 * 1024;
