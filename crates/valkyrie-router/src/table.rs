//! The ways to a service, and the choice of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use valkyrie_transport::{Capabilities, Locator};

use crate::balance::{hash, mixed, pull};
use crate::outliers::{self, Outcomes, OutlierLimits, Sample};
use crate::{Admission, Balance, Breaker, BreakerLimits, InFlight, Load, Needs, Unfit};

#[cfg(test)]
mod tests;

/// A way to a service: a peer, and how it is reached.
#[derive(Clone, Debug)]
pub struct Way<P = ()> {
    /// Whom the caller finds there.
    pub peer: P,
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
pub struct Table<P = ()> {
    /// Near ones first.
    ways: Vec<Entry<P>>,
    near: usize,
    limits: BreakerLimits,
    /// Weights added up, to find a turn by.
    turns: Vec<u64>,
    turn: AtomicU64,
}

#[derive(Debug)]
struct Entry<P> {
    way: Way<P>,
    hash: u64,
    load: Arc<Load>,
    breaker: Arc<Breaker>,
    outcomes: Arc<Outcomes>,
}

/// Why whoever asks passes a way over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It cannot carry the message.
    Unfit(Unfit),
    /// It is not to be used before then.
    Until(Instant),
    /// Not for this message.
    Tried,
}

impl<P> Table<P> {
    /// Of these ways, of which nothing is known yet.
    ///
    /// # Errors
    ///
    /// [`RouteError::TooMany`].
    pub fn new(
        ways: impl IntoIterator<Item = Way<P>>,
        limits: BreakerLimits,
        now: Instant,
    ) -> Result<Self, RouteError> {
        let mut entries: Vec<Entry<P>> = ways
            .into_iter()
            .map(|way| Entry {
                hash: hash(way.locator.as_str().as_bytes()),
                load: Arc::new(Load::new(now)),
                breaker: Arc::new(Breaker::new(limits, now)),
                outcomes: Arc::default(),
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

    /// Of these ways, with what `earlier` knows of those that have been there: the same peer at the same place. A peer
    /// that has begun anew is another to whoever says so by `P`, and starts with a clean sheet.
    ///
    /// # Errors
    ///
    /// [`RouteError::TooMany`].
    pub fn after(
        earlier: &Self,
        ways: impl IntoIterator<Item = Way<P>>,
        now: Instant,
    ) -> Result<Self, RouteError>
    where
        P: PartialEq,
    {
        let mut table = Self::new(ways, earlier.limits, now)?;
        let known: std::collections::HashMap<&Locator, &Entry<P>> = earlier
            .ways
            .iter()
            .map(|entry| (&entry.way.locator, entry))
            .collect();
        for entry in &mut table.ways {
            if let Some(known) = known.get(&entry.way.locator)
                && known.way.peer == entry.way.peer
            {
                entry.load = Arc::clone(&known.load);
                entry.breaker = Arc::clone(&known.breaker);
                entry.outcomes = Arc::clone(&known.outcomes);
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

    /// All of them, near ones first.
    pub fn ways(&self) -> impl Iterator<Item = &Way<P>> {
        self.ways.iter().map(|entry| &entry.way)
    }

    /// A way, if it is of this table.
    pub fn way(&self, id: WayId) -> Option<&Way<P>> {
        self.entry(id).map(|entry| &entry.way)
    }

    /// The first way to a peer of which this holds. It looks at all of them.
    pub(crate) fn find(&self, is_it: impl Fn(&P) -> bool) -> Option<WayId> {
        let at = self.ways.iter().position(|entry| is_it(&entry.way.peer))?;
        u32::try_from(at).ok().map(WayId)
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
            entry.outcomes.note(true);
            entry.breaker.succeeded(now);
        }
    }

    /// Something failed for which the way is to blame; whether it is left alone from now on. It is not when half of the ways
    /// are already: then what fails is not them.
    pub fn failed(&self, id: WayId, now: Instant) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        entry.outcomes.note(false);
        entry.breaker.failed(now) && self.leave_alone(entry, now)
    }

    /// Leaves a way alone, unless half of them are already.
    fn leave_alone(&self, entry: &Entry<P>, now: Instant) -> bool {
        let open = |entry: &&Entry<P>| matches!(entry.breaker.admission(now), Admission::Closed(_));
        let others = self.ways.iter().filter(open).count();
        let may = (others + 1) * OPEN_SHARE_INVERSE <= self.ways.len();
        if may {
            entry.breaker.open(now);
        }
        may
    }

    /// The ways that are left alone now, each with when that ends.
    pub fn left_alone(&self, now: Instant) -> impl Iterator<Item = (&Way<P>, Instant)> {
        self.ways
            .iter()
            .filter_map(move |entry| match entry.breaker.admission(now) {
                Admission::Closed(until) => Some((&entry.way, until)),
                Admission::Full | Admission::Share(_) => None,
            })
    }

    /// Looks at how the ways have done since it was last asked, and leaves those alone that stand out from the others; says how
    /// many. Meant to be asked every ten seconds or so.
    pub fn eject_outliers(&self, limits: &OutlierLimits, now: Instant) -> usize {
        let samples: Vec<Sample> = self
            .ways
            .iter()
            .map(|entry| entry.outcomes.take(entry.load.delay(now)))
            .collect();
        let standing_out = outliers::find(&samples, limits);
        let entries = standing_out.into_iter().filter_map(|at| self.ways.get(at));
        entries.filter(|entry| self.leave_alone(entry, now)).count()
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
        self.choose_where(needs, balance, key, now, rng, |_| Ok(()))
    }

    /// [`Table::choose`] among those that `admits` lets pass. It is asked about few ways and may be asked about one twice.
    ///
    /// # Errors
    ///
    /// As for [`Table::choose`].
    pub fn choose_where(
        &self,
        needs: &Needs,
        balance: Balance,
        key: Option<&[u8]>,
        now: Instant,
        rng: &mut Rng,
        admits: impl Fn(&P) -> Result<(), Aside>,
    ) -> Result<WayId, RouteError> {
        let (near, far) = self.ways.split_at(self.near);
        let will_do = |entry: &Entry<P>, rng: &mut Rng| {
            entry.will_do(needs, now, rng) && admits(&entry.way.peer).is_ok()
        };
        let chosen = match (balance, key) {
            (Balance::ByKey, Some(key)) => self.by_key(key, rng, will_do),
            (Balance::Weighted, _) => self.in_turn(rng, will_do),
            (Balance::LeastInFlight, _) => {
                let least = |entry: &Entry<P>| u64::from(entry.load.in_flight());
                sampled(near, LEAST_OF, rng, will_do, least)
                    .or_else(|| Some(self.near + sampled(far, LEAST_OF, rng, will_do, least)?))
            }
            _ => {
                let cost = |entry: &Entry<P>| entry.load.cost(now);
                sampled(near, 2, rng, will_do, cost)
                    .or_else(|| Some(self.near + sampled(far, 2, rng, will_do, cost)?))
            }
        };
        match chosen.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => Ok(WayId(at)),
            None => Err(self.why_none(needs, now, admits)),
        }
    }

    fn entry(&self, id: WayId) -> Option<&Entry<P>> {
        self.ways.get(id.0 as usize)
    }

    fn in_turn(&self, rng: &mut Rng, will_do: impl Fn(&Entry<P>, &mut Rng) -> bool) -> Option<usize> {
        let sum = *self.turns.last()?;
        let tries = if sum == 0 { 0 } else { TRIES };
        for _ in 0..tries {
            // Steps of the golden ratio fall evenly on any division of the whole.
            let turn = self.turn.fetch_add(GOLDEN, Ordering::Relaxed);
            let place = (u128::from(turn) * u128::from(sum)) >> 64;
            let at = self.turns.partition_point(|&end| u128::from(end) <= place);
            if will_do(self.ways.get(at)?, rng) {
                return Some(at);
            }
        }
        let heaviest = |(_, entry): &(usize, &Entry<P>)| entry.way.weight;
        let ways = self.ways.iter().enumerate();
        let ways = ways.filter(|(_, entry)| will_do(entry, rng));
        ways.max_by_key(heaviest).map(|(at, _)| at)
    }

    fn by_key(
        &self,
        key: &[u8],
        rng: &mut Rng,
        will_do: impl Fn(&Entry<P>, &mut Rng) -> bool,
    ) -> Option<usize> {
        let key = hash(key);
        let ways = self.ways.iter().enumerate();
        let ways = ways.filter(|(_, entry)| will_do(entry, rng));
        let pulls = ways.map(|(at, entry)| (at, pull(mixed(key ^ entry.hash), entry.way.weight.max(1))));
        pulls
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(at, _)| at)
    }

    fn why_none(&self, needs: &Needs, now: Instant, admits: impl Fn(&P) -> Result<(), Aside>) -> RouteError {
        let mut unfit = None;
        let mut soonest: Option<Instant> = None;
        let mut tried = false;
        for entry in &self.ways {
            let aside = match needs.check(&entry.way.capabilities) {
                Ok(()) => admits(&entry.way.peer),
                Err(error) => Err(Aside::Unfit(error)),
            };
            let until = match (aside, entry.breaker.admission(now)) {
                (Err(Aside::Unfit(error)), _) => {
                    unfit = unfit.or(Some((&entry.way.locator, error)));
                    continue;
                }
                (Err(Aside::Tried), _) => {
                    tried = true;
                    continue;
                }
                (Err(Aside::Until(away)), Admission::Closed(until)) => away.max(until),
                (Err(Aside::Until(until)), _) | (Ok(()), Admission::Closed(until)) => until,
                // It was let through a moment too late for this message.
                (Ok(()), _) => now,
            };
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        match (soonest, unfit) {
            (Some(until), _) => RouteError::AllFailing {
                retry_after: until.saturating_duration_since(now),
            },
            (None, _) if tried => RouteError::AllTried,
            (None, Some((locator, unfit))) => RouteError::Unfit {
                locator: locator.clone(),
                unfit,
            },
            (None, None) => RouteError::Nobody,
        }
    }
}

impl<P> Entry<P> {
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
fn sampled<P>(
    ways: &[Entry<P>],
    wanted: usize,
    rng: &mut Rng,
    will_do: impl Fn(&Entry<P>, &mut Rng) -> bool,
    cost: impl Fn(&Entry<P>) -> u64,
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
            if at != first && will_do(&ways[at], rng) {
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
        if will_do(&ways[at], rng) {
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
    /// Every way that would do has been tried for this message.
    #[error("every peer that offers the service has been tried")]
    AllTried,
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
