//! The two tables of exchanges: those begun here and those begun by the peer.
//!
//! A correlation id is `generation << 16 | slot`. The slot is below the limit that the answering
//! side announced, so that side keeps a plain array and never hashes what a peer chose; the
//! generation, never 0, is the asking side's own way to tell an old answer from a new one.

use std::time::Instant;

use valkyrie_frame::StreamId;

use crate::{CallError, ExchangeKey, Message};

/// How an exchange begun here ended.
pub(crate) type Outcome = Result<Message, CallError>;

/// An exchange begun here.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// 0 while the slot is free.
    pub(crate) correlation: u32,
    pub(crate) lane: StreamId,
    /// The request's place among all of its class, in the order they go out.
    pub(crate) sequence: u64,
    /// The peer still owes an answer.
    pub(crate) owed: bool,
    /// Somebody here will take the outcome.
    pub(crate) wanted: bool,
    /// The peer has been, or will be, told that nobody waits.
    pub(crate) cancel: bool,
    pub(crate) outcome: Option<Outcome>,
}

/// Exchanges begun here.
#[derive(Debug, Default)]
pub(crate) struct OutgoingTable {
    slots: Vec<Outgoing>,
    free: Vec<u16>,
    /// Generations survive in the slot's last correlation.
    generations: Vec<u16>,
    live: usize,
    /// The generation that slots made from now on begin above.
    floor: u16,
}

impl OutgoingTable {
    /// Takes a free slot below `max`.
    #[inline]
    pub(crate) fn begin(&mut self, lane: StreamId, sequence: u64, max: u16) -> Option<ExchangeKey> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < usize::from(max) => {
                self.slots.push(Outgoing::default());
                self.generations.push(self.floor);
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        let generation = &mut self.generations[usize::from(slot)];
        *generation = generation.checked_add(1).unwrap_or(1);
        let correlation = u32::from(*generation) << 16 | u32::from(slot);
        self.slots[usize::from(slot)] = Outgoing {
            correlation,
            lane,
            sequence,
            owed: true,
            wanted: true,
            cancel: false,
            outcome: None,
        };
        self.live += 1;
        Some(ExchangeKey(correlation))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, correlation: u32) -> Option<&mut Outgoing> {
        self.slots
            .get_mut((correlation & 0xFFFF) as usize)
            .filter(|slot| correlation != 0 && slot.correlation == correlation)
    }

    pub(crate) fn contains(&self, correlation: u32) -> bool {
        let slot = self.slots.get((correlation & 0xFFFF) as usize);
        slot.is_some_and(|slot| correlation != 0 && slot.correlation == correlation)
    }

    /// Frees the slot when the answer is in and nobody needs it any more. `true` when it did.
    #[inline]
    pub(crate) fn settle(&mut self, correlation: u32) -> bool {
        let Some(slot) = self.get_mut(correlation) else {
            return false;
        };
        if slot.owed || slot.wanted {
            return false;
        }
        slot.correlation = 0;
        slot.outcome = None;
        self.free.push((correlation & 0xFFFF) as u16);
        self.live -= 1;
        true
    }

    /// The highest generation in use anywhere.
    pub(crate) fn last_generation(&self) -> u16 {
        self.generations.iter().copied().max().unwrap_or(self.floor)
    }

    /// Lets an empty table go on above the generations of another.
    pub(crate) fn begin_above(&mut self, generation: u16) {
        self.floor = generation;
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether the peer owes any answer.
    pub(crate) fn is_owed(&self) -> bool {
        self.slots.iter().any(|slot| slot.correlation != 0 && slot.owed)
    }

    /// The correlations in use.
    pub(crate) fn correlations(&self) -> Vec<u32> {
        self.slots
            .iter()
            .map(|slot| slot.correlation)
            .filter(|&correlation| correlation != 0)
            .collect()
    }
}

/// Where an exchange begun by the peer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The slot is free.
    #[default]
    None,
    /// A handler owes the answer.
    Owed,
    /// The answer is queued and has not wholly gone out.
    Queued,
}

/// An exchange begun by the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IncomingSlot {
    pub(crate) correlation: u32,
    pub(crate) lane: StreamId,
    pub(crate) answer: Answer,
    pub(crate) cancelled: bool,
    pub(crate) bytes: u32,
    pub(crate) deadline: Option<Instant>,
}

/// Exchanges begun by the peer, by slot.
#[derive(Debug, Default)]
pub(crate) struct IncomingTable {
    slots: Vec<IncomingSlot>,
    live: usize,
    /// Payload bytes of requests whose answer is owed.
    pub(crate) pending_bytes: u64,
    /// Payload bytes of answers that have not wholly gone out.
    pub(crate) answer_bytes: u64,
}

impl IncomingTable {
    /// Takes the slot that the correlation names; `false` when it is out of range or in use.
    #[inline]
    pub(crate) fn begin(&mut self, slot: IncomingSlot, max: u16) -> bool {
        let index = (slot.correlation & 0xFFFF) as usize;
        if index >= usize::from(max) || slot.correlation >> 16 == 0 {
            return false;
        }
        if index >= self.slots.len() {
            // Doubling, but never past what the peer may use.
            let len = (index + 1).next_power_of_two().min(usize::from(max));
            self.slots.resize(len, IncomingSlot::default());
        }
        if self.slots[index].answer != Answer::None {
            return false;
        }
        self.pending_bytes += u64::from(slot.bytes);
        self.slots[index] = slot;
        self.live += 1;
        true
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, correlation: u32) -> Option<&mut IncomingSlot> {
        self.slots
            .get_mut((correlation & 0xFFFF) as usize)
            .filter(|slot| slot.answer != Answer::None && slot.correlation == correlation)
    }

    pub(crate) fn contains(&self, correlation: u32) -> bool {
        let slot = self.slots.get((correlation & 0xFFFF) as usize);
        slot.is_some_and(|slot| slot.answer != Answer::None && slot.correlation == correlation)
    }

    /// The handler has answered; `false` when it had before or the exchange is gone.
    #[inline]
    pub(crate) fn answer(&mut self, correlation: u32, answer_bytes: u32) -> bool {
        let Some(slot) = self.get_mut(correlation) else {
            return false;
        };
        if slot.answer != Answer::Owed {
            return false;
        }
        slot.answer = Answer::Queued;
        let bytes = u64::from(core::mem::replace(&mut slot.bytes, answer_bytes));
        self.pending_bytes -= bytes;
        self.answer_bytes += u64::from(answer_bytes);
        true
    }

    /// The answer has wholly gone out.
    #[inline]
    pub(crate) fn end(&mut self, correlation: u32) {
        if let Some(slot) = self.get_mut(correlation) {
            slot.answer = Answer::None;
            let bytes = u64::from(slot.bytes);
            self.answer_bytes -= bytes;
            self.live -= 1;
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &IncomingSlot> {
        self.slots.iter().filter(|slot| slot.answer != Answer::None)
    }
}
