//! Looks whether a log is as it was written.

use std::collections::BTreeMap;

use thiserror::Error;

use super::chain::{AuditHead, BEGUN, CONTINUED, ReadLine};

/// Bytes of a line. What is written is a fifth of it at most.
pub(super) const LINE_BYTES_MAX: usize = 16 << 10;

/// Names of events that are told apart in a summary; a log that was made up may have any number.
const EVENTS_MAX: usize = 64;

/// What a log that is whole says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditSummary {
    /// The number of the first line that is there, which is how many are missing before it: 0 unless the oldest files of the
    /// log were removed and [`AuditVerifier::without_oldest`] lets that pass.
    pub begins: u64,
    /// Where it ends. Kept somewhere else, it shows later whether the end is still there.
    pub head: AuditHead,
    /// When the first line was written, as its writer said.
    pub first: String,
    /// When the last line was written, as its writer said.
    pub last: String,
    /// How many lines there are of each event.
    pub events: BTreeMap<String, u64>,
}

/// The line of a log that is not as it was written. What stands before it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} of the audit log: {kind}")]
pub struct AuditFault {
    /// The line of the file, from 1. Where the end is missing, the line behind the last.
    pub line: u64,
    /// What is wrong.
    pub kind: AuditFaultKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuditFaultKind {
    /// It is no line of an audit log, or half of one.
    #[error("it is no whole line of an audit log")]
    NoLine,
    /// It is longer than any that is written.
    #[error("it is longer than any line that is written")]
    TooLong,
    /// It is of another version.
    #[error("it is of a version that is not known here")]
    Version,
    /// It is not what its hash says.
    #[error("it was changed: it does not have the hash that it carries")]
    Edited,
    /// The log does not begin with its first line.
    #[error("the beginning is missing: a log begins with line number 0")]
    NoBeginning,
    /// Lines are missing before it.
    #[error("{missing} lines are missing before it")]
    Missing {
        /// How many.
        missing: u64,
    },
    /// It was put in, moved or doubled.
    #[error("it does not belong here: number {found} where {expected} was to come")]
    Misplaced {
        /// The number that it carries.
        found: u64,
        /// The number that was to come.
        expected: u64,
    },
    /// It follows another line than the one before it.
    #[error("it was written behind another line than the one that stands before it")]
    Unchained,
    /// The end is missing.
    #[error("the end is missing: the log goes on to line number {number}, says the head that was kept")]
    Truncated {
        /// The number that the kept head names.
        number: u64,
    },
    /// The log is another one than the head was taken of.
    #[error("this is another log than the one whose head was kept, or it was written anew")]
    OtherLog,
    /// The line that the kept head names was in a file that was removed.
    #[error(
        "the head that was kept is of line number {number}, and the log begins behind it: nothing ties what is left to that head"
    )]
    HeadRemoved {
        /// The number that the kept head names.
        number: u64,
    },
    /// There is nothing.
    #[error("the log is empty")]
    Empty,
}

/// Looks at a log line by line, as they are read.
#[derive(Debug, Default)]
pub struct AuditVerifier {
    kept: Option<AuditHead>,
    without_oldest: bool,
    lines: u64,
    so_far: Option<AuditSummary>,
}

impl AuditVerifier {
    /// `kept` is the head that was kept when the log was known to be whole. The log may have grown since.
    pub fn new(kept: Option<AuditHead>) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// Lets a log pass whose oldest files were removed: the first line has to be one with which a file begins, and may have
    /// any number. Who looks at the summary says so, see [`AuditSummary::begins`].
    #[must_use]
    pub fn without_oldest(mut self) -> Self {
        self.without_oldest = true;
        self
    }

    /// The next line, without its line feed.
    ///
    /// # Errors
    /// [`AuditFault`]: the log is not as it was written. Later lines say nothing any more.
    pub fn line(&mut self, line: &[u8]) -> Result<(), AuditFault> {
        self.lines = self.lines.saturating_add(1);
        let fault = |kind| AuditFault {
            line: self.lines,
            kind,
        };
        let read = ReadLine::read(line).map_err(fault)?;
        let (expected, previous) = match &self.so_far {
            Some(summary) => (summary.head.number.saturating_add(1), summary.head.hash),
            None if read.number == 0 && read.event == BEGUN => (0, [0; 32]),
            None if self.without_oldest && read.number > 0 && read.event == CONTINUED => {
                if let Some(kept) = self.kept {
                    read.may_begin(kept).map_err(fault)?;
                }
                (read.number, read.previous)
            }
            None => return Err(fault(AuditFaultKind::NoBeginning)),
        };
        if read.number > expected {
            let missing = read.number - expected;
            return Err(fault(AuditFaultKind::Missing { missing }));
        }
        if read.number < expected {
            let found = read.number;
            return Err(fault(AuditFaultKind::Misplaced { found, expected }));
        }
        if read.previous != previous {
            return Err(fault(AuditFaultKind::Unchained));
        }
        if self
            .kept
            .is_some_and(|kept| kept.number == read.number && kept.hash != read.hash)
        {
            return Err(fault(AuditFaultKind::OtherLog));
        }
        let head = AuditHead {
            number: read.number,
            hash: read.hash,
        };
        let summary = self.so_far.get_or_insert_with(|| AuditSummary {
            begins: read.number,
            head,
            first: read.time.clone(),
            last: String::new(),
            events: BTreeMap::new(),
        });
        (summary.head, summary.last) = (head, read.time);
        if summary.events.len() < EVENTS_MAX || summary.events.contains_key(&read.event) {
            let count = summary.events.entry(read.event).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// The end of the log.
    ///
    /// # Errors
    /// [`AuditFault`]: there is nothing, or the end is missing.
    pub fn finish(self) -> Result<AuditSummary, AuditFault> {
        let line = self.lines.saturating_add(1);
        let summary = self.so_far.ok_or(AuditFault {
            line,
            kind: AuditFaultKind::Empty,
        })?;
        match self.kept {
            Some(kept) if kept.number > summary.head.number => Err(AuditFault {
                line,
                kind: AuditFaultKind::Truncated { number: kept.number },
            }),
            _ => Ok(summary),
        }
    }
}

/// Looks at the lines of a log, given without their line feeds, and at the head that was kept of it, if one was.
///
/// # Errors
/// [`AuditFault`] names the first line that is not as it was written.
pub fn verify<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    kept: Option<AuditHead>,
) -> Result<AuditSummary, AuditFault> {
    let mut verifier = AuditVerifier::new(kept);
    for line in lines {
        verifier.line(line.as_ref())?;
    }
    verifier.finish()
}
