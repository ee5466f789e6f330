//! What the two halves of a pipelined client tell each other: one sends as much as may be in flight, the other takes answers,
//! which come in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::Notify;

use crate::load::{Load, Samples, sample};

#[derive(Default)]
pub(super) struct Flight {
    sent: Cell<u64>,
    received: Cell<u64>,
    /// When a batch was written, and how many messages had been sent with it.
    batches: RefCell<VecDeque<(Instant, u64)>>,
    closed: Cell<bool>,
    room: Notify,
    more: Notify,
}

impl Flight {
    /// Waits until something may be sent, and says how much.
    pub(super) async fn room(&self, load: &Load) -> u64 {
        loop {
            let room = self.received.get() + load.in_flight as u64 - self.sent.get();
            if room > 0 {
                return room;
            }
            self.room.notified().await;
        }
    }

    /// A batch is about to be sent.
    pub(super) fn sends(&self, batch: u64) {
        self.sent.set(self.sent.get() + batch);
        self.batches
            .borrow_mut()
            .push_back((Instant::now(), self.sent.get()));
        self.more.notify_one();
    }

    /// Nothing more will be sent.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.more.notify_one();
    }

    /// Waits until an answer is owed; false when none is and none will be.
    pub(super) async fn owes_more(&self) -> bool {
        while self.received.get() == self.sent.get() {
            if self.closed.get() {
                return false;
            }
            self.more.notified().await;
        }
        true
    }

    /// An answer came.
    pub(super) fn came(&self, load: &Load, samples: &mut Samples) {
        let received = self.received.get() + 1;
        self.received.set(received);
        let mut batches = self.batches.borrow_mut();
        let Some((began, last)) = batches.front().copied() else {
            return;
        };
        if received.is_multiple_of(load.calls_per_sample() as u64) {
            samples.push(sample(began));
        }
        if received == last {
            batches.pop_front();
        }
    }

    /// Lets the sender go on, once all answers that are there have been taken.
    pub(super) fn make_room(&self) {
        self.room.notify_one();
    }

    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }
}
