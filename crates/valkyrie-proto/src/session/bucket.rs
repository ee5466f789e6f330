//! The rate of stream 0, which nothing else holds back.

use std::time::{Duration, Instant};

use crate::config::CriticalRate;

/// The token bucket of stream 0. It is full when it is first used.
#[derive(Debug, Default)]
pub(super) struct CriticalBucket {
    /// Tokens in bytes and when they were counted.
    tokens: Option<(u64, Instant)>,
    /// Set while the next message must wait.
    pub(super) blocked_until: Option<Instant>,
    /// The slot of stream 0 once it is in use.
    pub(super) stream: Option<u32>,
}

impl CriticalBucket {
    /// Stream 0 has something to send from this slot.
    pub(super) fn note(&mut self, index: u32) {
        self.stream = Some(index);
    }

    pub(super) fn take(&mut self, now: Instant, cost: u64, rate: CriticalRate) -> bool {
        let per_second = u64::from(rate.bytes_per_second).max(1);
        // A burst smaller than the message would hold it back forever.
        let burst = u64::from(rate.burst).max(cost);
        let (tokens, at) = self.tokens.get_or_insert((burst, now));
        fill(tokens, at, now, per_second, burst);
        if *tokens >= cost {
            *tokens -= cost;
            self.blocked_until = None;
            return true;
        }
        // From when the tokens were counted, so that it is the very moment at which there are enough: until then nothing is
        // wanted, and nothing goes.
        let missing = (cost - *tokens) * 1_000_000_000;
        self.blocked_until = Some(*at + Duration::from_nanos(missing.div_ceil(per_second)));
        false
    }

    /// The rate is another from now on. What has gathered so far has gathered at the former one, and no more of it is kept
    /// than the new burst.
    pub(super) fn change(&mut self, now: Instant, former: CriticalRate, rate: CriticalRate) {
        if let Some((tokens, at)) = &mut self.tokens {
            let per_second = u64::from(former.bytes_per_second).max(1);
            fill(tokens, at, now, per_second, u64::from(former.burst));
            *tokens = (*tokens).min(u64::from(rate.burst));
            *at = now;
        }
        // Whoever waits is looked at anew: it may have to wait for less long, or longer.
        self.blocked_until = None;
    }
}

/// Counts the tokens up to `now`.
fn fill(tokens: &mut u64, at: &mut Instant, now: Instant, per_second: u64, burst: u64) {
    let elapsed = now.saturating_duration_since(*at);
    let filled = (elapsed.as_nanos() * u128::from(per_second) / 1_000_000_000) as u64;
    if filled > 0 {
        *tokens = (*tokens + filled).min(burst);
        // The part of a token that is not full yet stays in the time that is counted next.
        *at += Duration::from_nanos((u128::from(filled) * 1_000_000_000 / u128::from(per_second)) as u64);
    }
}
