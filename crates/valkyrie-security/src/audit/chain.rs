//! The chain: each line carries the hash of the one before it and its own.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand;
use thiserror::Error;

use super::event::{AuditEvent, Line};
use super::verify::{AuditFault, AuditFaultKind};
use crate::time::UnixTime;

/// The version of the lines.
pub(super) const VERSION: u64 = 1;

/// The name of the first line's event.
pub(super) const BEGUN: &str = "begun";

/// The name of the event with which each later file of a log begins.
pub(super) const CONTINUED: &str = "continued";

const DOMAIN: &[u8] = b"valkyrie 2 audit\0";

/// What stands between the hashed part of a line and the hash.
const HASH_KEY: &str = ",\"hash\":\"";
const HASH_DIGITS: usize = 64;
const LINE_END: &str = "\"}";

/// Where a chain is: its last line's number and hash. Written `17:` and 64 hexadecimal digits. Kept somewhere else than
/// the log, it tells later that the log's end is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last line; the first one's is 0.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, hex(&self.hash))
    }
}

impl fmt::Debug for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no head of an audit log. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the head of an audit log is written as a number, a colon and 64 hexadecimal digits")]
pub struct AuditHeadError;

impl FromStr for AuditHead {
    type Err = AuditHeadError;

    fn from_str(text: &str) -> Result<Self, AuditHeadError> {
        let (number, hash) = text.trim().split_once(':').ok_or(AuditHeadError)?;
        Ok(Self {
            number: number.parse().map_err(|_| AuditHeadError)?,
            hash: unhex(hash).ok_or(AuditHeadError)?,
        })
    }
}

/// Writes the lines of one log. Every line follows from the one before it, so there is one writer of a log at a time.
#[derive(Debug)]
pub struct AuditChain {
    head: AuditHead,
}

impl AuditChain {
    /// A new chain and its first line. The line carries 16 random bytes, so that no two logs have a line in common.
    pub fn begin(now: UnixTime) -> (Self, String) {
        let mut id = [0; 16];
        // Without randomness the log begins like others of the same millisecond, and is no worse a chain for it.
        let _ = rand::fill(&mut id);
        let mut line = Line::new();
        line.number("v", VERSION);
        line.number("n", 0);
        line.text("time", &now.to_string());
        line.text("event", BEGUN);
        line.text("log", &hex(&id));
        let (hash, line) = finish(line, &[0; 32]);
        let head = AuditHead { number: 0, hash };
        (Self { head }, line)
    }

    /// Goes on behind the last line of a log. What stands before it is not looked at; [`super::verify`] does that.
    ///
    /// # Errors
    /// [`AuditFault`]: it is no whole line of a log, so nothing may be written behind it.
    pub fn resume(last: &str) -> Result<Self, AuditFault> {
        let read = ReadLine::read(last.as_bytes()).map_err(|kind| AuditFault { line: 1, kind })?;
        Ok(Self {
            head: AuditHead {
                number: read.number,
                hash: read.hash,
            },
        })
    }

    /// Goes on behind a line of which only the head is known.
    pub const fn resume_at(head: AuditHead) -> Self {
        Self { head }
    }

    /// The line for an event, without a line feed. It is part of the chain from now on: it has to be written before the
    /// next one.
    pub fn append(&mut self, event: &AuditEvent<'_>, now: UnixTime) -> String {
        self.line(event.name(), now, |line| event.write(line))
    }

    /// The line with which a further file of the log begins, without a line feed: so a file that lost its first lines is told
    /// from one that begins here.
    pub fn go_on(&mut self, now: UnixTime) -> String {
        self.line(CONTINUED, now, |_| {})
    }

    /// The line that says that the log once went on to `kept`, which is not there any more; without a line feed. Otherwise going
    /// on with a log would hide that its end was taken away.
    pub fn end_missing(&mut self, kept: AuditHead, now: UnixTime) -> String {
        self.line("end_missing", now, |line| line.text("kept", &kept.to_string()))
    }

    /// Where the chain is.
    pub const fn head(&self) -> AuditHead {
        self.head
    }

    pub(super) fn line(&mut self, event: &str, now: UnixTime, write: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::new();
        let number = self.head.number.saturating_add(1);
        line.number("v", VERSION);
        line.number("n", number);
        line.text("time", &now.to_string());
        line.text("event", event);
        write(&mut line);
        let (hash, line) = finish(line, &self.head.hash);
        self.head = AuditHead { number, hash };
        line
    }
}

fn finish(mut line: Line, previous: &[u8; 32]) -> ([u8; 32], String) {
    line.text("prev", &hex(previous));
    let hash = hash(line.json.as_bytes());
    line.json.push_str(HASH_KEY);
    line.json.push_str(&hex(&hash));
    line.json.push_str(LINE_END);
    (hash, line.json)
}

fn hash(covered: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(covered);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a line says about its place in the chain.
pub(super) struct ReadLine {
    pub(super) number: u64,
    pub(super) event: String,
    pub(super) time: String,
    pub(super) previous: [u8; 32],
    pub(super) hash: [u8; 32],
}

impl ReadLine {
    /// Reads a line whose own hash is right.
    pub(super) fn read(line: &[u8]) -> Result<Self, AuditFaultKind> {
        if line.len() > super::verify::LINE_BYTES_MAX {
            return Err(AuditFaultKind::TooLong);
        }
        let (covered, claimed) = split(line).ok_or(AuditFaultKind::NoLine)?;
        if hash(covered) != claimed {
            return Err(AuditFaultKind::Edited);
        }
        // From here on the line is as somebody wrote it who can hash; that it is one of ours is still to be seen.
        let json: serde_json::Value = serde_json::from_slice(line).map_err(|_| AuditFaultKind::NoLine)?;
        let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
        let number = |key: &str| json.get(key).and_then(serde_json::Value::as_u64);
        if number("v") != Some(VERSION) {
            return Err(AuditFaultKind::Version);
        }
        let read = || {
            Some(Self {
                number: number("n")?,
                event: text("event")?.to_owned(),
                time: text("time")?.to_owned(),
                previous: unhex(text("prev")?)?,
                hash: claimed,
            })
        };
        read().ok_or(AuditFaultKind::NoLine)
    }

    /// Whether a log that begins with this line can say something about a head that was kept.
    pub(super) fn may_begin(&self, kept: AuditHead) -> Result<(), AuditFaultKind> {
        match self.number.saturating_sub(kept.number) {
            0 => Ok(()),
            1 if kept.hash == self.previous => Ok(()),
            1 => Err(AuditFaultKind::OtherLog),
            _ => Err(AuditFaultKind::HeadRemoved { number: kept.number }),
        }
    }
}

/// The part of a line that its hash covers, and the hash.
fn split(line: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let rest = line.strip_suffix(LINE_END.as_bytes())?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(HASH_DIGITS)?)?;
    let covered = rest.strip_suffix(HASH_KEY.as_bytes())?;
    Some((covered, unhex(std::str::from_utf8(digits).ok()?)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Small letters only: a hash is written in one way.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
