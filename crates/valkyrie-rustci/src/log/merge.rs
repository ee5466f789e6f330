//! The receiving end: one attempt's log, contiguous.

use super::LogRecord;

/// A record that starts after the end of what has arrived. It was not taken; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sender left out log bytes {expected} to {found}; the record was not taken")]
pub struct LogGap {
    /// Where the next record has to start; what to ask the sender for.
    pub expected: u64,
    /// Where it started.
    pub found: u64,
}

/// Accepts records of one attempt in order, once each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMerger {
    next: u64,
}

impl LogMerger {
    /// A log that already has `next` bytes.
    pub fn new(next: u64) -> Self {
        Self { next }
    }

    /// Bytes that have arrived without a gap: what to acknowledge.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// Takes a record and returns the part that is new, or nothing when all of it was known, which
    /// is what a sender repeats after a broken link.
    ///
    /// # Errors
    /// [`LogGap`] when bytes are missing before it.
    pub fn accept(&mut self, mut record: LogRecord) -> Result<Option<LogRecord>, LogGap> {
        if record.offset > self.next {
            return Err(LogGap {
                expected: self.next,
                found: record.offset,
            });
        }
        let known = usize::try_from(self.next - record.offset).unwrap_or(usize::MAX);
        if known >= record.bytes.len() {
            return Ok(None);
        }
        record.bytes = record.bytes.slice(known..);
        record.offset = self.next;
        self.next = record.end();
        Ok(Some(record))
    }
}
