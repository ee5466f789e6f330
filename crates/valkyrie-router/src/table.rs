//! The ways to a service, and the choice of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use valkyrie_transport::{Capabilities, Locator};

use crate::balance::{hash, mixed, pull};
use crate::{Admission, Balance, Breaker, BreakerLimits, InFlight, Load, Needs, Unfit};

#[cfg(test)]
mod tests;

/// A way to a service: a peer, and how it is reached.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where.
    pub locator: Locator,
    /// What the link or bus can do.
    pub capabilities: Capabilities,
    /// How much it is to get beside others; zero is nothing, as long as there are others.
    pub weight: u32,
    /// In our own zone, or on our own machine. Others are used when no near one is fit and admitted.
    pub near: bool,
}

/// A way of one [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WayId(u32);

/// The ways to a service at one time. It is replaced when they change; what is known of a way that stays is taken along with
/// [`Table::after`].
#[derive(Debug)]
pub struct Table {
    /// Near ones first.
    ways: Vec<Entry>,
    near: usize,
    limits: BreakerLimits,
    /// Weights added up, to find a turn by.
    turns: Vec<u64>,
    turn: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    way: Way,
    hash: u64,
    load: Arc<Load>,
    breaker: Arc<Breaker>,
}

impl Table {
    /// Of these ways, of which nothing is known yet.
    ///
    /// # Errors
    ///
    /// [`RouteError::TooMany`].
    pub fn new(
        ways: impl IntoIterator<Item = Way>,
        limits: BreakerLimits,
        now: Instant,
    ) -> Result<Self, RouteError> {
        let mut entries: Vec<Entry> = ways
            .into_iter()
            .map(|way| Entry {
                hash: hash(way.locator.as_str().as_bytes()),
                load: Arc::new(Load::new(now)),
                breaker: Arc::new(Breaker::new(limits, now)),
                way,
            })
            .collect();
        if entries.len() > WAYS_MAX {
            return Err(RouteError::TooMany(entries.len()));
        }
        entries.sort_by_key(|entry| !entry.way.near);
        let turns = entries
            .iter()
            .scan(0, |sum, entry| {
                *sum += u64::from(entry.way.weight);
                Some(*sum)
            })
            .collect();
        Ok(Self {
            near: entries.iter().filter(|entry| entry.way.near).count(),
            ways: entries,
            limits,
            turns,
            turn: AtomicU64::new(0),
        })
    }

    /// Of these ways, with what `earlier` knows of those that have been there.
    ///
    /// # Errors
    ///
    /// [`RouteError::TooMany`].
    pub fn after(
        earlier: &Self,
        ways: impl IntoIterator<Item = Way>,
        now: Instant,
    ) -> Result<Self, RouteError> {
        let mut table = Self::new(ways, earlier.limits, now)?;
        let known: std::collections::HashMap<&Locator, &Entry> = earlier
            .ways
            .iter()
            .map(|entry| (&entry.way.locator, entry))
            .collect();
        for entry in &mut table.ways {
            if let Some(known) = known.get(&entry.way.locator) {
                entry.load = Arc::clone(&known.load);
                entry.breaker = Arc::clone(&known.breaker);
            }
        }
        Ok(table)
    }

    /// How many ways there are.
    pub fn len(&self) -> usize {
        self.ways.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// A way, if it is of this table.
    pub fn way(&self, id: WayId) -> Option<&Way> {
        self.entry(id).map(|entry| &entry.way)
    }

    /// The load of a way.
    pub fn load(&self, id: WayId) -> Option<&Arc<Load>> {
        self.entry(id).map(|entry| &entry.load)
    }

    /// Notes that something is sent a way.
    pub fn begin(&self, id: WayId, now: Instant) -> Option<InFlight> {
        self.entry(id).map(|entry| entry.load.begin(now))
    }

    /// Something that was sent this way went well.
    pub fn succeeded(&self, id: WayId, now: Instant) {
        if let Some(entry) = self.entry(id) {
            entry.breaker.succeeded(now);
        }
    }

    /// Something failed for which the way is to blame; whether it is left alone from now on. It is not when half of the ways
    /// are already: then what fails is not them.
    pub fn failed(&self, id: WayId, now: Instant) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        if !entry.breaker.failed(now) {
            return false;
        }
        let open = |entry: &&Entry| matches!(entry.breaker.admission(now), Admission::Closed(_));
        let others = self.ways.iter().filter(open).count();
        if (others + 1) * OPEN_SHARE_INVERSE > self.ways.len() {
            return false;
        }
        entry.breaker.open(now);
        true
    }

    /// Chooses a way for a message. Takes no lock and no memory; `rng` is the caller's.
    ///
    /// A few are tried at random; only when none of those will do are all looked at.
    ///
    /// # Errors
    ///
    /// [`RouteError`]: there is no way, none can carry it, or all that could are left alone because they failed.
    pub fn choose(
        &self,
        needs: &Needs,
        balance: Balance,
        key: Option<&[u8]>,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<WayId, RouteError> {
        let (near, far) = self.ways.split_at(self.near);
        let chosen = match (balance, key) {
            (Balance::ByKey, Some(key)) => self.by_key(needs, key, now, rng),
            (Balance::Weighted, _) => self.in_turn(needs, now, rng),
            (Balance::LeastInFlight, _) => {
                let least = |entry: &Entry| u64::from(entry.load.in_flight());
                sampled(near, LEAST_OF, needs, now, rng, least)
                    .or_else(|| Some(self.near + sampled(far, LEAST_OF, needs, now, rng, least)?))
            }
            _ => {
                let cost = |entry: &Entry| entry.load.cost(now);
                sampled(near, 2, needs, now, rng, cost)
                    .or_else(|| Some(self.near + sampled(far, 2, needs, now, rng, cost)?))
            }
        };
        match chosen.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => Ok(WayId(at)),
            None => Err(self.why_none(needs, now)),
        }
    }

