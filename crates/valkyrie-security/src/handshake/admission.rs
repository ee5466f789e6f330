//! Who may begin a handshake, and for whom this side computes one: the bounds on what strangers can cost.
//!
//! Three things are kept apart. A link that has been accepted takes a place in the *half-open* table; there are few,
//! and the oldest makes way for the newest, so that whoever is quick gets through a flood of those who are not. There are
//! fewer where the machine runs out of descriptors sooner. An
//! *address* may open only so many links a second. A *computation*, the cost that matters, is permitted at a rate in total, and
//! under load only to peers that have shown with a cookie that they receive at their address.
//!
//! It holds no handshake and closes no link: it says what is to be done.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::HandshakeError;

#[cfg(test)]
mod tests;

/// What strangers may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// Links that one address, or one /64 of IPv6, may open: so many a second.
    pub per_address: Rate,
    /// Handshakes that are computed for all peers together.
    pub total: Rate,
    /// Handshakes in progress. One that waits for a first message takes 5 KiB, one that is computed and waits for the rest up to 20 KiB: 80 MiB.
    pub half_open_max: usize,
    /// With more handshakes in progress than this, cookies are asked for.
    pub cookies_above: usize,
    /// Addresses whose rate is remembered; about 100 bytes each.
    pub addresses_max: usize,
}

impl HandshakeLimits {
    /// How long a handshake may take, credentials included.
    //= protocol/security.md#frames-in-clear
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// What a peer may send in clear, headers included.
    pub const CLEAR_BYTES_MAX: usize = 4096;
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            // A machine of CI runners behind one address reconnects at once.
            per_address: Rate::new(500, 1000),
            // At 121 microseconds each, half of a core.
            total: Rate::new(4000, 8000),
            half_open_max: 4096,
            cookies_above: 512,
            addresses_max: 65_536,
        }
    }
}

/// So many a second on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    tolerance: Duration,
}

impl Rate {
    /// `per_s` a second and `burst` at once, at least one of each.
    pub const fn new(per_s: u32, burst: u32) -> Self {
        let per_s = if per_s == 0 { 1 } else { per_s };
        let burst = if burst == 0 { 1 } else { burst };
        let interval = Duration::from_nanos(1_000_000_000 / per_s as u64);
        Self {
            interval,
            tolerance: interval.saturating_mul(burst),
        }
    }

    /// Takes one. `full_at` is when nothing will have been taken any more (the generic cell rate algorithm's theoretical
    /// arrival time). Gives its new value, or how long to wait.
    fn take(&self, full_at: Instant, now: Instant) -> Result<Instant, Duration> {
        let full_at = full_at.max(now) + self.interval;
        let debt = full_at.saturating_duration_since(now);
        match debt.checked_sub(self.tolerance) {
            None | Some(Duration::ZERO) => Ok(full_at),
            Some(wait) => Err(wait),
        }
    }

    /// Whether more than half of the burst has been taken.
    fn is_half_used(&self, full_at: Instant, now: Instant) -> bool {
        full_at.saturating_duration_since(now) > self.tolerance / 2
    }
}

/// A place in the half-open table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HalfOpenId(u64);

/// A link was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Its place, to be given back with [`Admission::done`].
    pub(crate) id: HalfOpenId,
    /// Whose place it took: that handshake is to be ended and its link closed.
    pub(crate) evicted: Option<HalfOpenId>,
}

/// A link was turned away: its address opens too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// When the next one will be let in.
    pub(crate) retry_after: Duration,
}

/// What to do with a first message, before anything is computed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Compute.
    Go,
    /// Ask for a cookie first.
    Challenge,
    /// Refuse: all that may be computed has been.
    Refuse {
        /// When there will be room again.
        retry_after: Duration,
    },
}

/// What has been let in and what has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionStats {
    /// Links that were let in.
    pub opened: u64,
    /// Links turned away because their address had opened too many.
    pub refused_by_address: u64,
    /// Handshakes in progress that made way for newer ones.
    pub evicted: u64,
    /// Times that the machine was short of what a link takes, such as descriptors.
    pub shortages: u64,
    /// First messages that were computed.
    pub computed: u64,
    /// First messages that were answered with a cookie.
    pub challenged: u64,
    /// First messages refused because too many had been computed.
    pub refused_in_total: u64,
    /// Handshakes that were not done within [`HandshakeLimits::TIMEOUT`].
    pub timed_out: u64,
    /// Handshakes whose peers said or announced more than they may before they are known, see [`HandshakeLimits::CLEAR_BYTES_MAX`].
    pub too_long: u64,
    /// First messages that were sent before.
    pub replayed: u64,
    /// Addresses whose rate was forgotten to remember another's.
    pub addresses_forgotten: u64,
    /// Handshakes in progress now.
    pub half_open: usize,
    /// Addresses remembered now.
    pub addresses: usize,
}

/// Decides who may begin.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: HandshakeLimits,
    total: Option<Instant>,
    addresses: Addresses,
    half_open: BTreeSet<HalfOpenId>,
    /// How many of them the machine has shown to have room for, once it had none; `None` as long as it always had.
    room: Option<usize>,
    next: u64,
    stats: AdmissionStats,
}

