//! What a registry sends on the streams of a listing and of a watch, cut to messages of a size that many slow clients can be sent at once.

use std::sync::Arc;

use bytes::Bytes;
use valkyrie_registry::store::{Answer, Batch, Cause, Change, Event, Page, Revision, WatchError};
use valkyrie_registry::wire::{Reader, Writer};

use super::parts::{
    certificate, entry, entry_bytes, head, key, put_certificate, put_entry, put_head, put_key, revision,
};
use super::{MESSAGE_BYTES_AIM, MESSAGE_BYTES_MAX, WireError};

/// A message of a listing. The first is [`ListMessage::Begun`], those after it are pages; the end of the stream is the end of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListMessage {
    /// At which revision everything in it is.
    Begun(Answer<()>),
    /// The next entries, ascending, at least one.
    Page(Page),
}

impl ListMessage {
    /// The payload.
    ///
    /// # Errors
    /// [`WireError`]: the store answers what no store may.
    //= protocol/registry.md#listings
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let mut out = Writer::default();
        match self {
            Self::Begun(answer) => {
                out.u8(BEGUN);
                put_head(&mut out, answer);
            }
            Self::Page(page) => {
                out.u8(PART);
                put_certificate(&mut out, &page.certificate);
                out.count("entries", page.entries.len(), PARTS_MAX);
                page.entries.iter().for_each(|entry| put_entry(&mut out, entry));
            }
        }
        out.finish("message", MESSAGE_BYTES_MAX)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`WireError`]: the registry is at fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("message", bytes, MESSAGE_BYTES_MAX)?;
        let message = match reader.u8()? {
            BEGUN => Self::Begun(head(&mut reader)?),
            PART => {
                let certificate = certificate(&mut reader)?;
                let count = reader.count("entries", PARTS_MAX)?;
                let entries = (0..count).map(|_| entry(&mut reader));
                let entries = entries.collect::<Result<Vec<_>, _>>()?;
                if entries.is_empty() || !entries.is_sorted_by(|a, b| a.key < b.key) {
                    return Err(WireError::Field("page"));
                }
                Self::Page(Page { entries, certificate })
            }
            _ => return Err(WireError::Field("kind of message")),
        };
        reader.end()?;
        Ok(message)
    }

    /// A page as messages of about [`MESSAGE_BYTES_AIM`] bytes.
    pub fn cut(page: Page) -> impl Iterator<Item = Self> {
        let certificate = page.certificate;
        cut(page.entries, |entry| entry_bytes(entry)).map(move |entries| {
            let certificate = certificate.clone();
            Self::Page(Page { entries, certificate })
        })
    }
}

/// A message of a watch. The first is [`WatchMessage::Begun`] or [`WatchMessage::Ended`], and nothing comes after the latter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchMessage {
    /// Changes follow, as they come.
    Begun,
    /// The next changes.
    Batch(Batch),
    /// The watch cannot go on from where it is.
    Ended(WatchEnd),
}

/// Why a watch cannot go on: whoever watches lists anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The changes that were to come next are no longer kept; those after this are.
    Compacted(Revision),
    /// Later changes were seen than there are; the store is at this one.
    Behind(Revision),
}

impl From<WatchEnd> for WatchError {
    fn from(end: WatchEnd) -> Self {
        match end {
            WatchEnd::Compacted(oldest) => Self::Compacted { oldest },
            WatchEnd::Behind(revision) => Self::Behind { revision },
        }
    }
}

