//! What was last seen of each agent, kept past its end, so that an old record is known for one.
//!
//! A mark is kept until the record that made it has ended, after which that record and all before it are refused by their own
//! end. So there are as many marks as agents that wrote within the lifetime of a record.

use std::collections::{BTreeSet, HashMap};

use aws_lc_rs::digest::{self, SHA256};
use valkyrie_security::UnixTime;

use crate::agent::{AgentId, Incarnation};
use crate::record::Record;

#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: HashMap<AgentId, Mark>,
    ends: BTreeSet<(UnixTime, AgentId)>,
}

#[derive(Debug)]
struct Mark {
    numbers: (Incarnation, u64),
    digest: [u8; 32],
    /// The latest end of any record that was seen: an earlier record may be good for longer than a later one.
    not_after: UnixTime,
}

/// A record beside what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Later than everything.
    Newer,
    /// As old as what was seen, or older.
    Old,
    /// Of the number of what was seen, and not what was seen.
    Another,
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn compare(&self, record: &Record) -> Seen {
        let Some(mark) = self.marks.get(record.id()) else {
            return Seen::Newer;
        };
        let numbers = (record.incarnation(), record.sequence());
        if numbers > mark.numbers {
            return Seen::Newer;
        }
        match numbers == mark.numbers && digest(record) != mark.digest {
            true => Seen::Another,
            false => Seen::Old,
        }
    }

    pub(super) fn note(&mut self, record: &Record) {
        let before = self.marks.get(record.id()).map(|mark| mark.not_after);
        let not_after = record.not_after().max(before.unwrap_or(UnixTime::EPOCH));
        let mark = Mark {
            numbers: (record.incarnation(), record.sequence()),
            digest: digest(record),
            not_after,
        };
        if let Some(before) = before {
            self.ends.remove(&(before, record.id().clone()));
        }
        self.ends.insert((not_after, record.id().clone()));
        self.marks.insert(record.id().clone(), mark);
    }

    pub(super) fn forget_before(&mut self, now: UnixTime) {
        while let Some((end, _)) = self.ends.first()
            && *end <= now
        {
            if let Some((_, id)) = self.ends.pop_first() {
                self.marks.remove(&id);
            }
        }
    }
}

fn digest(record: &Record) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&SHA256, record.as_bytes()).as_ref());
    bytes
}
