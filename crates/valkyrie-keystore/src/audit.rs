//! The audit log as files: lines are appended, the chain goes on where the last program left it, and a file that has become
//! large is put aside.

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

mod rotation;
#[cfg(test)]
mod tests;

pub use rotation::{AuditRotation, audit_files};

/// The log of a node in its directory, held by one program at a time. Another program of the same node writes another
/// log: `audit.log`, `audit-2.log` and so on, each a chain of its own.
///
/// A file that has become large is put aside as `audit.log.1`, the one before it as `audit.log.2` and so on, and the chain goes
/// on in a new one: see [`AuditRotation`].
///
/// Beside it lies the head of the chain, `audit.head`: it shows that the end of the log was lost, though not to somebody who
/// could change both. Whoever needs that keeps the head elsewhere. It is also what is locked, for it is never put aside.
#[derive(Debug)]
pub struct AuditFile {
    home: Home,
    name: String,
    path: PathBuf,
    file: File,
    head: File,
    log: AuditLog,
    limits: AuditLimits,
    rotation: AuditRotation,
    /// Bytes in the file.
    length: u64,
    /// Lines that could not be written yet, in order.
    waiting: Vec<String>,
    /// Events that never became lines, because too many waited.
    lost: u64,
    /// Something was written since the file was last known to be on disk.
    dirty: bool,
}

impl AuditFile {
    /// Opens the log to go on with it, or begins one. Where the head beside it tells that the log once went on further, because
    /// somebody took its end away or the power failed before that was on disk, the next line says so.
    ///
    /// # Errors
    /// No file can be opened or made, or as many programs as may write already do.
    pub fn open(
        home: &Home,
        limits: AuditLimits,
        rotation: AuditRotation,
        now: UnixTime,
    ) -> Result<Self, KeystoreError> {
        for number in 1..=FILES_MAX {
            let stem = match number {
                1 => "audit".to_owned(),
                number => format!("audit-{number}"),
            };
            let head = home.writable(&format!("{stem}.head"))?;
            if flock(&head, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let name = format!("{stem}.log");
            let file = home.append(&name)?;
            let Some(place) = resumed(home, &name, &file)? else {
                // Somebody changed its end. What is there is evidence, and nothing is written behind it.
                continue;
            };
            let path = home.path_of(&name);
            let lost = kept_head(&path).filter(|kept| !place.has(*kept));
            let mut waiting = Vec::new();
            let mut log = match place {
                Place::Behind(chain) => AuditLog::new(chain, limits),
                Place::NextFile(chain) => {
                    let mut log = AuditLog::new(chain, limits);
                    log.go_on(now, &mut waiting);
                    log
                }
                Place::Nowhere => {
                    let (chain, line) = AuditChain::begin(now);
                    waiting.push(line);
                    AuditLog::new(chain, limits)
                }
            };
            if let Some(kept) = lost {
                log.end_missing(kept, now, &mut waiting);
            }
            let failed = |error| KeystoreError::io("written", &path, error);
            let length = file.metadata().map_err(failed)?.len();
            let mut opened = Self {
                home: home.clone(),
                name,
                path: path.clone(),
                file,
                head,
                log,
                limits,
                rotation,
                length,
                waiting,
                lost: 0,
                dirty: false,
            };
            opened.write().map_err(failed)?;
            return Ok(opened);
        }
        Err(KeystoreError::AuditTaken(home.path_of("audit.log")))
    }

    /// Which file is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records an event. `time` and `now` are the same moment by two clocks.
    ///
    /// # Errors
    /// The file does not take it. The line is kept and written later, before any other; when too many wait, events are counted
    /// instead and the count is recorded. Where a large file cannot be put aside, lines go on being written to it.
    pub fn record(&mut self, event: &AuditEvent<'_>, time: UnixTime, now: Instant) -> io::Result<()> {
        let made_room = self.make_room(time);
        if self.waiting.len() >= WAITING_LINES_MAX {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.log.record(event, time, now, &mut self.waiting);
        }
        self.write().and(made_room)
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

    /// Puts a file aside that has become large, and goes on in a new one.
    fn make_room(&mut self, time: UnixTime) -> io::Result<()> {
        // What waits is a part of the chain already, and belongs to this file.
        self.write()?;
        if self.length == 0 || self.length < self.rotation.file_bytes {
            return Ok(());
        }
        // Once it has another name, nobody here looks at it again.
        self.file.sync_data()?;
        self.dirty = false;
        rotation::put_aside(&self.home, &self.name, self.rotation.older_files).map_err(into_io)?;
        self.file = self.home.append(&self.name).map_err(into_io)?;
        self.length = 0;
        self.log.go_on(time, &mut self.waiting);
        self.write()?;
        self.home.sync(&self.name).map_err(into_io)
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
        self.length = before.saturating_add(text.len() as u64);
        self.dirty = true;
        // The log is ahead of its head if the power fails here, and that is no fault.
        let head = format!("{}\n", self.log.head());
        self.head.write_all_at(head.as_bytes(), 0)?;
        self.head.set_len(head.len() as u64)
    }
}

/// What the file system said; all that comes here is of that kind.
fn into_io(error: KeystoreError) -> io::Error {
    match error {
        KeystoreError::Io { error, .. } => error,
        error => io::Error::other(error),
    }
}

/// The head that was kept beside a log; nothing where there is none that can be read.
pub fn kept_head(log: &Path) -> Option<AuditHead> {
    let text = std::fs::File::open(log.with_extension("head")).ok()?;
    let mut bytes = String::new();
    text.take(HEAD_BYTES_MAX).read_to_string(&mut bytes).ok()?;
    bytes.parse().ok()
}

/// Where the next line goes.
enum Place {
    /// There is no log yet.
    Nowhere,
    /// Behind the last line of this file.
    Behind(AuditChain),
    /// The file has no line yet, and the one before it was put aside.
    NextFile(AuditChain),
}

impl Place {
    /// Whether the log goes on to this head. It may be ahead of it, where its writer died before it wrote the head.
    fn has(&self, kept: AuditHead) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Behind(chain) | Self::NextFile(chain) => {
                let head = chain.head();
                head == kept || head.number > kept.number
            }
        }
    }
}

