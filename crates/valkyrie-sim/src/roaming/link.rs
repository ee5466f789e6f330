//! A link of one lane or five that breaks at some time.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use valkyrie_proto::{Batch, Event, Resume, Session};

use crate::{Path, Pipe, Rng};

/// Lanes of a link that has one for each class.
pub(super) const LANES_MAX: usize = 5;

/// Pipes in both directions, and who still holds an end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) lanes: u8,
    /// `pipes[side][lane]` leads away from a side.
    pipes: [Vec<Pipe>; 2],
    pub(super) breaks_at: Option<Instant>,
    pub(super) broken: bool,
    /// When each end finds out; `None` before the break, after it was noticed, and where it never is.
    pub(super) notice: [Option<Instant>; 2],
    pub(super) held: [bool; 2],
    /// At the acceptor: what reads the link until it is known which session it is for.
    pub(super) stray: Option<Stray>,
}

impl Link {
    pub(super) fn new(id: u64, now: Instant, rng: &mut Rng, stray: Option<Stray>) -> Self {
        let lanes = if rng.below(2) == 0 { 1 } else { LANES_MAX as u8 };
        let path = Path {
            bytes_per_second: *rng.pick(&[20_000_000, 200_000_000, 2_000_000_000]),
            delay: Duration::from_micros(rng.below(150)),
            loss_per_million: 2000,
            reorder_per_million: 10_000,
            retransmit_after: Duration::from_micros(500),
            ..Path::new(1, Duration::ZERO)
        };
        let pipes = [0; 2].map(|_| (0..lanes).map(|_| Pipe::new(path, now, rng.any())).collect());
        // Often during the resume itself, mostly some time after it.
        let most = *rng.pick(&[60, 600, 600, 600, 4000, 4000, 4000, 4000, 30_000]);
        Self {
            id,
            lanes,
            pipes,
            breaks_at: Some(now + Duration::from_micros(rng.below(most))),
            broken: false,
            notice: [None; 2],
            held: [true; 2],
            stray,
        }
    }

    /// Breaks it: of what travels some arrives and the rest is lost, on each lane for itself.
    pub(super) fn snap(&mut self, now: Instant, rng: &mut Rng) {
        if self.broken {
            return;
        }
        self.broken = true;
        self.breaks_at = None;
        for pipe in self.pipes.iter_mut().flatten() {
            let travelling = pipe.in_flight() as u64;
            pipe.lose(rng.below(travelling + 1) as usize);
        }
        let at_once = rng.below(4) == 0;
        for (side, notice) in self.notice.iter_mut().enumerate() {
            let after = if at_once { 0 } else { rng.below(800) };
            // A dialler that never notices has its keepalive; an acceptor has the dialler.
            let never = !at_once && rng.below(if side == 0 { 50 } else { 5 }) == 0 && self.stray.is_none();
            *notice = (!never).then(|| now + Duration::from_micros(after));
        }
    }

    pub(super) fn read(&mut self, now: Instant, side: usize, lane: u8, into: &mut BytesMut) -> usize {
        let pipe = self.pipes[1 - side].get_mut(usize::from(lane));
        pipe.map_or(0, |pipe| pipe.read(now, into))
    }

    /// Writes what there is room for; into the void once it is broken.
    pub(super) fn write(&mut self, now: Instant, side: usize, lane: u8, batch: &mut Batch) -> usize {
        if self.broken {
            batch.advance(batch.remaining());
            return 0;
        }
        let pipe = self.pipes[side].get_mut(usize::from(lane));
        pipe.map_or(0, |pipe| pipe.write(now, batch))
    }

    /// A broken link that nobody has noticed takes some more, and then no more.
    pub(super) fn room(&mut self, now: Instant, side: usize, lane: u8) -> usize {
        let pipe = self.pipes[side].get_mut(usize::from(lane));
        pipe.filter(|_| !self.broken).map_or(0, |pipe| pipe.room(now))
    }

    /// When something happens here next.
    pub(super) fn next(&self, now: Instant, waiting: bool) -> Option<Instant> {
        let arrivals = self.pipes.iter().flatten().filter_map(Pipe::arrival_at);
        let room = self.pipes.iter().flatten().filter_map(Pipe::room_at);
        let room = room.filter(|_| waiting);
        let notices = self.notice.into_iter().flatten();
        let all = arrivals.chain(room).chain(notices).chain(self.breaks_at);
        all.filter(|&at| at > now).min()
    }
}

/// A session that reads the first frame of a link.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) session: Session,
    pub(super) input: BytesMut,
}

impl Stray {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            input: BytesMut::new(),
        }
    }

    /// RESUME, once it has wholly arrived.
    pub(super) fn hear(&mut self, now: Instant, input: BytesMut) -> Option<Resume> {
        self.input.unsplit(input);
        let heard = self.session.handle_input(now, &mut self.input);
        heard.expect("it begins with RESUME");
        match self.session.poll_event() {
            Some(Event::ResumeAsked(resume)) => Some(*resume),
            _ => None,
        }
    }
}
