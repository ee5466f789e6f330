//! From the step's pipes to its log, no faster than the log takes it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::log::{LogWriter, RecordSink, SinkClosed, Stream};

/// Bytes read at once: what a Linux pipe holds, so that one read empties it.
const READ_BYTES: usize = 64 << 10;

/// What the pump is doing, for whoever decides how long to wait for it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// It waits for the step rather than for the log.
    pub(super) reading: AtomicBool,
    /// Bytes handed to the log.
    pub(super) bytes: AtomicU64,
    /// It should stop before the next read.
    pub(super) stop: AtomicBool,
}

/// Reads both pipes until both have ended.
pub(super) async fn pump<S: RecordSink>(
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    log: &mut LogWriter<S>,
    meter: &Meter,
) -> Result<(), SinkClosed> {
    let (mut out, mut err) = (Source::new(stdout), Source::new(stderr));
    while (out.pipe.is_some() || err.pipe.is_some()) && !meter.stop.load(Ordering::Relaxed) {
        meter.reading.store(true, Ordering::Relaxed);
        let (stream, bytes) = tokio::select! {
            bytes = out.read() => (Stream::Stdout, bytes),
            bytes = err.read() => (Stream::Stderr, bytes),
        };
        meter.reading.store(false, Ordering::Relaxed);
        let length = bytes.len() as u64;
        if length > 0 {
            log.write(stream, bytes).await?;
            meter.bytes.fetch_add(length, Ordering::Relaxed);
        }
    }
    Ok(())
}

struct Source {
    pipe: Option<Receiver>,
    buffer: BytesMut,
}

impl Source {
    fn new(pipe: Option<Receiver>) -> Self {
        Self {
            pipe,
            buffer: BytesMut::new(),
        }
    }

    /// The next bytes; none at the end, after which it never returns again. Dropping the future
    /// loses nothing.
    async fn read(&mut self) -> Bytes {
        let Some(pipe) = &mut self.pipe else {
            return std::future::pending().await;
        };
        self.buffer.reserve(READ_BYTES);
        match pipe.read_buf(&mut self.buffer).await {
            Ok(1..) => self.buffer.split().freeze(),
            // A pipe has no errors that could be repaired; what was read before is kept.
            Ok(0) | Err(_) => {
                self.pipe = None;
                self.buffer = BytesMut::new();
                Bytes::new()
            }
        }
    }
}
