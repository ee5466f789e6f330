//! How the data class yields when delay grows.
//!
//! A sender-side limit per round trip, in the spirit of LEDBAT (RFC 6817): while the path shows
//! little more delay than its least, data is not limited at all; past the target the limit is half
//! of what the last round carried, and grows again once the queue has drained. The measure is the
//! session's own PING, which overtakes everything of ours and so sees only the queues below us.
//!
//! What a round may carry is let go in steps, and not at its beginning: all at once it would make a
//! queue for those beside it, who would have losses that it does not, and yield to it.

use std::time::{Duration, Instant};

/// The limit on the data class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DataYield {
    /// The limited round; `None` while there is no need.
    round: Option<Round>,
    /// Bytes of this round so far.
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    /// Bytes that it may carry.
    limit: u64,
    /// Bytes of them that have been let go.
    released: u64,
    begun: Instant,
}

impl DataYield {
    /// Whether the class may send, by the time of the last [`DataYield::release`].
    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        self.round.is_none_or(|round| self.sent < round.released)
    }

    /// Lets go what may go by now.
    #[inline]
    pub(crate) fn release(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            round.release(now);
        }
    }

    /// When more is let go for a class that may not send; `None` when the next round decides.
    pub(crate) fn release_at(&self) -> Option<Instant> {
        let round = self
            .round
            .filter(|round| !self.may_send() && self.sent < round.limit)?;
        // The step with which more than what was sent has been let go.
        let step = self.sent * u64::from(STEPS) / round.limit;
        Some(round.begun + STEP * step as u32)
    }

    /// Counts what was sent.
    #[inline]
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Ends a round with its measured queueing delay, and begins the next.
    pub(crate) fn on_round(&mut self, now: Instant, queueing: Duration, target: Duration) {
        let sent = core::mem::take(&mut self.sent);
        let limit = match self.round.map(|round| round.limit) {
            _ if queueing > target => Some((sent / 2).max(ROUND_BYTES_MIN)),
            Some(limit) if queueing > target / 2 => Some(limit),
            // A round that did not use its limit shows that the limit is no longer what holds it.
            Some(limit) if sent < limit / 2 => None,
            Some(limit) => Some(limit + limit / 8 + ROUND_BYTES_MIN),
            None => None,
        };
        self.round = limit.map(|limit| Round {
            limit,
            released: 0,
            begun: now,
        });
        self.release(now);
    }
}

impl Round {
    fn release(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun).as_nanos() / STEP.as_nanos();
        let steps = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .min(u64::from(STEPS) - 1)
            + 1;
        self.released = (self.limit * steps).div_ceil(u64::from(STEPS));
    }
}

/// However long the queue, a round carries this much, so that data is never starved.
const ROUND_BYTES_MIN: u64 = 32 * 1024;

/// Steps of a round, and the time of one: together as long as a round is at least. Shorter ones would ask for finer timers than there are.
//= protocol/session.md#windows
const STEPS: u32 = 20;
const STEP: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(25);

    #[test]
    fn a_limited_round_is_let_go_in_even_steps_and_whole() {
        let begun = Instant::now();
        let mut data = DataYield::default();
        data.on_sent(2_000_001);
        data.on_round(begun, TARGET * 2, TARGET);
        let mut sent = 0;
        let mut now = begun;
        let mut steps = 0;
        while let Some(next) = {
            while data.may_send() {
                data.on_sent(1000);
                sent += 1000;
            }
            data.release_at()
        } {
            assert!(next > now, "each is later than the one before");
            data.release(next - Duration::from_nanos(1));
            assert!(!data.may_send(), "not before its time");
            now = next;
            data.release(now);
            assert!(data.may_send(), "at its time");
            steps += 1;
        }
        assert_eq!((sent, steps), (1_000_000, STEPS - 1));
        assert!(now - begun < STEP * STEPS);
    }

    #[test]
    fn what_was_not_sent_in_its_step_goes_later() {
        let begun = Instant::now();
        let mut data = DataYield::default();
        data.on_round(begun, TARGET * 2, TARGET);
        data.release(begun + STEP * (STEPS - 1));
        let mut sent = 0;
        while data.may_send() {
            data.on_sent(1);
            sent += 1;
        }
        assert_eq!(sent, ROUND_BYTES_MIN);
        assert_eq!(data.release_at(), None, "the next round decides");
    }
}
