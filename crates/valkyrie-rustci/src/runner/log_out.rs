//! What one attempt has printed and the server has not acknowledged.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::log::{LogRecord, RecordSink, SendWindow, SinkClosed, WINDOW_BYTES_DEFAULT};
use crate::wire::{JobRef, LOG_PAYLOAD_BYTES_MAX, LogFrame};

/// One attempt's log on its way out. The job writes, the connection of the moment sends.
#[derive(Debug)]
pub(super) struct LogOut {
    at: JobRef,
    state: Mutex<Out>,
    /// There may be room again.
    room: Notify,
    /// There may be something to send.
    pub(super) ready: Notify,
}

#[derive(Debug)]
struct Out {
    window: SendWindow,
    /// Nothing more will be written.
    ended: bool,
    /// END has been sent on this connection.
    end_sent: bool,
    /// The server keeps no more; the job is to stop.
    closed: bool,
}

impl LogOut {
    pub(super) fn new(at: JobRef) -> Self {
        let out = Out {
            window: SendWindow::new(WINDOW_BYTES_DEFAULT),
            ended: false,
            end_sent: false,
            closed: false,
        };
        Self {
            at,
            state: Mutex::new(out),
            room: Notify::new(),
            ready: Notify::new(),
        }
    }

    /// The job has printed its last byte.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
    }

    /// No more bytes are wanted; the job will see its log closed.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
        self.ready.notify_one();
    }

    /// Bytes that are not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        let out = self.lock();
        out.window.end().saturating_sub(out.window.acknowledged())
    }

    /// Whether there is anything that would need a stream.
    pub(super) fn has_something(&self) -> bool {
        !self.lock().window.is_empty()
    }

    /// Whether nothing is left to do: closed, or complete and acknowledged.
    pub(super) fn is_over(&self) -> bool {
        let out = self.lock();
        out.closed || (out.ended && out.window.is_empty())
    }

    /// Begins again from the first byte that is not acknowledged.
    pub(super) fn rewind(&self) {
        let mut out = self.lock();
        out.window.rewind();
        out.end_sent = false;
        drop(out);
        self.ready.notify_one();
    }

    /// The server has every byte below `offset`.
    pub(super) fn acknowledge(&self, offset: u64) {
        self.lock().window.acknowledge(offset);
        self.room.notify_one();
        self.ready.notify_one();
    }

    /// The next frame to send.
    pub(super) fn poll_send(&self) -> Option<LogFrame> {
        let mut out = self.lock();
        if let Some(record) = out.window.poll_send() {
            return Some(LogFrame::Data { at: self.at, record });
        }
        let end = out.ended && !out.end_sent && out.window.end() > 0;
        end.then(|| {
            out.end_sent = true;
            LogFrame::End {
                at: self.at,
                offset: out.window.end(),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn push(&self, mut record: LogRecord) -> Result<(), SinkClosed> {
        loop {
            let room = self.room.notified();
            {
                let mut out = self.lock();
                if out.closed {
                    return Err(SinkClosed);
                }
                match out.window.push(record) {
                    Ok(()) => break,
                    Err(full) => record = full.0,
                }
            }
            room.await;
        }
        self.ready.notify_one();
        Ok(())
    }
}

/// The end of a [`LogOut`] that a job writes to.
#[derive(Debug)]
pub(super) struct LogSink(pub(super) std::sync::Arc<LogOut>);

impl RecordSink for LogSink {
    async fn send(&mut self, mut record: LogRecord) -> Result<(), SinkClosed> {
        // What a pipe yields at once fits one frame; remarks are short; this holds for all that may come.
        while record.bytes.len() > LOG_PAYLOAD_BYTES_MAX {
            let mut first = record.clone();
            first.bytes = record.bytes.split_to(LOG_PAYLOAD_BYTES_MAX);
            record.offset = first.end();
            self.0.push(first).await?;
        }
        if record.bytes.is_empty() {
            return Ok(());
        }
        self.0.push(record).await
    }
}
