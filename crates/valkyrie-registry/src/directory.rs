//! What a reader makes of a store: the agents whose records are good, indexed, as snapshots that are read without locks.
//!
//! A directory believes a store about revisions, leases and absence, and about nothing else. Each record is verified; one that
//! is not the agent's, is older than what was seen of that agent, or is past its time is refused, counted and reported, and
//! what was known before stays. It is a state machine: entries and times come in, events and snapshots come out.
//!
//! Read [`Directory::apply`] first, then [`Snapshot::find`].

mod marks;
mod set;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use valkyrie_security::UnixTime;

pub use self::snapshot::{Found, Member, Snapshot};

use self::marks::{Marks, Seen};
use crate::Key;
use crate::agent::{AgentId, Description, Incarnation, Word};
use crate::record::{Record, RecordError};
use crate::store::{Cause, Change, Entry, Event, Revision};

/// The agents of a cluster, as one reader sees them.
pub struct Directory {
    cluster: Word,
    vetting: Option<Arc<dyn Vetting>>,
    snapshot: Snapshot,
    marks: Marks,
    /// When the records of those who are here end.
    ends: BTreeSet<(UnixTime, AgentId)>,
    refused: u64,
    events: VecDeque<DirectoryEvent>,
}

/// Decides which agents may say what they say: a record proves who said it, not that they may.
pub trait Vetting: Send + Sync + 'static {
    /// Whether the owner of this agent may describe it so.
    fn admits(&self, id: &AgentId, description: &Description) -> bool;
}

impl<F: Fn(&AgentId, &Description) -> bool + Send + Sync + 'static> Vetting for F {
    fn admits(&self, id: &AgentId, description: &Description) -> bool {
        self(id, description)
    }
}

/// What happened to the agents of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryEvent {
    /// An agent is here that was not.
    Registered(Arc<Member>),
    /// An agent says something else about itself.
    Updated {
        /// What was known before.
        before: Arc<Member>,
        /// What is known now.
        after: Arc<Member>,
    },
    /// An agent is here in a new life; its former self ended unseen.
    Replaced {
        /// Its former self.
        before: Arc<Member>,
        /// Its new one.
        after: Arc<Member>,
    },
    /// An agent is here no more.
    Gone {
        /// What was known of it last.
        before: Arc<Member>,
        /// Why.
        cause: GoneCause,
    },
    /// The store gave a record that was not taken. What was known of the agent before stays.
    Refused {
        /// Where it lay.
        key: Key,
        /// At which revision.
        revision: Revision,
        /// Why.
        fault: RecordFault,
    },
}

/// Why an agent is here no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoneCause {
    /// Its entry is gone from the store.
    Store(Cause),
    /// Its record has come to its end, and it has not written another.
    RecordEnded,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// It is no record, or was not signed by the agent whose place it lies at: the store, or whoever wrote there, is at fault.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A later record of the agent was seen before, or it has ended since: the store shows an old one.
    #[error("the record is old: incarnation {incarnation}, sequence {sequence}")]
    Replayed {
        /// Its incarnation.
        incarnation: Incarnation,
        /// Its sequence.
        sequence: u64,
    },
    /// The agent signed two records of the same number.
    #[error("the agent signed two records of incarnation {incarnation}, sequence {sequence}")]
    Equivocated {
        /// The incarnation.
        incarnation: Incarnation,
        /// The sequence.
        sequence: u64,
    },
    /// It ended before it was seen.
    #[error("the record ended at {0}")]
    Ended(UnixTime),
    /// It is good for longer than any may be.
    #[error("the record is good until {0}, for longer than any may be")]
    TooLong(UnixTime),
    /// Its owner may not say this.
    #[error("the agent may not describe itself so")]
    NotAdmitted,
}

impl Directory {
    /// An empty one, for the records of a cluster.
    pub fn new(cluster: Word) -> Self {
        Self {
            cluster,
            vetting: None,
            snapshot: Snapshot::default(),
            marks: Marks::default(),
            ends: BTreeSet::new(),
            refused: 0,
            events: VecDeque::new(),
        }
    }

    /// Taking only what this admits. Without it, whoever has an identity may register as anything, and it is for those who
    /// dial to decide whom they believe.
    #[must_use]
    pub fn with_vetting(mut self, vetting: impl Vetting) -> Self {
        self.vetting = Some(Arc::new(vetting));
        self
    }

    /// Takes a whole list of the store in place of what was known. What is missing from it is gone.
    pub fn reset(&mut self, now: UnixTime, entries: &[Arc<Entry>], revision: Revision) {
        let listed: HashSet<AgentId> = entries
            .iter()
            .filter_map(|entry| AgentId::from_key(&entry.key))
            .collect();
        let missing: Vec<AgentId> = self
            .snapshot
            .members()
            .map(|member| member.record().id().clone())
            .filter(|id| !listed.contains(id))
            .collect();
        for id in missing {
            self.gone(&id, GoneCause::Store(Cause::Unseen));
        }
        for entry in entries {
            self.put(now, entry);
        }
        self.snapshot.set_revision(revision);
        self.handle_timeout(now);
    }

