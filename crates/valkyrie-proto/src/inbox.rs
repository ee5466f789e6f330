//! Messages that have arrived on a stream and wait for their reader.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Message;
use crate::run::pop_message;

/// Whole messages, oldest first. Runs of small ones are kept as the bytes they arrived in and
/// taken apart when they are popped, which is where the reader runs.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: VecDeque<Arrived>,
    messages: usize,
}

#[derive(Debug)]
enum Arrived {
    Message(Message),
    /// Frames of one stream, checked.
    Run(Bytes),
}

impl Inbox {
    /// An empty one, which owns no memory.
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            messages: 0,
        }
    }

    /// Takes the oldest message.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Message> {
        let message = match self.queue.front_mut()? {
            Arrived::Run(run) => {
                let message = pop_message(run);
                if run.is_empty() || message.is_none() {
                    self.queue.pop_front();
                }
                message?
            }
            Arrived::Message(_) => match self.queue.pop_front()? {
                Arrived::Message(message) => message,
                Arrived::Run(_) => return None,
            },
        };
        self.messages -= 1;
        Some(message)
    }

    /// How many messages wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    #[inline]
    pub(crate) fn push(&mut self, message: Message) {
        self.messages += 1;
        self.queue.push_back(Arrived::Message(message));
    }

    #[inline]
    pub(crate) fn push_run(&mut self, run: Bytes, messages: usize) {
        self.messages += messages;
        self.queue.push_back(Arrived::Run(run));
    }

    /// Moves everything to the end of `other`, in constant time when that is empty.
    pub(crate) fn move_into(&mut self, other: &mut Self) {
        if other.is_empty() {
            core::mem::swap(self, other);
            // What `other` brought is empty but may own memory worth keeping.
            self.queue.clear();
        } else {
            other.queue.append(&mut self.queue);
            other.messages += core::mem::take(&mut self.messages);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.messages = 0;
    }

    /// Bytes that the messages are counted with.
    pub(crate) fn cost(&self) -> u64 {
        let cost = |arrived: &Arrived| match arrived {
            Arrived::Message(message) => crate::stream::message_cost(message),
            Arrived::Run(run) => run.len() as u64,
        };
        self.queue.iter().map(cost).sum()
    }

    /// The newest message's cost.
    pub(crate) fn last_cost(&self) -> u64 {
        match self.queue.back() {
            Some(Arrived::Message(message)) => crate::stream::message_cost(message),
            Some(Arrived::Run(run)) => run.len() as u64,
            None => 0,
        }
    }
}
