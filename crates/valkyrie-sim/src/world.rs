//! What an application on both sides needs of the sessions below it and of time.

use std::time::{Duration, Instant};

use valkyrie_proto::{Event, Session, Side};

use crate::{Pair, Roaming};

/// Two sessions and what lies between them.
pub trait World {
    /// The time.
    fn now(&self) -> Instant;
    /// The session of one side, to be commanded.
    fn session(&mut self, side: Side) -> &mut Session;
    /// The next thing that a session has said.
    fn event(&mut self, side: Side) -> Option<Event>;
    /// One round of what endpoints do.
    fn step(&mut self) -> bool;
    /// Lets time pass.
    fn run_for(&mut self, time: Duration);
    /// From now on nothing goes wrong any more.
    fn calm(&mut self);
    /// Has the two sessions compare what each says of the other.
    ///
    /// # Panics
    /// When they differ, or anything is still running.
    fn compare_books(&self);
}

impl World for Pair {
    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn session(&mut self, side: Side) -> &mut Session {
        Self::session(self, side)
    }

    fn event(&mut self, side: Side) -> Option<Event> {
        self.node(side).events.pop_front()
    }

    fn step(&mut self) -> bool {
        Self::step(self)
    }

    fn run_for(&mut self, time: Duration) {
        Self::run_for(self, time);
    }

    fn calm(&mut self) {}

    fn compare_books(&self) {
        Self::compare_books(self);
    }
}

impl World for Roaming {
    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn session(&mut self, side: Side) -> &mut Session {
        Self::session(self, side)
    }

    fn event(&mut self, side: Side) -> Option<Event> {
        Self::event(self, side)
    }

    fn step(&mut self) -> bool {
        Self::step(self)
    }

    fn run_for(&mut self, time: Duration) {
        Self::run_for(self, time);
    }

    fn calm(&mut self) {
        Self::calm(self);
    }

    fn compare_books(&self) {
        Self::compare_books(self);
    }
}
