//! A piece of a job's log.

use std::future::Future;

use bytes::Bytes;

use crate::pipeline::JobIndex;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    /// The step's standard output.
    Stdout = 0,
    /// The step's standard error.
    Stderr = 1,
    /// A remark of the runner, such as that a step left processes behind.
    Notice = 2,
}

impl Stream {
    /// The stream with this number on the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Notice]
            .into_iter()
            .find(|stream| *stream as u8 == code)
    }
}

/// Bytes that a step wrote, and their place in the log of the attempt.
///
/// All steps and streams of an attempt share one sequence of offsets. Within a stream the order is
/// exactly what was written; between standard output and standard error it is the order in which
/// the runner read them, because two pipes keep no common clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The job, as a position in the pipeline.
    pub job: JobIndex,
    /// The step, from 0.
    pub step: u16,
    /// Which output.
    pub stream: Stream,
    /// Bytes of the attempt's log before these.
    pub offset: u64,
    /// The bytes as written, of any encoding or none.
    pub bytes: Bytes,
}

impl LogRecord {
    /// The offset that the next record must have.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// The log cannot be kept any longer. The record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is closed and takes no more records; this one was not kept")]
pub struct SinkClosed;

/// Where records go. `send` may wait as long as it likes: a step is read only as fast as its
/// records are taken, so a full sink slows the step down and memory stays bounded.
pub trait RecordSink: Send {
    /// Takes one record, waiting for room.
    fn send(&mut self, record: LogRecord) -> impl Future<Output = Result<(), SinkClosed>> + Send;
}

impl RecordSink for tokio::sync::mpsc::Sender<LogRecord> {
    async fn send(&mut self, record: LogRecord) -> Result<(), SinkClosed> {
        tokio::sync::mpsc::Sender::send(self, record)
            .await
            .map_err(|_| SinkClosed)
    }
}

/// Gives records their offsets.
#[derive(Debug)]
pub struct LogWriter<S> {
    sink: S,
    job: JobIndex,
    step: u16,
    offset: u64,
}

impl<S: RecordSink> LogWriter<S> {
    /// An empty log of one attempt at `job`.
    pub fn new(job: JobIndex, sink: S) -> Self {
        Self {
            sink,
            job,
            step: 0,
            offset: 0,
        }
    }

    /// Bytes written so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What follows belongs to this step.
    pub fn set_step(&mut self, step: u16) {
        self.step = step;
    }

    /// Appends bytes, waiting for room.
    ///
    /// # Errors
    /// [`SinkClosed`]; the offset is unchanged.
    pub async fn write(&mut self, stream: Stream, bytes: Bytes) -> Result<(), SinkClosed> {
        let record = LogRecord {
            job: self.job,
            step: self.step,
            stream,
            offset: self.offset,
            bytes,
        };
        let end = record.end();
        self.sink.send(record).await?;
        self.offset = end;
        Ok(())
    }

    /// Returns the sink.
    pub fn into_sink(self) -> S {
        self.sink
    }
}
