//! Credit: what this side may send, what it owes, and rings of bytes. Pure, so that the promise below can be tested.
//!
//! The promise: a receive is never missing. Each side posts as many receives as it said plus [`RECEIVES_RESERVED`], and a
//! peer that keeps to its credit never needs more, however slow either side is. So no message is ever refused for want of
//! a receive, and queue pairs are told not to try again.
//!
//! Read [`Debt`] for why the reserve is enough.

#[cfg(test)]
mod tests;

use crate::wire::{Grant, MessageError};

/// A ring of bytes, of which a stretch is in use: one side's memory, or what this side knows of the peer's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    size: u32,
    /// Where the next byte goes.
    head: u32,
    used: u32,
}

impl Ring {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            size,
            head: 0,
            used: 0,
        }
    }

    /// How many bytes can be taken in one piece: nothing goes around the end of a ring.
    pub(crate) fn free_in_one_piece(&self) -> u32 {
        (self.size - self.used).min(self.size - self.head)
    }

    /// How many bytes lie between the next one and the end of the ring.
    pub(crate) fn before_the_end(&self) -> u32 {
        self.size - self.head
    }

    /// Takes the next `count` bytes and says where they begin, or nothing if there are not that many in one piece.
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        if count > self.free_in_one_piece() {
            return None;
        }
        let at = self.head;
        self.used += count;
        self.head += count;
        if self.head == self.size {
            self.head = 0;
        }
        Some(at)
    }

    /// Gives back the oldest `count` bytes in use; whether there were that many.
    pub(crate) fn give_back(&mut self, count: u32) -> bool {
        match self.used.checked_sub(count) {
            Some(used) => {
                self.used = used;
                true
            }
            None => false,
        }
    }
}

/// What this side may still send.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    slots_total: u16,
    slots: u16,
    /// The peer's ring.
    pub(crate) ring: Ring,
}

impl Allowance {
    /// What a peer that offers `slots` receives and a ring of `ring_bytes` allows in the beginning.
    pub(crate) fn new(slots: u16, ring_bytes: u32) -> Self {
        Self {
            slots_total: slots,
            slots,
            ring: Ring::new(ring_bytes),
        }
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.slots > 0
    }

    /// Spends a receive of the peer on data.
    pub(crate) fn take_slot(&mut self) -> bool {
        match self.slots.checked_sub(1) {
            Some(left) => {
                self.slots = left;
                true
            }
            None => false,
        }
    }

    /// Takes what the peer gives back.
    pub(crate) fn grant(&mut self, grant: Grant) -> Result<(), MessageError> {
        let slots = self
            .slots
            .checked_add(grant.slots)
            .filter(|slots| *slots <= self.slots_total)
            .ok_or(MessageError::Overgranted)?;
        if !self.ring.give_back(grant.ring_bytes) {
            return Err(MessageError::Overgranted);
        }
        self.slots = slots;
        Ok(())
    }
}

/// What this side took from the peer's messages and has not given back yet.
///
/// It is given back with any message, and with one of its own as soon as [half](Debt::is_due) of the receives or of the
/// ring is owed. Such a message needs a receive at the peer that no credit was given for. How many of them can be under
/// way, sent and not yet taken in by the peer? What they bring together, the peer has not been able to use; so it is part
/// of what the peer had in the beginning. Each brings at least half of the receives, or of the ring: two of each kind.
/// And one message says that the direction ends. That is [`RECEIVES_RESERVED`].
//= protocol/transports.md#rdma-credit
#[derive(Clone, Debug)]
pub(crate) struct Debt {
    slots_total: u16,
    /// Receives that hold data of the peer's, or are owed.
    slots_used: u16,
    slots: u16,
    ring_bytes: u32,
    /// This side's ring: what is in it, or owed.
    ring: Ring,
}

impl Debt {
    /// With `slots` receives and a ring of `ring_bytes` offered to the peer.
    pub(crate) fn new(slots: u16, ring_bytes: u32) -> Self {
        Self {
            slots_total: slots,
            slots_used: 0,
            slots: 0,
            ring_bytes: 0,
            ring: Ring::new(ring_bytes),
        }
    }

    /// Data came in a receive.
    pub(crate) fn message_arrived(&mut self) -> Result<(), MessageError> {
        if self.slots_used == self.slots_total {
            return Err(MessageError::Overrun);
        }
        self.slots_used += 1;
        Ok(())
    }

    /// Data was written to the ring; where it begins. It has also used up a receive.
    pub(crate) fn write_arrived(&mut self, count: u32) -> Result<u32, MessageError> {
        self.message_arrived()?;
        self.ring.take(count).ok_or(MessageError::Overrun)
    }

    /// A receive that held data of the peer's is posted again.
    pub(crate) fn receive_posted(&mut self) {
        self.slots += 1;
    }

    /// Bytes of the ring have been read.
    pub(crate) fn ring_read(&mut self, count: u32) {
        self.ring_bytes += count;
    }

    /// Whether so much is owed that it is worth, and allowed, a message of its own.
    pub(crate) fn is_due(&self) -> bool {
        2 * u32::from(self.slots) >= u32::from(self.slots_total)
            || self.ring.size > 0 && self.ring_bytes >= self.ring.size.div_ceil(2)
    }

    /// All that is owed, as the message that gives it back says it.
    pub(crate) fn settle(&mut self) -> Grant {
        let grant = Grant {
            slots: std::mem::take(&mut self.slots),
            ring_bytes: std::mem::take(&mut self.ring_bytes),
        };
        self.slots_used -= grant.slots;
        self.ring.give_back(grant.ring_bytes);
        grant
    }
}

/// How many receives are posted beyond those that the peer has credit for: two messages that give back receives, two that
/// give back the ring, and one that ends the direction. See [`Debt`].
//= protocol/transports.md#rdma-credit
pub(crate) const RECEIVES_RESERVED: u16 = 2 + 2 + 1;