impl WatchMessage {
    /// The payload.
    ///
    /// # Errors
    /// [`WireError`]: the store answers what no store may.
    //= protocol/registry.md#watches
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let mut out = Writer::default();
        match self {
            Self::Begun => out.u8(BEGUN),
            Self::Batch(batch) => {
                out.u8(PART);
                out.u64(batch.revision.number());
                put_certificate(&mut out, &batch.certificate);
                out.count("changes", batch.changes.len(), PARTS_MAX);
                batch
                    .changes
                    .iter()
                    .for_each(|change| put_change(&mut out, change));
            }
            Self::Ended(WatchEnd::Compacted(oldest)) => {
                out.u8(COMPACTED);
                out.u64(oldest.number());
            }
            Self::Ended(WatchEnd::Behind(revision)) => {
                out.u8(BEHIND);
                out.u64(revision.number());
            }
        }
        out.finish("message", MESSAGE_BYTES_MAX)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`WireError`]: the registry is at fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("message", bytes, MESSAGE_BYTES_MAX)?;
        let message = match reader.u8()? {
            BEGUN => Self::Begun,
            PART => {
                let upto = revision(&mut reader)?;
                let certificate = certificate(&mut reader)?;
                let count = reader.count("changes", PARTS_MAX)?;
                let changes = (0..count).map(|_| change(&mut reader));
                let changes = changes.collect::<Result<Vec<_>, _>>()?;
                let last = changes.last().map_or(Revision::NONE, |change| change.revision);
                if !changes.is_sorted_by(|a, b| a.revision < b.revision) || last > upto {
                    return Err(WireError::Field("order of changes"));
                }
                Self::Batch(Batch {
                    changes,
                    revision: upto,
                    certificate,
                })
            }
            COMPACTED => Self::Ended(WatchEnd::Compacted(revision(&mut reader)?)),
            BEHIND => Self::Ended(WatchEnd::Behind(revision(&mut reader)?)),
            _ => return Err(WireError::Field("kind of message")),
        };
        reader.end()?;
        Ok(message)
    }

    /// A batch as messages of about [`MESSAGE_BYTES_AIM`] bytes, each change whole.
    pub fn cut(batch: Batch) -> Vec<Self> {
        let Batch {
            changes,
            revision,
            certificate,
        } = batch;
        let mut batches: Vec<Batch> = cut(changes, |change| change_bytes(change))
            .map(|changes| Batch {
                revision: changes.last().map_or(revision, |change| change.revision),
                changes,
                certificate: certificate.clone(),
            })
            .collect();
        match batches.last_mut() {
            // Nothing is missing up to where the whole batch came, which may be further than its last change.
            Some(last) => last.revision = revision,
            None => batches.push(Batch {
                changes: Vec::new(),
                revision,
                certificate,
            }),
        }
        batches.into_iter().map(Self::Batch).collect()
    }
}

fn put_change(out: &mut Writer, change: &Change) {
    out.u64(change.revision.number());
    out.count("events", change.events.len(), PARTS_MAX);
    for event in &change.events {
        match event {
            Event::Put(entry) => {
                out.u8(PUT);
                put_entry(out, entry);
            }
            Event::Deleted { key, cause } => {
                out.u8(match cause {
                    Cause::Deleted => DELETED,
                    Cause::Expired => EXPIRED,
                    Cause::Revoked => REVOKED,
                    Cause::Unseen => UNSEEN,
                    // Of whatever else there may be one day this much is true.
                    _ => LEASE_ENDED,
                });
                put_key(out, key);
            }
        }
    }
}

fn change(reader: &mut Reader<'_>) -> Result<Arc<Change>, WireError> {
    let revision = revision(reader)?;
    let count = reader.count("events", PARTS_MAX)?;
    let events = (0..count).map(|_| {
        let cause = match reader.u8()? {
            PUT => {
                let entry = entry(reader)?;
                if entry.modified != revision {
                    return Err(WireError::Field("revision of an entry"));
                }
                return Ok(Event::Put(entry));
            }
            DELETED => Cause::Deleted,
            EXPIRED => Cause::Expired,
            REVOKED => Cause::Revoked,
            LEASE_ENDED => Cause::LeaseEnded,
            UNSEEN => Cause::Unseen,
            _ => return Err(WireError::Field("kind of event")),
        };
        let key = key(reader)?;
        Ok(Event::Deleted { key, cause })
    });
    let events = events.collect::<Result<Vec<_>, _>>()?;
    match events.is_empty() {
        true => Err(WireError::Field("change")),
        false => Ok(Arc::new(Change { revision, events })),
    }
}

fn change_bytes(change: &Change) -> usize {
    let of = |event: &Event| match event {
        Event::Put(entry) => entry_bytes(entry),
        Event::Deleted { key, .. } => key.as_str().len() + 3,
    };
    change.events.iter().map(of).sum()
}

/// Things in runs of about the bytes of a message, each run with one at least.
fn cut<T>(things: Vec<T>, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut things = things.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = things.next()?;
        let mut held = bytes(&first);
        let mut run = vec![first];
        while run.len() < PARTS_MAX
            && let Some(next) = things.next_if(|next| held + bytes(next) <= MESSAGE_BYTES_AIM)
        {
            held += bytes(&next);
            run.push(next);
        }
        Some(run)
    })
}

const BEGUN: u8 = 0;
const PART: u8 = 1;
const COMPACTED: u8 = 2;
const BEHIND: u8 = 3;

const PUT: u8 = 1;
const DELETED: u8 = 2;
const EXPIRED: u8 = 3;
const REVOKED: u8 = 4;
const LEASE_ENDED: u8 = 5;
const UNSEEN: u8 = 6;

/// Entries, changes, and events of one change: what two bytes count.
const PARTS_MAX: usize = u16::MAX as usize;