/// Where the log goes on; nothing when a file does not end in a line of a chain.
fn resumed(home: &Home, name: &str, file: &File) -> Result<Option<Place>, KeystoreError> {
    let read = |name: &str, file: &File| {
        let path = home.path_of(name);
        last_line(&path, file).map_err(|error| KeystoreError::io("read", &path, error))
    };
    let chain = |last: &str| AuditChain::resume(last).ok();
    match read(name, file)? {
        Last::Unclear => return Ok(None),
        Last::Line(last) => return Ok(chain(&last).map(Place::Behind)),
        Last::Nothing => {}
    }
    let Some(before) = rotation::youngest(home, name) else {
        return Ok(Some(Place::Nowhere));
    };
    match read(&before, &home.append(&before)?)? {
        Last::Line(last) => Ok(chain(&last).map(Place::NextFile)),
        // A file is put aside with lines in it.
        Last::Nothing | Last::Unclear => Ok(None),
    }
}

/// How a file ends.
enum Last {
    /// It has no line.
    Nothing,
    /// With this line.
    Line(String),
    /// With something that nobody wrote who writes logs.
    Unclear,
}

/// The last line of a file. Half a line at the end is taken away: a program died while it wrote it, and nobody was told that it
/// was there.
fn last_line(path: &Path, mut file: &File) -> io::Result<Last> {
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
        return Ok(Last::Unclear);
    }
    let last = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or(last);
    let Ok(last) = std::str::from_utf8(last) else {
        return Ok(Last::Unclear);
    };
    if whole > 0 && AuditChain::resume(last).is_err() {
        return Ok(Last::Unclear);
    }
    if !torn.is_empty() {
        let keep = length - torn.len() as u64;
        // Through the file itself: one that is opened to append can still be cut.
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(keep)?;
    }
    Ok(match whole {
        0 => Last::Nothing,
        _ => Last::Line(last.to_owned()),
    })
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
