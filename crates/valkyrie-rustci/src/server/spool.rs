//! The log of one attempt on disk: written once, read by any number of watchers.
//!
//! The file holds LOG payloads as they arrived, each behind its length, so step and stream of every
//! byte are kept and a watcher is sent what the runner sent. A log of any length costs no memory.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::log::{LogMerger, LogRecord};
use crate::wire::{JobRef, LOG_HEADER_BYTES, LOG_PAYLOAD_BYTES_MAX, LogFrame};

/// Bytes of the length in front of each payload.
const LENGTH_BYTES: usize = 4;
/// Bytes of the longest payload with its length.
const FRAME_BYTES_MAX: usize = LENGTH_BYTES + LOG_HEADER_BYTES + LOG_PAYLOAD_BYTES_MAX;
/// Bytes read at once: several of the longest payloads, and little beside what a connection buffers.
const READ_BYTES: usize = 4 * FRAME_BYTES_MAX;

/// One attempt's log.
#[derive(Debug)]
pub(super) struct Spool {
    at: JobRef,
    path: PathBuf,
    log_bytes_max: u64,
    /// Held while the disk is written to, so nothing but writers waits for it.
    written: Mutex<Written>,
    kept: AtomicU64,
    file_bytes: AtomicU64,
    broken: OnceLock<String>,
    /// Whose log stream may write: the newest that was opened.
    writer: AtomicU64,
}

#[derive(Debug)]
struct Written {
    /// Closed when the log is complete or broken, so that old runs hold no descriptors.
    file: Option<File>,
    merger: LogMerger,
}

/// What became of records that were to be appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Appended {
    /// Bytes of the log that are kept.
    pub(super) kept: u64,
    /// Records were missing: the sender is to go back to `kept`.
    pub(super) gap: bool,
}

/// The log cannot be kept any further. What was kept before stays readable.
#[derive(Debug, thiserror::Error)]
#[error("the server cannot keep the log: {0}")]
pub(super) struct Broken(pub(super) String);

impl Spool {
    /// An empty log. The file is new and readable by this user alone: logs hold secrets now and then.
    pub(super) fn create(folder: &Path, at: JobRef, log_bytes_max: u64) -> io::Result<Self> {
        let path = folder.join(format!("{}-{}-{}.log", at.run, at.job.0, at.attempt.0));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = Written {
            file: Some(file),
            merger: LogMerger::default(),
        };
        Ok(Self {
            at,
            path,
            log_bytes_max,
            written: Mutex::new(written),
            kept: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            broken: OnceLock::new(),
            writer: AtomicU64::new(0),
        })
    }

    /// A number for a new writer. Earlier writers can no longer append: a connection that was given up
    /// must not race the one that took its place.
    pub(super) fn take_over(&self) -> u64 {
        self.writer.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Bytes of the log that are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// Why the log takes no more bytes, if it does not.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// No more bytes will come. May wait for the disk.
    pub(super) fn close(&self) {
        self.lock().file = None;
    }

    /// Appends records in one write. Blocks on the disk.
    ///
    /// # Errors
    /// [`Broken`]: the disk or the bound. Nothing of these records was kept, and nothing ever will be.
    pub(super) fn append(&self, writer: u64, records: Vec<LogRecord>) -> Result<Appended, Broken> {
        let mut written = self.lock();
        if let Some(reason) = self.broken.get() {
            return Err(Broken(reason.clone()));
        }
        if self.writer.load(Ordering::Acquire) != writer {
            return Err(Broken(String::from("another connection has taken the log over")));
        }
        let mut merger = written.merger;
        let mut buffer = Vec::new();
        let mut gap = false;
        for record in records {
            match merger.accept(record) {
                Ok(Some(new)) => self.put(new, &mut buffer),
                Ok(None) => {}
                Err(_) => {
                    gap = true;
                    break;
                }
            }
        }
        if let Err(reason) = self.write(&mut written, &buffer, merger.offset()) {
            written.file = None;
            return Err(Broken(self.broken.get_or_init(|| reason).clone()));
        }
        written.merger = merger;
        // Published after the bytes are in the file, so a reader never looks past them.
        self.file_bytes.fetch_add(buffer.len() as u64, Ordering::AcqRel);
        self.kept.store(merger.offset(), Ordering::Release);
        Ok(Appended {
            kept: merger.offset(),
            gap,
        })
    }

    fn write(&self, written: &mut Written, buffer: &[u8], end: u64) -> Result<(), String> {
        if buffer.is_empty() {
            return Ok(());
        }
        if end > self.log_bytes_max {
            return Err(format!(
                "a log may have {} bytes on this server, and this one has more",
                self.log_bytes_max
            ));
        }
        let Some(file) = &mut written.file else {
            return Err(String::from("it was complete already"));
        };
        file.write_all(buffer).map_err(|error| error.to_string())
    }

    fn put(&self, record: LogRecord, buffer: &mut Vec<u8>) {
        let frame = LogFrame::Data { at: self.at, record };
        // A record that came in one frame fits one frame.
        if let Ok(payload) = frame.encode() {
            buffer.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            buffer.extend_from_slice(&payload);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // Nothing panics while it is held.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Nobody can ask for it any more; a file that is gone already needs no removal.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A reader's place in a [`Spool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the file read.
    file: u64,
    /// Bytes of the log read, or to be skipped.
    pub(super) log: u64,
}

impl Place {
    /// The place after `log` bytes. What comes before is read again and skipped, once.
    pub(super) fn after(log: u64) -> Self {
        Self { file: 0, log }
    }
}

impl Spool {
    /// LOG payloads from a place on and the place after them; none when there is nothing new. Blocks on
    /// the disk.
    pub(super) fn read(&self, place: Place) -> io::Result<(Vec<Bytes>, Place)> {
        let mut place = place;
        let mut payloads = Vec::new();
        let end = self.file_bytes.load(Ordering::Acquire);
        let file = File::open(&self.path)?;
        while payloads.is_empty() && place.file < end {
            let length = usize::try_from(end - place.file).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, place.file)?;
            let buffer = Bytes::from(buffer);
            let mut at = 0;
            while let Some(payload) = frame_at(&buffer, at) {
                at += LENGTH_BYTES + payload.len();
                payloads.extend(self.wanted(payload, &mut place.log)?);
            }
            if at == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            place.file += at as u64;
        }
        Ok((payloads, place))
    }

    /// The part of a payload that the reader does not have.
    fn wanted(&self, payload: Bytes, log: &mut u64) -> io::Result<Option<Bytes>> {
        let damaged = |_| io::Error::from(io::ErrorKind::InvalidData);
        let LogFrame::Data { record, .. } = LogFrame::decode(&payload).map_err(damaged)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if record.end() <= *log {
            return Ok(None);
        }
        if record.offset == *log {
            *log = record.end();
            return Ok(Some(payload));
        }
        // A watcher that comes back may have stopped in the middle of a record.
        let mut merger = LogMerger::new(*log);
        let Ok(Some(record)) = merger.accept(record) else {
            return Ok(None);
        };
        *log = record.end();
        LogFrame::Data { at: self.at, record }
            .encode()
            .map(Some)
            .map_err(damaged)
    }
}

/// The whole payload at this place of the buffer, if all of it is there.
fn frame_at(buffer: &Bytes, at: usize) -> Option<Bytes> {
    let length: [u8; LENGTH_BYTES] = buffer.get(at..at + LENGTH_BYTES)?.try_into().ok()?;
    let from = at + LENGTH_BYTES;
    let to = from.checked_add(u32::from_be_bytes(length) as usize)?;
    (to <= buffer.len()).then(|| buffer.slice(from..to))
}
