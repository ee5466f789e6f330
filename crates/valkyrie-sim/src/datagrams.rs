//! A path for whole packets that really loses, repeats and reorders them.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Rng;

/// What lies between two ends that exchange packets.
#[derive(Clone, Copy, Debug)]
pub struct DatagramPath {
    /// How long a packet travels at least.
    pub delay: Duration,
    /// How much longer it may take; packets whose times cross are reordered.
    pub jitter: Duration,
    /// How many in a million never arrive.
    pub loss_per_million: u32,
    /// How many in a million arrive twice.
    pub repeat_per_million: u32,
    /// Packets that may be on their way; further ones are lost.
    pub in_flight_max: usize,
}

/// One direction for packets. Nothing is promised: loss, order and repetition are the reader's.
#[derive(Debug)]
pub struct Datagrams {
    path: DatagramPath,
    rng: Rng,
    travelling: BinaryHeap<std::cmp::Reverse<(Instant, u64, Bytes)>>,
    sent: u64,
    lost: u64,
}

impl Datagrams {
    /// An empty path.
    pub const fn new(path: DatagramPath, seed: u64) -> Self {
        Self {
            path,
            rng: Rng::new(seed),
            travelling: BinaryHeap::new(),
            sent: 0,
            lost: 0,
        }
    }

    /// Sends a packet, which may be the last that is heard of it.
    pub fn send(&mut self, now: Instant, packet: Bytes) {
        self.sent += 1;
        if self.rng.chance(self.path.loss_per_million) || self.travelling.len() >= self.path.in_flight_max {
            self.lost += 1;
            return;
        }
        let copies = 1 + u32::from(self.rng.chance(self.path.repeat_per_million));
        for _ in 0..copies {
            let jitter = Duration::from_nanos(self.rng.below(self.path.jitter.as_nanos() as u64 + 1));
            let arrival = now + self.path.delay + jitter;
            self.travelling
                .push(std::cmp::Reverse((arrival, self.sent, packet.clone())));
        }
    }

    /// When the next packet arrives.
    pub fn arrival_at(&self) -> Option<Instant> {
        self.travelling.peek().map(|entry| entry.0.0)
    }

    /// The next packet that has arrived.
    pub fn recv(&mut self, now: Instant) -> Option<Bytes> {
        if self.arrival_at()? > now {
            return None;
        }
        self.travelling.pop().map(|entry| entry.0.2)
    }

    /// Packets that were lost.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}
