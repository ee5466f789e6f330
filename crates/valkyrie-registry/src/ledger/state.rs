//! What a ledger holds at one revision, as a value: cloned for the price of reference counts, read without locks.
//!
//! Both maps are persistent trees. A change copies the path to what it changes, some twenty nodes of a hundred thousand
//! entries, and shares the rest with whoever holds an earlier state. A renewal changes neither.

use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::Bounds;
use crate::store::{Change, Entry, Event, Revision};
use crate::{Key, Moment, Prefix};

/// Entries and kept changes at one revision.
#[derive(Clone, Debug, Default)]
pub struct State {
    entries: RedBlackTreeMapSync<Key, Arc<Entry>>,
    history: RedBlackTreeMapSync<Revision, Arc<Change>>,
    history_events: usize,
    history_bytes: usize,
    revision: Revision,
    compacted: Revision,
    at: Moment,
}

impl State {
    /// The last change in it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Changes up to here, inclusive, are no longer kept.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The ledger's time when this was its state.
    pub fn at(&self) -> Moment {
        self.at
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is at a key.
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Every entry, ascending by key.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Up to `max` entries of a prefix that come after a key, ascending.
    pub fn page(&self, prefix: &Prefix, after: Option<&Key>, max: usize) -> Vec<Arc<Entry>> {
        let from = match after {
            Some(key) => Bound::Excluded(key.as_str()),
            None => Bound::Included(prefix.as_str()),
        };
        self.entries
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| prefix.covers(&entry.key))
            .take(max)
            .cloned()
            .collect()
    }

    /// Up to `max` changes after a revision, ascending, each with the events that the prefix covers and none without any;
    /// and the revision up to which that is everything.
    ///
    /// # Errors
    /// [`Compacted`]: changes after the revision are no longer kept.
    pub fn changes(
        &self,
        prefix: &Prefix,
        after: Revision,
        max: usize,
    ) -> Result<(Vec<Arc<Change>>, Revision), Compacted> {
        if after < self.compacted {
            return Err(Compacted {
                oldest: self.compacted,
            });
        }
        let mut changes = Vec::new();
        for (revision, change) in self.history.range((Bound::Excluded(after), Bound::Unbounded)) {
            let covered = change
                .events
                .iter()
                .filter(|event| prefix.covers(event.key()))
                .count();
            if covered == change.events.len() {
                changes.push(Arc::clone(change));
            } else if covered > 0 {
                let events = change.events.iter().filter(|event| prefix.covers(event.key()));
                changes.push(Arc::new(Change {
                    revision: *revision,
                    events: events.cloned().collect(),
                }));
            }
            if changes.len() >= max {
                return Ok((changes, *revision));
            }
        }
        Ok((changes, self.revision.max(after)))
    }

    /// Every change that is kept, ascending.
    pub fn history(&self) -> impl Iterator<Item = &Arc<Change>> {
        self.history.values()
    }

    pub(super) fn set_at(&mut self, at: Moment) {
        self.at = at;
    }

    pub(super) fn resume_at(&mut self, revision: Revision, compacted: Revision) {
        (self.revision, self.compacted) = (revision, compacted);
    }

    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        self.entries.insert_mut(entry.key.clone(), entry);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key)?.clone();
        self.entries.remove_mut(key);
        Some(entry)
    }

    pub(super) fn record(&mut self, change: Arc<Change>) {
        self.revision = change.revision;
        self.history_events += change.events.len();
        self.history_bytes += bytes(&change);
        self.history.insert_mut(change.revision, change);
    }

    /// Forgets the oldest changes until the rest is within the bounds. The last one stays whatever its size.
    pub(super) fn trim(&mut self, bounds: &Bounds) -> Option<Revision> {
        let mut compacted = None;
        while (self.history_events > bounds.history_events_max
            || self.history_bytes > bounds.history_bytes_max)
            && self.history.size() > 1
        {
            compacted = self.forget_oldest();
        }
        compacted
    }

    /// Forgets changes up to a revision. Up to where they are gone now, if that is news.
    pub(super) fn compact(&mut self, upto: Revision) -> Option<Revision> {
        let upto = upto.min(self.revision);
        if upto <= self.compacted {
            return None;
        }
        while self
            .history
            .first()
            .is_some_and(|(revision, _)| *revision <= upto)
        {
            self.forget_oldest();
        }
        self.compacted = upto;
        Some(upto)
    }

    fn forget_oldest(&mut self) -> Option<Revision> {
        let (revision, change) = self.history.first()?;
        let revision = *revision;
        self.history_events -= change.events.len();
        self.history_bytes -= bytes(change);
        self.history.remove_mut(&revision);
        self.compacted = revision;
        Some(revision)
    }

    pub(super) fn invariants(&self, bounds: &Bounds) {
        assert!(self.compacted <= self.revision);
        let events: usize = self.history().map(|change| change.events.len()).sum();
        assert_eq!(events, self.history_events);
        assert_eq!(
            self.history().map(|change| bytes(change)).sum::<usize>(),
            self.history_bytes
        );
        assert!(self.history_events <= bounds.history_events_max || self.history.size() <= 1);
        let mut last = self.compacted;
        for change in self.history() {
            assert_eq!(change.revision, last.next(), "history has a gap");
            last = change.revision;
        }
        assert_eq!(last, self.revision);
    }
}

/// What an event costs to keep.
fn bytes(change: &Change) -> usize {
    let of = |event: &Event| match event {
        Event::Put(entry) => entry.key.as_str().len() + entry.value.len(),
        Event::Deleted { key, .. } => key.as_str().len(),
    };
    change.events.iter().map(of).sum()
}

/// The changes that were asked for are no longer kept: list anew and go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Changes after this revision are kept.
    pub oldest: Revision,
}
