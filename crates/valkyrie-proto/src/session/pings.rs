//! PINGs under way, and what each is for.

use std::time::Instant;

/// PINGs that wait for their PONG.
#[derive(Debug)]
pub(super) struct Pings {
    pub(super) waiting: Vec<Waiting>,
    /// The number of the next PING.
    pub(super) next: u64,
    /// When the last probe of the round trip went out.
    pub(super) probed_at: Instant,
    /// Job or data bytes have gone out since, so that a probe would tell something.
    pub(super) traffic: bool,
}

/// A PING without its PONG.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) sent_at: Instant,
    pub(super) purpose: Purpose,
}

/// What a PING is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Keepalive,
    Probe,
    Drain,
    User(u64),
}

impl Pings {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: Vec::new(),
            next: 0,
            probed_at: now,
            traffic: false,
        }
    }

    /// Whether a probe is under way.
    pub(super) fn probes(&self) -> bool {
        self.waiting.iter().any(|ping| ping.purpose == Purpose::Probe)
    }
}
