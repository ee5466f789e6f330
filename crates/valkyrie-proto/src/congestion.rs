//! How the data class yields when delay grows.
//!
//! A sender-side limit per round trip, in the spirit of LEDBAT (RFC 6817): while the path shows
//! little more delay than its least, data is not limited at all; past the target the limit is half
//! of what the last round carried, and grows again once the queue has drained. The measure is the
//! session's own PING, which overtakes everything of ours and so sees only the queues below us.

use std::time::Duration;

/// The limit on the data class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DataYield {
    /// Bytes that a round may carry; `None` while there is no need.
    limit: Option<u64>,
    /// Bytes of this round so far.
    sent: u64,
}

impl DataYield {
    /// Whether the class may send now.
    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        self.limit.is_none_or(|limit| self.sent < limit)
    }

    /// Counts what was sent.
    #[inline]
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Ends a round with its measured queueing delay.
    pub(crate) fn on_round(&mut self, queueing: Duration, target: Duration) {
        let sent = core::mem::take(&mut self.sent);
        self.limit = match self.limit {
            _ if queueing > target => Some((sent / 2).max(ROUND_BYTES_MIN)),
            Some(limit) if queueing > target / 2 => Some(limit),
            // A round that did not use its limit shows that the limit is no longer what holds it.
            Some(limit) if sent < limit / 2 => None,
            Some(limit) => Some(limit + limit / 8 + ROUND_BYTES_MIN),
            None => None,
        };
    }
}

/// However long the queue, a round carries this much, so that data is never starved.
const ROUND_BYTES_MIN: u64 = 32 * 1024;