    /// Takes the next change.
    pub fn apply(&mut self, now: UnixTime, change: &Change) {
        for event in &change.events {
            match event {
                Event::Put(entry) => self.put(now, entry),
                Event::Deleted { key, cause } => {
                    if let Some(id) = AgentId::from_key(key) {
                        self.gone(&id, GoneCause::Store(*cause));
                    }
                }
            }
        }
        self.snapshot.set_revision(change.revision);
        self.handle_timeout(now);
    }

    /// Notes that the store has come this far and had nothing to say.
    pub fn advance(&mut self, revision: Revision) {
        self.snapshot.set_revision(revision);
    }

    /// Lets go of those whose records have ended.
    pub fn handle_timeout(&mut self, now: UnixTime) {
        while let Some((end, id)) = self.ends.first() {
            if *end > now {
                break;
            }
            let id = id.clone();
            self.gone(&id, GoneCause::RecordEnded);
        }
        self.marks.forget_before(now);
    }

    /// When the next record ends, if any does.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<DirectoryEvent> {
        self.events.pop_front()
    }

    /// Who is here now: a handful of reference counts.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// How many records were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether index and members agree. Tests ask after every step.
    ///
    /// # Panics
    /// When they do not.
    pub fn invariants(&self) {
        self.snapshot.invariants();
        assert_eq!(self.ends.len(), self.snapshot.len());
        for (end, id) in &self.ends {
            let member = self.snapshot.get(id);
            assert_eq!(member.map(|member| member.record().not_after()), Some(*end));
        }
        assert!(self.marks.len() >= self.snapshot.len());
    }

    fn put(&mut self, now: UnixTime, entry: &Arc<Entry>) {
        let held = AgentId::from_key(&entry.key)
            .and_then(|id| self.snapshot.get(&id))
            .cloned();
        // The bytes of what is held were verified; a list that brings them again costs no signature check.
        if let Some(held) = &held
            && held.record().as_bytes() == &entry.value
        {
            if held.modified() != entry.modified {
                self.snapshot.insert(Arc::new(held.moved_to(entry)));
            }
            return;
        }
        match self.verify(now, entry) {
            Ok(record) => self.insert(held, record, entry),
            Err(fault) => {
                self.refused += 1;
                self.events.push_back(DirectoryEvent::Refused {
                    key: entry.key.clone(),
                    revision: entry.modified,
                    fault,
                });
            }
        }
    }

    fn verify(&mut self, now: UnixTime, entry: &Entry) -> Result<Record, RecordFault> {
        let record = Record::open(&self.cluster, &entry.key, &entry.value)?;
        if record.not_after() <= now {
            return Err(RecordFault::Ended(record.not_after()));
        }
        if record.not_after() > now.saturating_add(RECORD_LIFETIME_MAX).saturating_add(CLOCK_SKEW) {
            return Err(RecordFault::TooLong(record.not_after()));
        }
        let (incarnation, sequence) = (record.incarnation(), record.sequence());
        match self.marks.compare(&record) {
            Seen::Newer => {}
            Seen::Old => {
                return Err(RecordFault::Replayed {
                    incarnation,
                    sequence,
                });
            }
            Seen::Another => {
                return Err(RecordFault::Equivocated {
                    incarnation,
                    sequence,
                });
            }
        }
        let vetting = self.vetting.as_ref();
        if !vetting.is_none_or(|vetting| vetting.admits(record.id(), record.description())) {
            return Err(RecordFault::NotAdmitted);
        }
        Ok(record)
    }

    fn insert(&mut self, held: Option<Arc<Member>>, record: Record, entry: &Entry) {
        self.marks.note(&record);
        let after = Arc::new(Member::new(record, entry));
        self.ends
            .insert((after.record().not_after(), after.record().id().clone()));
        self.snapshot.insert(Arc::clone(&after));
        self.events.push_back(match held {
            None => DirectoryEvent::Registered(after),
            Some(before) => {
                let (was, is) = (before.record(), after.record());
                if was.not_after() != is.not_after() {
                    self.ends.remove(&(was.not_after(), was.id().clone()));
                }
                match was.incarnation() == is.incarnation() {
                    true => DirectoryEvent::Updated { before, after },
                    false => DirectoryEvent::Replaced { before, after },
                }
            }
        });
    }

    fn gone(&mut self, id: &AgentId, cause: GoneCause) {
        if let Some(before) = self.snapshot.remove(id) {
            self.ends.remove(&(before.record().not_after(), id.clone()));
            self.events.push_back(DirectoryEvent::Gone { before, cause });
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("cluster", &self.cluster)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

/// How long a record may be good: until then, and no longer, a reader that has just started can be shown one that is old.
//= protocol/registry.md#readers
pub const RECORD_LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// By how much clocks of honest machines may differ, as for identity documents.
const CLOCK_SKEW: Duration = Duration::from_secs(90);
