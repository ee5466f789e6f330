//! From the messages of a stream to changes that are whole.
//!
//! etcd sends a revision's events together, and cuts a message that is too large: all parts but the last say that more comes. A
//! change is whole when an event of a later revision has come, or the last part has.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use etcd_client::proto::{PbEvent, PbWatchResponse};

use super::place::{Found, Place, folder};
use crate::store::{Cause, Change, Event, Revision, StoreError};

/// Puts changes together.
#[derive(Debug)]
pub(super) struct Changes {
    place: Place,
    /// Everything up to here has come whole.
    seen: Revision,
    /// Events of one revision, of which there may be more.
    part: Vec<PbEvent>,
}

impl Changes {
    /// Those after a revision.
    pub(super) fn after(place: Place, seen: Revision) -> Self {
        Self {
            place,
            seen,
            part: Vec::new(),
        }
    }

    /// Up to here everything has come.
    pub(super) fn seen(&self) -> Revision {
        self.seen
    }

    /// The stream broke: what is not whole comes again.
    pub(super) fn forget_parts(&mut self) {
        self.part.clear();
    }

    /// Takes a message, of which the header says `revision`, and adds the changes that are whole now.
    pub(super) fn take(
        &mut self,
        message: PbWatchResponse,
        revision: Revision,
        whole: &mut VecDeque<Arc<Change>>,
    ) -> Result<(), StoreError> {
        let says_how_far = message.events.is_empty() && !message.created && !message.fragment;
        for event in message.events {
            let at = revision_of(&event)?;
            match self.part.last().map(revision_of).transpose()? {
                Some(before) if at < before => {
                    return Err(StoreError::Broken(format!("change {at} comes after {before}")));
                }
                Some(before) if at > before => self.finish(whole)?,
                _ => {}
            }
            // A stream begins with what was seen already.
            if at > self.seen {
                if self.part.len() >= CHANGE_EVENTS_MAX {
                    let reason = format!("change {at} has more than {CHANGE_EVENTS_MAX} events");
                    return Err(StoreError::Broken(reason));
                }
                self.part.push(event);
            }
        }
        if !message.fragment {
            self.finish(whole)?;
        }
        // Of a message with events the revision says how far etcd is, and not how far this stream has come.
        if says_how_far {
            self.seen = self.seen.max(revision);
        }
        Ok(())
    }

    /// What has come of a revision is all of it.
    fn finish(&mut self, whole: &mut VecDeque<Arc<Change>>) -> Result<(), StoreError> {
        let part = std::mem::take(&mut self.part);
        let Some(first) = part.first() else { return Ok(()) };
        let revision = revision_of(first)?;
        let mut marked = HashSet::new();
        for event in &part {
            if event.r#type == PUT
                && let Some(pair) = &event.kv
                && let Found::Mark(folder) = self.place.found(&pair.key)?
            {
                marked.insert(folder.to_owned());
            }
        }
        let mut events = Vec::with_capacity(part.len());
        for event in part {
            let Some(pair) = event.kv else { continue };
            match event.r#type {
                PUT => events.extend(self.place.entry(pair)?.map(Event::Put)),
                DELETE => {
                    if let Found::Key(key) = self.place.found(&pair.key)? {
                        let cause = match marked.contains(folder(&key)) {
                            true => Cause::Deleted,
                            false => Cause::LeaseEnded,
                        };
                        events.push(Event::Deleted { key, cause });
                    }
                }
                other => {
                    let reason = format!("change {revision} has an event of kind {other}");
                    return Err(StoreError::Broken(reason));
                }
            }
        }
        self.seen = revision;
        // A revision of marks alone is no change of the store's.
        if !events.is_empty() {
            whole.push_back(Arc::new(Change { revision, events }));
        }
        Ok(())
    }
}

fn revision_of(event: &PbEvent) -> Result<Revision, StoreError> {
    let number = event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(Revision::new(number)),
        _ => Err(StoreError::Broken("an event has no revision".to_owned())),
    }
}

/// Kinds of events.
const PUT: i32 = 0;
const DELETE: i32 = 1;
/// Events of one change: as many as a large store has entries, should they all go with one lease.
const CHANGE_EVENTS_MAX: usize = 1_000_000;

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
