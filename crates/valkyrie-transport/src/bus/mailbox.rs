//! The bounded buffer between a bus and one subscriber, for those who implement a bus.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::BusMessage;

/// What waits for one subscriber: at most so many messages and bytes. When one more comes the oldest gives way and is
/// counted, so that a slow subscriber costs itself and nobody else.
///
/// An empty mailbox holds no storage. It works under any executor.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    bounds: MailboxBounds,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<BusMessage>,
    bytes: usize,
    missed: u64,
    /// Why nothing more will come, once that is so.
    ended: Option<(io::ErrorKind, String)>,
    waker: Option<Waker>,
}

/// How much a [`Mailbox`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxBounds {
    /// How many messages, at least 1.
    pub messages: usize,
    /// How many bytes: topics, payloads and what keeping a message costs.
    pub bytes: usize,
}

impl Default for MailboxBounds {
    fn default() -> Self {
        Self {
            messages: MAILBOX_MESSAGES_MAX,
            bytes: MAILBOX_BYTES_MAX,
        }
    }
}

impl MailboxBounds {
    /// With at most `messages` messages; zero is read as one.
    #[must_use]
    pub fn with_messages(mut self, messages: usize) -> Self {
        self.messages = messages.max(1);
        self
    }

    /// With at most `bytes` bytes. A message that is larger by itself is missed.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

impl Mailbox {
    /// An empty mailbox.
    #[must_use]
    pub fn new(bounds: MailboxBounds) -> Self {
        Self {
            state: Mutex::default(),
            bounds,
        }
    }

    /// Puts messages in, in order; the oldest make room.
    pub fn put(&self, messages: impl IntoIterator<Item = BusMessage>) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        for message in messages {
            let cost = cost(&message);
            if cost > self.bounds.bytes {
                state.missed += 1;
                continue;
            }
            while state.waiting.len() >= self.bounds.messages || state.bytes + cost > self.bounds.bytes {
                // Both bounds hold for this message alone, so the loop ends before the mailbox is empty.
                let Some(oldest) = state.waiting.pop_front() else {
                    break;
                };
                state.bytes -= self::cost(&oldest);
                state.missed += 1;
            }
            state.bytes += cost;
            state.waiting.push_back(message);
        }
        wake(state);
    }

    /// Counts messages that never came this far.
    pub fn miss(&self, count: u64) {
        let mut state = self.lock();
        state.missed = state.missed.saturating_add(count);
    }

    /// Nothing more will come. What waits is still read, then the error is, every time. Only the first end counts.
    pub fn end(&self, kind: io::ErrorKind, reason: impl Into<String>) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some((kind, reason.into()));
        }
        wake(state);
    }

    /// How many messages this subscriber has missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// Takes messages out, as [`Subscription::poll_batch`](super::Subscription::poll_batch) does.
    ///
    /// # Errors
    ///
    /// What [`Mailbox::end`] was given, once nothing waits any more.
    pub fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        into: &mut Vec<BusMessage>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let count = state.waiting.len().min(max.max(1));
        if count > 0 {
            let start = into.len();
            into.extend(state.waiting.drain(..count));
            state.bytes -= into.iter().skip(start).map(cost).sum::<usize>();
            if state.waiting.is_empty() {
                state.waiting = VecDeque::new();
            }
            return Poll::Ready(Ok(count));
        }
        if let Some((kind, reason)) = &state.ended {
            return Poll::Ready(Err(io::Error::new(*kind, reason.clone())));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can leave the state half changed: a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes after the lock is let go, because a waker may run anything, this mailbox included.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = match state.waiting.is_empty() && state.ended.is_none() {
        true => None,
        false => state.waker.take(),
    };
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn cost(message: &BusMessage) -> usize {
    size_of::<BusMessage>() + message.topic.len() + message.payload.len()
}

/// How many messages wait for one subscriber unless told otherwise: some tenths of a second of the fastest publisher.
pub const MAILBOX_MESSAGES_MAX: usize = 65_536;

/// How many bytes wait for one subscriber unless told otherwise: two of the largest messages, or all the messages that
/// [`MAILBOX_MESSAGES_MAX`] allows at 256 bytes each, with what keeping them costs.
pub const MAILBOX_BYTES_MAX: usize = 24 * 1024 * 1024;

const _: () = assert!(MAILBOX_BYTES_MAX > 2 * super::MESSAGE_BYTES_MAX);
