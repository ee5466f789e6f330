//! Memory for messages that arrive in fragments.
//!
//! Messages are put together one behind the other in blocks that the session keeps. A block whose
//! messages have all been let go serves again, so that a stream of large messages settles on a
//! few blocks instead of asking the kernel for zeroed pages for each message, which costs more
//! than the copy.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Blocks for the messages to come.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    /// The block in use: what is free of it.
    free: BytesMut,
    /// Used-up blocks, oldest first. Readers may still hold messages in them.
    used: VecDeque<BytesMut>,
    /// How large a block should be: a few messages of the size that has been seen.
    hint: usize,
}

impl Arena {
    /// Memory with the first fragment of a message in it.
    pub(crate) fn begin(&mut self, first: &[u8]) -> BytesMut {
        // A peer that has sent large messages before may send another; one that has not gets no
        // more than has arrived.
        let need = first.len().max(self.hint / MESSAGES_AHEAD);
        if self.free.capacity() < need && !self.free.try_reclaim(need) {
            self.next_block(need);
        }
        let mut bytes = core::mem::take(&mut self.free);
        bytes.extend_from_slice(first);
        bytes
    }

    /// Takes the oldest block that nobody holds any more, or a new one.
    fn next_block(&mut self, need: usize) {
        let full = core::mem::take(&mut self.free);
        if full.capacity() > 0 || self.hint > 0 {
            self.used.push_back(full);
        }
        if self.used.len() > BLOCKS_MAX {
            self.used.pop_front();
        }
        if let Some(mut oldest) = self.used.pop_front() {
            if oldest.try_reclaim(need) {
                self.free = oldest;
                return;
            }
            self.used.push_front(oldest);
        }
        self.free = BytesMut::with_capacity(need.max(self.hint));
    }

    /// Completes a message and takes the memory behind it back.
    pub(crate) fn finish(&mut self, mut bytes: BytesMut, last: &[u8]) -> Bytes {
        bytes.extend_from_slice(last);
        let message = bytes.split().freeze();
        self.hint = (MESSAGES_AHEAD * message.len()).min(BLOCK_BYTES_MAX);
        if bytes.capacity() > self.free.capacity() {
            self.free = bytes;
        } else if self.used.len() < BLOCKS_MAX {
            // Of no use now, but its handle is the way back to its block.
            self.used.push_back(bytes);
        }
        message
    }

    /// Gives the memory back to the system.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }
}

/// So many messages of the size seen last fit a block.
const MESSAGES_AHEAD: usize = 4;

/// The largest block asked for ahead of what has arrived. A reader that keeps one message of a
/// block keeps the block.
const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Used-up blocks that are kept: with the one in use a little more than the window of a data
/// stream, which is how much a reader that keeps pace may hold.
const BLOCKS_MAX: usize = 12;
