//! Two sessions, the pipes between them, and a clock: what an endpoint does, without I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use valkyrie_proto::{Batch, Config, Event, Session, Side};

use crate::{Clock, Path, Pipe};

/// A session with what an endpoint keeps beside it.
#[derive(Debug)]
pub struct Node {
    /// The session. A test gives it commands; [`Pair`] moves its bytes.
    pub session: Session,
    /// What the session said, oldest first.
    pub events: VecDeque<Event>,
    /// How many bytes to ask the session for at a time.
    pub write_max: usize,
    input: BytesMut,
    output: Batch,
}

impl Node {
    fn new(side: Side, config: Arc<Config>, now: Instant) -> Self {
        Self {
            session: Session::new(side, config, now),
            events: VecDeque::new(),
            write_max: 16 * 1024,
            input: BytesMut::new(),
            output: Batch::default(),
        }
    }

    fn check(&mut self) {
        if let Err(broken) = self.session.invariants() {
            panic!("{:?}: {broken}", self.session.side());
        }
        self.hear();
    }

    /// Takes what the session says, commands of the test included.
    fn hear(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }
}

/// A dialling and an accepting session and the link between them.
#[derive(Debug)]
pub struct Pair {
    clock: Clock,
    nodes: [Node; 2],
    /// `pipes[n]` leads away from `nodes[n]`.
    pipes: [Pipe; 2],
    cut: bool,
}

impl Pair {
    /// Two sessions that have not said a word.
    pub fn new(dialer: Config, acceptor: Config, path: Path, seed: u64) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        Self {
            clock,
            nodes: [
                Node::new(Side::Dialer, Arc::new(dialer), now),
                Node::new(Side::Acceptor, Arc::new(acceptor), now),
            ],
            pipes: [
                Pipe::new(path, now, seed),
                Pipe::new(path, now, seed ^ 0x5DEE_CE66),
            ],
            cut: false,
        }
    }

    /// Two sessions with the same configuration that have opened to each other.
    ///
    /// # Panics
    /// When they do not open.
    pub fn open(config: Config, path: Path, seed: u64) -> Self {
        let mut pair = Self::new(config.clone(), config, path, seed);
        pair.run_until_quiet();
        assert!(
            pair.nodes.iter().all(|node| node.session.is_open()),
            "the sessions open"
        );
        for node in &mut pair.nodes {
            node.events.clear();
        }
        pair
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.clock.now()
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// One side.
    pub fn node(&mut self, side: Side) -> &mut Node {
        &mut self.nodes[place(side)]
    }

    /// The session of one side, to be commanded.
    pub fn session(&mut self, side: Side) -> &mut Session {
        &mut self.nodes[place(side)].session
    }

    /// The pipe that leads away from a side.
    pub fn pipe(&mut self, from: Side) -> &mut Pipe {
        &mut self.pipes[place(from)]
    }

    /// Has the two sessions compare what each says of the other.
    ///
    /// # Panics
    /// When they differ, or anything is still running. They must be quiet.
    pub fn compare_books(&self) {
        let [dialer, acceptor] = &self.nodes;
        for (one, other) in [(dialer, acceptor), (acceptor, dialer)] {
            if let Err(difference) = one.session.reconcile(&other.session) {
                panic!("{:?}: {difference}", one.session.side());
            }
        }
    }

    /// From now on nothing arrives any more, and nobody is told.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Does everything that can be done without time passing.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// One round of what an endpoint does on each side; whether anything moved.
    pub fn step(&mut self) -> bool {
        let now = self.now();
        let mut moved = false;
        for place in 0..2 {
            let node = &mut self.nodes[place];
            node.hear();
            if node.session.poll_timeout().is_some_and(|at| at <= now) {
                node.session.handle_timeout(now);
                node.check();
            }
            if !self.cut && self.pipes[1 - place].read(now, &mut node.input) > 0 {
                moved = true;
                // An error closes the session, which the test sees from its events.
                let _ = node.session.handle_input(now, &mut node.input);
                node.check();
            }
            moved |= self.transmit(place);
        }
        moved
    }

    fn transmit(&mut self, place: usize) -> bool {
        let now = self.now();
        let (node, pipe) = (&mut self.nodes[place], &mut self.pipes[place]);
        let mut moved = false;
        while pipe.room(now) > 0 {
            if !node.output.has_remaining() {
                // An endpoint asks first, so that a session that forgets to want is found out.
                if !node.session.wants_transmit() {
                    break;
                }
                let more = node.session.poll_transmit(now, &mut node.output, node.write_max);
                node.check();
                if !more {
                    break;
                }
            }
            moved |= pipe.write(now, &mut node.output) > 0;
        }
        moved
    }

    /// When something happens next: bytes arrive, the wire gets free, or a session's time comes.
    /// Without `timers`, only bytes count.
    fn next(&mut self, timers: bool) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut consider = |at: Option<Instant>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        for place in 0..2 {
            if !self.cut {
                consider(self.pipes[place].arrival_at());
            }
            let node = &self.nodes[place];
            if node.output.has_remaining() || node.session.wants_transmit() {
                consider(self.pipes[place].room_at());
            }
            if timers {
                consider(node.session.poll_timeout());
            }
        }
        next
    }

    /// Runs until `end`; the clock stands there afterwards.
    pub fn run_until(&mut self, end: Instant) {
        loop {
            self.settle();
            match self.next(true) {
                Some(next) if next <= end => {
                    // A timer that is due and does nothing must not stop the clock.
                    let next = next.max(self.now() + Duration::from_nanos(1));
                    self.clock.advance_to(next);
                }
                _ => break,
            }
        }
        self.clock.advance_to(end);
        self.settle();
    }

    /// Runs for a while.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        self.run_until(end);
    }

    /// Runs until no byte travels and nobody has one to send. Timers that are due by then fire;
    /// later ones are not waited for.
    pub fn run_until_quiet(&mut self) {
        loop {
            self.settle();
            match self.next(false) {
                Some(next) => self.clock.advance_to(next),
                None => return,
            }
        }
    }

    /// Runs until `done` says so, or panics when `limit` has passed.
    ///
    /// # Panics
    /// When `limit` passes first.
    pub fn run_until_true(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now() + limit;
        loop {
            self.settle();
            if done(self) {
                return;
            }
            match self.next(true) {
                Some(next) if next <= end => {
                    let next = next.max(self.now() + Duration::from_nanos(1));
                    self.clock.advance_to(next);
                }
                _ => panic!("it did not happen within {limit:?}"),
            }
        }
    }
}

const fn place(side: Side) -> usize {
    match side {
        Side::Dialer => 0,
        Side::Acceptor => 1,
    }
}
