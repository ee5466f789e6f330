//! What a store holds: entries, each with the revisions that made it, and the leases that some live under.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Key, Moment};

/// The number of a change to a store. Every change has a greater number than those before it, and all that it changes has the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const NONE: Self = Self(0);

    /// The revision with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The name of a lease at its store. A store never gives one twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(u64);

impl LeaseId {
    /// The lease with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {:x}", self.0)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lasts without a renewal. A store may grant more than was asked for, so this is what counts.
    pub ttl: Duration,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It lasts this long from now on.
    Alive(Duration),
    /// It has ended, or never was. What lay under it is gone.
    Gone,
}

/// A value at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The place.
    pub key: Key,
    /// The value, at most [`VALUE_BYTES_MAX`] bytes.
    pub value: Bytes,
    /// The change that created it. A place that is emptied and filled again has a later one: this is the token that
    /// fences off whoever held the place before.
    pub created: Revision,
    /// The change that wrote this value.
    pub modified: Revision,
    /// How often it was written since it was created, this time included.
    pub version: u64,
    /// The lease with which it ends.
    pub lease: Option<LeaseId>,
}

/// All that happened at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// What happened, each key once. In a watch of a prefix, the part that the prefix covers.
    pub events: Vec<Event>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has this value now.
    Put(Arc<Entry>),
    /// It has none any more.
    Deleted {
        /// The key.
        key: Key,
        /// Why.
        cause: Cause,
    },
}

impl Event {
    /// The key that it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }
}

/// Why an entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A transaction deleted it.
    Deleted,
    /// Its lease was not renewed in time.
    Expired,
    /// Its lease was given back.
    Revoked,
    /// Its lease has ended, and the store does not say how.
    LeaseEnded,
    /// It was missing from a later list, and the events that would have said why are no longer kept.
    Unseen,
}

/// An answer of a store, and what can be said for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The revision at which it holds.
    pub revision: Revision,
    /// The store's time at that revision, where it has one that its replicas agree on or that is one machine's.
    pub at: Option<Moment>,
    /// What proves it to those who do not believe the replica that gave it.
    pub certificate: Certificate,
}

impl<T> Answer<T> {
    /// The same answer about something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: change(self.value),
            revision: self.revision,
            at: self.at,
            certificate: self.certificate,
        }
    }
}

impl<T, E> Answer<Result<T, E>> {
    /// The answer, if there is one.
    ///
    /// # Errors
    /// The error in it.
    pub fn transpose(self) -> Result<Answer<T>, E> {
        Ok(Answer {
            value: self.value?,
            revision: self.revision,
            at: self.at,
            certificate: self.certificate,
        })
    }
}

/// What proves an answer to others, in a form that only the kind of store understands. Empty where the store's word is all
/// there is, as with every store of today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Certificate(Bytes);

impl Certificate {
    /// None: the store's word is all there is.
    pub const fn none() -> Self {
        Self(Bytes::new())
    }

    /// One with these bytes.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Bytes of a value: a record with the largest signatures and every field full is below it.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;
