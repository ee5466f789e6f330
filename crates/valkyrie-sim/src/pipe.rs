//! An ordered byte stream in one direction, over packets that get lost and overtake each other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use crate::Rng;

/// What lies between two ends, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How fast bytes leave, per second.
    pub bytes_per_second: u64,
    /// How long a byte travels once it has left.
    pub delay: Duration,
    /// Bytes that may wait to leave. When they are there the writer is told that the wire is busy.
    pub buffer: usize,
    /// Bytes of one packet.
    pub packet: usize,
    /// How many packets in a million get lost, each time they are sent.
    pub loss_per_million: u32,
    /// How many packets in a million are overtaken by later ones.
    pub reorder_per_million: u32,
    /// After how long a lost packet is sent again.
    pub retransmit_after: Duration,
}

impl Path {
    /// A path so fast that only order matters: for tests about state, not time.
    pub const INSTANT: Self = Self {
        bytes_per_second: 1 << 40,
        delay: Duration::ZERO,
        buffer: 1 << 24,
        packet: 1 << 16,
        loss_per_million: 0,
        reorder_per_million: 0,
        retransmit_after: Duration::ZERO,
    };

    /// A path of this rate and one-way delay that loses nothing. Its buffer holds one frame of
    /// 16 KiB, as a socket with a low mark for unsent bytes does.
    pub const fn new(bytes_per_second: u64, delay: Duration) -> Self {
        Self {
            bytes_per_second,
            delay,
            buffer: 16 * 1024,
            packet: 1460,
            loss_per_million: 0,
            reorder_per_million: 0,
            retransmit_after: Duration::from_millis(200),
        }
    }
}

/// One direction of a link. Loss and reordering beneath never change the bytes or their order:
/// they are stalls, as they are for whoever reads from TCP.
#[derive(Debug)]
pub struct Pipe {
    path: Path,
    rng: Rng,
    /// When the last accepted byte will have left.
    free_at: Instant,
    /// Packets that have not left yet, by when they will have.
    leaving: VecDeque<(Instant, usize)>,
    waiting: usize,
    /// Packets on their way, in the order in which the reader gets them.
    travelling: VecDeque<(Instant, Bytes)>,
    last_arrival: Instant,
    carried: u64,
}

impl Pipe {
    /// An empty pipe.
    pub fn new(path: Path, now: Instant, seed: u64) -> Self {
        Self {
            path,
            rng: Rng::new(seed),
            free_at: now,
            leaving: VecDeque::new(),
            waiting: 0,
            travelling: VecDeque::new(),
            last_arrival: now,
            carried: 0,
        }
    }

    /// Changes the path for what is written from now on.
    pub fn set_path(&mut self, path: Path) {
        self.path = path;
    }

    /// Bytes that a write would take now.
    pub fn room(&mut self, now: Instant) -> usize {
        while self.leaving.front().is_some_and(|&(at, _)| at <= now) {
            if let Some((_, len)) = self.leaving.pop_front() {
                self.waiting -= len;
            }
        }
        self.path.buffer.saturating_sub(self.waiting)
    }

    /// When there will be more room; `None` when nothing waits.
    pub fn room_at(&self) -> Option<Instant> {
        self.leaving.front().map(|&(at, _)| at)
    }

    /// When the last byte taken so far leaves, or left.
    pub const fn free_at(&self) -> Instant {
        self.free_at
    }

    /// When the next bytes arrive; `None` when none travel.
    pub fn arrival_at(&self) -> Option<Instant> {
        self.travelling.front().map(|&(at, _)| at)
    }

    /// Bytes taken since the beginning.
    pub const fn carried(&self) -> u64 {
        self.carried
    }

    /// Bytes taken that have not arrived.
    pub fn in_flight(&self) -> usize {
        self.travelling.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Takes as many bytes as there is room for and says how many.
    pub fn write(&mut self, now: Instant, bytes: &mut impl Buf) -> usize {
        let mut taken = 0;
        let mut room = self.room(now);
        while room > 0 && bytes.has_remaining() {
            let len = self.path.packet.min(room).min(bytes.remaining());
            let packet = bytes.copy_to_bytes(len);
            room -= len;
            taken += len;
            self.send(now, packet);
        }
        self.carried += taken as u64;
        taken
    }

    fn send(&mut self, now: Instant, packet: Bytes) {
        let nanos = packet.len() as u128 * 1_000_000_000 / u128::from(self.path.bytes_per_second);
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanos as u64);
        self.leaving.push_back((self.free_at, packet.len()));
        self.waiting += packet.len();
        let mut arrival = self.free_at + self.path.delay;
        while self.rng.chance(self.path.loss_per_million) {
            arrival += self.path.retransmit_after;
        }
        if self.rng.chance(self.path.reorder_per_million) {
            arrival += self.path.delay / 4;
        }
        // What has been overtaken holds back what overtook it.
        self.last_arrival = self.last_arrival.max(arrival);
        self.travelling.push_back((self.last_arrival, packet));
    }

    /// Loses what travels, but for so many bytes at its front.
    pub fn lose(&mut self, mut keep: usize) {
        let mut kept = 0;
        for (_, packet) in &mut self.travelling {
            packet.truncate(keep);
            keep -= packet.len();
            kept += usize::from(!packet.is_empty());
        }
        self.travelling.truncate(kept);
    }

    /// Appends what has arrived and says how many bytes that was.
    pub fn read(&mut self, now: Instant, into: &mut BytesMut) -> usize {
        let mut read = 0;
        while self.travelling.front().is_some_and(|&(at, _)| at <= now) {
            if let Some((_, packet)) = self.travelling.pop_front() {
                read += packet.len();
                into.extend_from_slice(&packet);
            }
        }
        read
    }
}