impl Admission {
    pub(crate) fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            total: None,
            addresses: Addresses::default(),
            half_open: BTreeSet::new(),
            room: None,
            next: 0,
            stats: AdmissionStats::default(),
        }
    }

    /// A link was accepted. `address` is the peer's, if it has one. Nothing has been read of it.
    pub(crate) fn opened(&mut self, now: Instant, address: Option<IpAddr>) -> Result<Opened, Refused> {
        if let Some(prefix) = address.and_then(Prefix::of) {
            let taken = self
                .addresses
                .take(prefix, self.limits.per_address, self.limits.addresses_max, now);
            self.stats.addresses_forgotten += u64::from(taken.forgotten);
            taken.outcome.map_err(|retry_after| {
                self.stats.refused_by_address += 1;
                Refused { retry_after }
            })?;
        }
        let half_open_max = self.limits.half_open_max.min(self.room.unwrap_or(usize::MAX));
        let evicted = if self.half_open.len() >= half_open_max.max(1) {
            self.half_open.pop_first()
        } else {
            None
        };
        let id = HalfOpenId(self.next);
        self.next += 1;
        self.half_open.insert(id);
        self.stats.opened += 1;
        self.stats.evicted += u64::from(evicted.is_some());
        Ok(Opened { id, evicted })
    }

    /// A whole first message has come. `proved` says that the peer has sent a good cookie, or that its link has no
    /// address that could be made up.
    //= protocol/security.md#challenge
    pub(crate) fn first_message(&mut self, now: Instant, proved: bool) -> Verdict {
        let full_at = self.total.unwrap_or(now);
        let loaded =
            self.half_open.len() > self.limits.cookies_above || self.limits.total.is_half_used(full_at, now);
        if loaded && !proved {
            self.stats.challenged += 1;
            return Verdict::Challenge;
        }
        match self.limits.total.take(full_at, now) {
            Ok(full_at) => {
                self.total = Some(full_at);
                self.stats.computed += 1;
                Verdict::Go
            }
            Err(retry_after) => {
                self.stats.refused_in_total += 1;
                Verdict::Refuse { retry_after }
            }
        }
    }

    /// The machine could not take another link: the older half of the handshakes in progress is to be ended and their
    /// links closed. Until none is left, no more than the other half are in progress at once: without that bound
    /// strangers would use up what is given free at once, and every newcomer would wait for the next shortage to pass.
    pub(crate) fn shortage(&mut self) -> BTreeSet<HalfOpenId> {
        let ended = self.half_open.len().div_ceil(2);
        let newer = match self.half_open.iter().nth(ended).copied() {
            Some(oldest_kept) => self.half_open.split_off(&oldest_kept),
            None => BTreeSet::new(),
        };
        let ended = std::mem::replace(&mut self.half_open, newer);
        self.room = (!ended.is_empty()).then_some(self.half_open.len().max(1));
        self.stats.shortages += 1;
        self.stats.evicted += ended.len() as u64;
        ended
    }

    /// A handshake has come to its end, whichever. One that was evicted may say so too.
    pub(crate) fn done(&mut self, id: HalfOpenId) {
        self.half_open.remove(&id);
        if self.half_open.is_empty() {
            self.room = None;
        }
    }

    /// A handshake that was let in came to nothing: counts it where one of the bounds that strangers are held to was the reason.
    pub(crate) fn failed(&mut self, error: &HandshakeError) {
        match error {
            HandshakeError::TimedOut => self.stats.timed_out += 1,
            HandshakeError::TooLong => self.stats.too_long += 1,
            HandshakeError::Replay => self.stats.replayed += 1,
            _ => {}
        }
    }

    /// What has been let in and what has not.
    pub(crate) fn stats(&self) -> AdmissionStats {
        AdmissionStats {
            half_open: self.half_open.len(),
            addresses: self.addresses.full_at.len(),
            ..self.stats
        }
    }

    /// What must hold after every call.
    #[cfg(test)]
    fn invariants(&self) {
        assert!(self.half_open.len() <= self.limits.half_open_max);
        assert!(self.addresses.full_at.len() <= self.limits.addresses_max);
        assert_eq!(self.addresses.full_at.len(), self.addresses.order.len());
    }
}

/// Whom an address is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Prefix {
    V4(u32),
    /// The first 64 bits: a host has all of the rest for itself.
    V6(u64),
}

impl Prefix {
    /// `None` for this machine itself: its processes have one address together, and no flood comes from outside.
    fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::V4(address.to_bits())),
            IpAddr::V6(address) => Some(Self::V6((address.to_bits() >> 64) as u64)),
        }
    }
}

/// The rates of addresses, never more than a bound of them.
#[derive(Debug, Default)]
struct Addresses {
    full_at: HashMap<Prefix, Instant>,
    /// The same, by time. The first is the one that is missed least: when its time is over it has no effect any more, and
    /// if no such is left it is the one that has opened least, or longest ago.
    order: BTreeSet<(Instant, Prefix)>,
}

struct Taken {
    outcome: Result<(), Duration>,
    /// Another address was forgotten for this one.
    forgotten: bool,
}

impl Addresses {
    fn take(&mut self, prefix: Prefix, rate: Rate, max: usize, now: Instant) -> Taken {
        let known = self.full_at.get(&prefix).copied();
        let full_at = match rate.take(known.unwrap_or(now), now) {
            Ok(full_at) => full_at,
            Err(wait) => {
                return Taken {
                    outcome: Err(wait),
                    forgotten: false,
                };
            }
        };
        let mut forgotten = false;
        match known {
            Some(before) => {
                self.order.remove(&(before, prefix));
            }
            None if self.full_at.len() >= max.max(1) => {
                if let Some((_, other)) = self.order.pop_first() {
                    self.full_at.remove(&other);
                    forgotten = true;
                }
            }
            None => {}
        }
        self.full_at.insert(prefix, full_at);
        self.order.insert((full_at, prefix));
        Taken {
            outcome: Ok(()),
            forgotten,
        }
    }
}
