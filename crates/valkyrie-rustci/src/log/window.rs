//! The sending end: what has been produced and is not yet acknowledged.

use std::collections::VecDeque;

use super::LogRecord;

/// Unacknowledged bytes kept for one attempt. It covers 100 ms at 40 MB/s, and a runner with a
/// hundred jobs still holds well under a gigabyte.
pub const WINDOW_BYTES_DEFAULT: usize = 4 << 20;

/// The window is full. The record is returned; the window is unchanged. Wait for an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log window is full; the record is returned")]
pub struct WindowFull(pub LogRecord);

/// Keeps records until they are acknowledged, and sends them again after a rewind.
#[derive(Debug)]
pub struct SendWindow {
    records: VecDeque<LogRecord>,
    /// Records of the queue that have been handed out since the last rewind.
    sent: usize,
    bytes: usize,
    bytes_max: usize,
    acknowledged: u64,
    end: u64,
}

impl SendWindow {
    /// An empty window that keeps at most `bytes_max` bytes, and always at least one record.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            records: VecDeque::new(),
            sent: 0,
            bytes: 0,
            bytes_max,
            acknowledged: 0,
            end: 0,
        }
    }

    /// Whether a record could be pushed.
    pub fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    /// Whether everything pushed has been acknowledged.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes acknowledged by the receiver.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Bytes pushed in all.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the next record. Records come from one [`LogWriter`](super::LogWriter), in order.
    ///
    /// # Errors
    /// [`WindowFull`] with the record.
    pub fn push(&mut self, record: LogRecord) -> Result<(), WindowFull> {
        debug_assert_eq!(record.offset, self.end, "records are pushed in order");
        if !self.has_room() {
            return Err(WindowFull(record));
        }
        self.bytes += record.bytes.len();
        self.end = record.end();
        self.records.push_back(record);
        Ok(())
    }

    /// The next record to send.
    pub fn poll_send(&mut self) -> Option<LogRecord> {
        let record = self.records.get(self.sent)?.clone();
        self.sent += 1;
        Some(record)
    }

    /// The receiver has every byte below `offset`. Offsets beyond what was sent, or below what was
    /// acknowledged before, are ignored: the receiver would be wrong, and the bytes are kept.
    pub fn acknowledge(&mut self, offset: u64) {
        if offset > self.end || offset <= self.acknowledged {
            return;
        }
        self.acknowledged = offset;
        while let Some(record) = self.records.front() {
            if record.end() > offset {
                break;
            }
            self.bytes -= record.bytes.len();
            self.records.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Sends everything unacknowledged again: after a reconnect, or when the receiver asks.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }
}
