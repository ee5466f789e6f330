//! A chain that a flood does not fill: what one peer brings about too often is counted, and the count is recorded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::chain::{AuditChain, AuditHead};
use super::event::{AuditEvent, Outcome, Source};
use crate::time::UnixTime;

/// How much is recorded of what peers can bring about as often as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// Lines about one peer within [`window`](Self::window); the rest is counted.
    pub per_source: u32,
    /// Lines about all peers together within the window: so many about refusals, and so many about who was let in.
    pub in_all: u32,
    /// Peers that are counted each by itself; those beyond share one count. About 200 bytes each.
    pub sources: usize,
    /// After this time counts are recorded and begin anew.
    pub window: Duration,
}

impl Default for AuditLimits {
    /// Twenty lines a minute about a peer, 300 about all: a flood that goes on for a day writes some 430 MB.
    fn default() -> Self {
        Self {
            per_source: 20,
            in_all: 300,
            sources: 1024,
            window: Duration::from_secs(60),
        }
    }
}

/// What a log has done with what it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditStats {
    /// Lines that were made.
    pub lines: u64,
    /// Events that are in a count instead of a line of their own.
    pub summed_up: u64,
    /// Lines that were made and could not be written, as the writer said.
    pub dropped: u64,
}

/// Makes lines of events and holds back floods.
///
/// Lines are pushed to a `Vec` and have to be written in that order. Where they cannot be written in time the owner drops
/// *events*, before it hands them in, or calls [`dropped`](Self::dropped): lines that were made cannot be left out without
/// breaking the chain.
#[derive(Debug)]
pub struct AuditLog {
    chain: AuditChain,
    limits: AuditLimits,
    window_began: Option<Instant>,
    let_in: Ledger,
    refused: Ledger,
    stats: AuditStats,
}

/// What was recorded in this window, and what was not. One for who was let in and one for refusals: neither can take
/// room from the other.
#[derive(Debug, Default)]
struct Ledger {
    recorded: u32,
    counts: HashMap<Box<str>, Count>,
    /// Of peers for which there is no room.
    others: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    recorded: u32,
    held_back: u64,
}

impl AuditLog {
    /// Goes on with a chain, see [`AuditChain::begin`] and [`AuditChain::resume`].
    pub fn new(chain: AuditChain, limits: AuditLimits) -> Self {
        Self {
            chain,
            limits,
            window_began: None,
            let_in: Ledger::default(),
            refused: Ledger::default(),
            stats: AuditStats::default(),
        }
    }

    /// Takes an event: makes a line of it, or counts it. `time` and `now` are the same moment by two clocks.
    pub fn record(&mut self, event: &AuditEvent<'_>, time: UnixTime, now: Instant, lines: &mut Vec<String>) {
        self.turn(time, now, lines);
        let limits = self.limits;
        if let Some(Source { outcome, peer }) = event.source()
            && !self.ledger(outcome).may_record(peer, &limits)
        {
            self.stats.summed_up = self.stats.summed_up.saturating_add(1);
            return;
        }
        lines.push(self.chain.append(event, time));
        self.stats.lines = self.stats.lines.saturating_add(1);
    }

    /// Records what was held back once its time has passed; to be called now and then, and before the end with a `now`
    /// that is a window ahead.
    pub fn turn(&mut self, time: UnixTime, now: Instant, lines: &mut Vec<String>) {
        let began = *self.window_began.get_or_insert(now);
        if now.saturating_duration_since(began) < self.limits.window {
            return;
        }
        self.window_began = Some(now);
        for outcome in [Outcome::LetIn, Outcome::Refused] {
            for (peer, count) in self.ledger(outcome).close() {
                lines.push(self.chain.line("summed_up", time, |line| {
                    line.text("about", &peer);
                    line.text("outcome", outcome.name());
                    line.number("count", count);
                }));
                self.stats.lines = self.stats.lines.saturating_add(1);
            }
        }
    }

    /// Records that `count` events never came to be lines, because the writer did not keep up.
    pub fn dropped(&mut self, count: u64, time: UnixTime, lines: &mut Vec<String>) {
        self.stats.dropped = self.stats.dropped.saturating_add(count);
        lines.push(
            self.chain
                .line("dropped", time, |line| line.number("count", count)),
        );
        self.stats.lines = self.stats.lines.saturating_add(1);
    }

    /// The log goes on in another file, which begins with this line.
    pub fn go_on(&mut self, time: UnixTime, lines: &mut Vec<String>) {
        lines.push(self.chain.go_on(time));
        self.stats.lines = self.stats.lines.saturating_add(1);
    }

    /// Records that the log once went on to `kept`, see [`AuditChain::end_missing`].
    pub fn end_missing(&mut self, kept: AuditHead, time: UnixTime, lines: &mut Vec<String>) {
        lines.push(self.chain.end_missing(kept, time));
        self.stats.lines = self.stats.lines.saturating_add(1);
    }

    /// Where the chain is.
    pub const fn head(&self) -> AuditHead {
        self.chain.head()
    }

    /// What the log has done so far.
    pub const fn stats(&self) -> AuditStats {
        self.stats
    }

    fn ledger(&mut self, outcome: Outcome) -> &mut Ledger {
        match outcome {
            Outcome::LetIn => &mut self.let_in,
            Outcome::Refused => &mut self.refused,
        }
    }
}

impl Ledger {
    /// Whether there is a line for another event of this peer; counts it where there is none.
    fn may_record(&mut self, peer: Box<str>, limits: &AuditLimits) -> bool {
        let room = self.counts.len() < limits.sources || self.counts.contains_key(&peer);
        let count = match room {
            true => self.counts.entry(peer).or_default(),
            false => &mut self.others,
        };
        let may = count.recorded < limits.per_source && self.recorded < limits.in_all;
        match may {
            true => {
                count.recorded += 1;
                self.recorded += 1;
            }
            false => count.held_back = count.held_back.saturating_add(1),
        }
        may
    }

    /// Ends the window: whose events were held back, and how many.
    fn close(&mut self) -> Vec<(Box<str>, u64)> {
        let ended = std::mem::take(self);
        let mut held_back: Vec<(Box<str>, u64)> = ended
            .counts
            .into_iter()
            .map(|(peer, count)| (peer, count.held_back))
            .collect();
        held_back.sort();
        held_back.push(("others".into(), ended.others.held_back));
        held_back.retain(|(_, count)| *count > 0);
        held_back
    }
}
