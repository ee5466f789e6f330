//! The audit log as a file: lines are appended, and the chain goes on where the last program left it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use valkyrie_security::UnixTime;
use valkyrie_security::audit::{AuditChain, AuditEvent, AuditHead, AuditLimits, AuditLog, AuditStats};

use crate::error::KeystoreError;
use crate::home::Home;

#[cfg(test)]
mod tests;

/// The log of a node in its directory, held by one program at a time. Another program of the same node writes another
/// file: `audit.log`, `audit-2.log` and so on, each a chain of its own.
///
/// Beside it lies the head of the chain, `audit.head`: it shows that the end of the log was lost, though not to somebody who
/// could change both. Whoever needs that keeps the head elsewhere.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    head: File,
    log: AuditLog,
    limits: AuditLimits,
    /// Lines that could not be written yet, in order.
    waiting: Vec<String>,
    /// Events that never became lines, because too many waited.
    lost: u64,
    /// Something was written since the file was last known to be on disk.
    dirty: bool,
}

impl AuditFile {
    /// Opens the log to go on with it, or begins one.
    ///
    /// # Errors
    /// No file can be opened or made, or as many programs as may write already do.
    pub fn open(home: &Home, limits: AuditLimits, now: UnixTime) -> Result<Self, KeystoreError> {
        for number in 1..=FILES_MAX {
            let name = match number {
                1 => "audit".to_owned(),
                number => format!("audit-{number}"),
            };
            let path = home.path_of(&format!("{name}.log"));
            let file = home.append(&format!("{name}.log"))?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let head = home.writable(&format!("{name}.head"))?;
            let failed = |error| KeystoreError::io("read", &path, error);
            let Some(chain) = resumed(&path, &file).map_err(failed)? else {
                // Somebody changed its end. What is there is evidence, and nothing is written behind it.
                continue;
            };
            let (chain, first) = match chain {
                Chain::Goes(chain) => (chain, None),
                Chain::Begins => {
                    let (chain, line) = AuditChain::begin(now);
                    (chain, Some(line))
                }
            };
            let mut opened = Self {
                path,
                file,
                head,
                log: AuditLog::new(chain, limits),
                limits,
                waiting: first.into_iter().collect(),
                lost: 0,
                dirty: false,
            };
            let failed = |error| KeystoreError::io("written", &home.path_of(&format!("{name}.log")), error);
            opened.write().map_err(failed)?;
            return Ok(opened);
        }
        Err(KeystoreError::AuditTaken(home.path_of("audit.log")))
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records an event. `time` and `now` are the same moment by two clocks.
    ///
    /// # Errors
    /// The file does not take it. The line is kept and written later, before any other; when too many wait, events are counted
    /// instead and the count is recorded.
    pub fn record(&mut self, event: &AuditEvent<'_>, time: UnixTime, now: Instant) -> io::Result<()> {
        if self.waiting.len() >= WAITING_LINES_MAX {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.log.record(event, time, now, &mut self.waiting);
        }
        self.write()
    }

    /// To be called now and then: records what was held back of a flood, and sees that what was written is on disk.
    ///
    /// # Errors
    /// The file does not take it, as for [`AuditFile::record`].
    pub fn turn(&mut self, time: UnixTime, now: Instant) -> io::Result<()> {
        self.log.turn(time, now, &mut self.waiting);
        self.write()?;
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.log.dropped(lost, time, &mut self.waiting);
            self.write()?;
        }
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Records that the program ends in good order, and everything that was held back.
    ///
    /// # Errors
    /// The file does not take it.
    pub fn finish(mut self, time: UnixTime, now: Instant) -> io::Result<()> {
        let after = now.checked_add(self.limits.window).unwrap_or(now);
        self.turn(time, after)?;
        self.record(&AuditEvent::Stopped, time, after)?;
        self.turn(time, after)
    }

    /// Where the chain is.
    pub fn head(&self) -> AuditHead {
        self.log.head()
    }

    /// What was recorded and what was not.
    pub fn stats(&self) -> AuditStats {
        self.log.stats()
    }

    fn write(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut text = self.waiting.join("\n");
        text.push('\n');
        let before = self.file.seek(SeekFrom::End(0))?;
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Half a line would be the end of the chain.
            let _ = self.file.set_len(before);
            return Err(error);
        }
        self.waiting.clear();
        self.dirty = true;
        // The log is ahead of its head if the power fails here, and that is no fault.
        let head = format!("{}\n", self.log.head());
        self.head.write_all_at(head.as_bytes(), 0)?;
        self.head.set_len(head.len() as u64)
    }
}

/// The head that was kept beside a log; nothing where there is none that can be read.
pub fn kept_head(log: &Path) -> Option<AuditHead> {
    let text = std::fs::File::open(log.with_extension("head")).ok()?;
    let mut bytes = String::new();
    text.take(HEAD_BYTES_MAX).read_to_string(&mut bytes).ok()?;
    bytes.parse().ok()
}

enum Chain {
    Begins,
    Goes(AuditChain),
}

/// The chain behind the last line; nothing when the file does not end in a line of a chain. Half a line at the end is taken
/// away: a program died while it wrote it, and nobody was told that it was there.
fn resumed(path: &Path, mut file: &File) -> io::Result<Option<Chain>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_begins = length.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(length - tail_begins).unwrap_or(0)];
    file.read_exact_at(&mut tail, tail_begins)?;
    let whole = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let (lines, torn) = tail.split_at(whole);
    if lines.is_empty() && tail_begins > 0 {
        return Ok(None);
    }
    let last = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or(last);
    let chain = match std::str::from_utf8(last) {
        Ok("") if whole == 0 => Chain::Begins,
        Ok(last) => match AuditChain::resume(last) {
            Ok(chain) => Chain::Goes(chain),
            Err(_) => return Ok(None),
        },
        Err(_) => return Ok(None),
    };
    if !torn.is_empty() {
        let keep = length - torn.len() as u64;
        // Through the file itself: one that is opened to append can still be cut.
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(keep)?;
    }
    Ok(Some(chain))
}

/// How often [`AuditFile::turn`] is of use.
pub const AUDIT_TURN_EVERY: Duration = Duration::from_secs(1);

/// Logs of one directory: programs of one node that run at once, and logs that somebody has damaged.
const FILES_MAX: u32 = 64;

/// Lines that wait for a file that takes none, a few hundred bytes each.
const WAITING_LINES_MAX: usize = 4096;

/// More than two lines of the greatest length.
const TAIL_BYTES: u64 = 64 * 1024;

/// A number, a colon, 64 digits and room.
const HEAD_BYTES_MAX: u64 = 128;