    fn entry(&self, id: WayId) -> Option<&Entry> {
        self.ways.get(id.0 as usize)
    }

    fn in_turn(&self, needs: &Needs, now: Instant, rng: &mut Rng) -> Option<usize> {
        let sum = *self.turns.last()?;
        let tries = if sum == 0 { 0 } else { TRIES };
        for _ in 0..tries {
            // Steps of the golden ratio fall evenly on any division of the whole.
            let turn = self.turn.fetch_add(GOLDEN, Ordering::Relaxed);
            let place = (u128::from(turn) * u128::from(sum)) >> 64;
            let at = self.turns.partition_point(|&end| u128::from(end) <= place);
            if self.ways.get(at)?.will_do(needs, now, rng) {
                return Some(at);
            }
        }
        let heaviest = |(_, entry): &(usize, &Entry)| entry.way.weight;
        let will_do = self.ways.iter().enumerate();
        let will_do = will_do.filter(|(_, entry)| entry.will_do(needs, now, rng));
        will_do.max_by_key(heaviest).map(|(at, _)| at)
    }

    fn by_key(&self, needs: &Needs, key: &[u8], now: Instant, rng: &mut Rng) -> Option<usize> {
        let key = hash(key);
        let will_do = self.ways.iter().enumerate();
        let will_do = will_do.filter(|(_, entry)| entry.will_do(needs, now, rng));
        let pulls = will_do.map(|(at, entry)| (at, pull(mixed(key ^ entry.hash), entry.way.weight.max(1))));
        pulls
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(at, _)| at)
    }

    fn why_none(&self, needs: &Needs, now: Instant) -> RouteError {
        let mut unfit = None;
        let mut soonest: Option<Instant> = None;
        for entry in &self.ways {
            match (needs.check(&entry.way.capabilities), entry.breaker.admission(now)) {
                (Ok(()), Admission::Closed(until)) => {
                    soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                }
                // It was let through a moment too late for this message.
                (Ok(()), _) => soonest = Some(now),
                (Err(error), _) => unfit = unfit.or(Some((&entry.way.locator, error))),
            }
        }
        match (soonest, unfit) {
            (Some(until), _) => RouteError::AllFailing {
                retry_after: until.saturating_duration_since(now),
            },
            (None, Some((locator, unfit))) => RouteError::Unfit {
                locator: locator.clone(),
                unfit,
            },
            (None, None) => RouteError::Nobody,
        }
    }
}

impl Entry {
    fn will_do(&self, needs: &Needs, now: Instant, rng: &mut Rng) -> bool {
        needs.check(&self.way.capabilities).is_ok()
            && match self.breaker.admission(now) {
                Admission::Full => true,
                Admission::Share(share) => rng.f32() < share,
                Admission::Closed(_) => false,
            }
    }
}

/// Of some at random that will do, the one that costs least. All are looked at when there are few, or when those that were
/// drawn will not do.
fn sampled(
    ways: &[Entry],
    wanted: usize,
    needs: &Needs,
    now: Instant,
    rng: &mut Rng,
    cost: impl Fn(&Entry) -> u64,
) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    let mut keep = |at: usize, cost: u64| match best {
        Some((_, least)) if least <= cost => {}
        _ => best = Some((at, cost)),
    };
    if ways.len() > wanted {
        let (mut found, mut first) = (0, usize::MAX);
        for _ in 0..wanted + TRIES {
            let at = rng.usize(..ways.len());
            // The same one twice is no choice.
            if at != first && ways[at].will_do(needs, now, rng) {
                keep(at, cost(&ways[at]));
                first = at;
                found += 1;
            }
            if found == wanted {
                break;
            }
        }
        if found > 0 {
            return best.map(|(at, _)| at);
        }
    }
    // Where to begin is left to chance, so that the first of many equals is not everybody's choice.
    let begin = if ways.is_empty() {
        0
    } else {
        rng.usize(..ways.len())
    };
    for at in (begin..ways.len()).chain(0..begin) {
        if ways[at].will_do(needs, now, rng) {
            keep(at, cost(&ways[at]));
        }
    }
    best.map(|(at, _)| at)
}

/// No way was chosen. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The service has no way to it.
    #[error("nobody offers the service; nothing was sent")]
    Nobody,
    /// None of the ways can do what the message needs; one of them is named.
    #[error("no way to the service will do: {locator}: {unfit}")]
    Unfit {
        /// One of the ways.
        locator: Locator,
        /// What it cannot do.
        #[source]
        unfit: Unfit,
    },
    /// All ways that would do have failed and are left alone.
    #[error("every peer that offers the service has failed; try again in {} ms; nothing was sent", .retry_after.as_millis())]
    AllFailing {
        /// When the first of them is tried again.
        retry_after: std::time::Duration,
    },
    /// The caller gave more ways than a table holds. No table was made.
    #[error("{0} ways were given and a table holds {WAYS_MAX}; take a part of them")]
    TooMany(usize),
}

/// The most ways of one table: a large fleet. Whoever has more takes a subset.
pub const WAYS_MAX: usize = 1 << 20;

/// Draws beyond those that are wanted before all ways are looked at: with half of them fit it fails once in 256.
const TRIES: usize = 8;

/// How many the least busy is chosen from.
const LEAST_OF: usize = 64;

/// One way in so many may be left alone, of all that there are.
const OPEN_SHARE_INVERSE: usize = 2;

/// The fractional part of the golden ratio, of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
