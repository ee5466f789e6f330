//! Memory for messages that arrive in fragments.
//!
//! A message is put together behind the one before it, in memory that the session keeps: where
//! readers keep pace the same memory serves again and again, and no message costs a fresh
//! allocation that the kernel has to fill with zeros first.

use bytes::{Bytes, BytesMut};

/// Memory that the next message may be put together in.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    free: BytesMut,
    /// Capacity to ask for: a few messages of the size that has been seen.
    hint: usize,
}

impl Arena {
    /// Memory with the first fragment of a message in it.
    pub(crate) fn begin(&mut self, first: &[u8]) -> BytesMut {
        let mut bytes = core::mem::take(&mut self.free);
        // A peer that has sent such messages before may send another; one that has not gets no
        // more than has arrived.
        bytes.reserve(first.len().max(self.hint));
        bytes.extend_from_slice(first);
        bytes
    }

    /// Completes a message and takes the memory behind it back.
    pub(crate) fn finish(&mut self, mut bytes: BytesMut, last: &[u8]) -> Bytes {
        bytes.extend_from_slice(last);
        let message = bytes.split().freeze();
        self.hint = (MESSAGES_AHEAD * message.len()).min(ARENA_BYTES_MAX);
        if bytes.capacity() > self.free.capacity() {
            self.free = bytes;
        }
        message
    }

    /// Gives the memory back to the system.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }
}

/// So many messages of the size seen last fit the memory that is asked for.
const MESSAGES_AHEAD: usize = 4;

/// No more than this is asked for ahead of what has arrived. A reader that keeps one small message
/// of many keeps this much memory.
const ARENA_BYTES_MAX: usize = 256 * 1024;
