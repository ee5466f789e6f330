//! The contract of a store: entries with revisions under leases, guarded transactions, and watches that miss nothing.
//!
//! A store keeps bytes and believes nobody about them; what an agent says of itself is signed by the agent and verified by
//! whoever reads it ([`crate::record`]). The suite in `conformance` (feature `conformance`) says what every store does.
//!
//! Two rules make it safe to build on. Reads are linearizable: there is no level that is not, because a decision that was made
//! on an old value is a bug that no test finds. And whoever follows a store lists it, remembers the revision of the list,
//! and watches after that revision: nothing is missed and nothing comes twice.
//!
//! It is meant to be carried by replicas of which some lie as well: an answer has room for a [`Certificate`] and for the
//! time that the replicas agreed on, and nothing here asks a store for more than a function of its commands could know.
//!
//! Read [`Store`] first.

mod entry;
mod txn;

use std::sync::Arc;
use std::time::Duration;

use valkyrie_transport::BoxFuture;

pub use self::entry::{
    Answer, Cause, Certificate, Change, Entry, Event, KeepAlive, Lease, LeaseId, Revision, VALUE_BYTES_MAX,
};
pub use self::txn::{Guard, Op, Outcome, TXN_BYTES_MAX, TXN_GUARDS_MAX, TXN_OPS_MAX, Txn, TxnError};

use crate::ledger::CommitError;
use crate::{Key, Prefix};

/// Keeps entries for many agents and readers. Handles are cheap to share behind an `Arc`.
pub trait Store: Send + Sync + 'static {
    /// What this store can do that others cannot, and its times.
    fn caps(&self) -> Caps;

    /// What is at a key.
    ///
    /// # Errors
    /// [`StoreError`]; there is no answer.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>>;

    /// What is beneath a prefix, all at the one revision that the answer names.
    ///
    /// # Errors
    /// [`StoreError`]; there is no answer.
    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>>;

    /// Does a transaction: all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] says that nobody knows whether it was done; every other error, that it was not.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>>;

    /// Grants a lease of at least this long, where that is no longer than the store's longest. What was granted is what counts.
    ///
    /// # Errors
    /// [`StoreError`]; where there is a lease all the same it ends by itself.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>>;

    /// Renews leases, each for its whole time. One answer for each, in order.
    ///
    /// # Errors
    /// [`StoreError`]; some may have been renewed.
    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>>;

    /// Ends a lease and deletes what lies under it, at one revision. The answer is whether there was one.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>>;

    /// Watches what is beneath a prefix, from the change after `after` on.
    ///
    /// # Errors
    /// [`WatchError`]; there is no watch. What can be found out at once is told at once, but a store may also report
    /// [`WatchError::Compacted`] with the first batch.
    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>>;
}

/// What is beneath a prefix, page by page, every page at the same revision.
pub trait Listing: Send {
    /// The next page of at most `max` entries (0 is read as 1), ascending by key; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`]; the listing is over, and what it gave until then is not the whole.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Option<Page>, StoreError>>;
}

/// A part of a [`Listing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, at least one.
    pub entries: Vec<Arc<Entry>>,
    /// What proves them.
    pub certificate: Certificate,
}

/// A place in the changes of a store. Dropping it ends the watch.
pub trait Watch: Send {
    /// Waits for changes. At most `max` of them (0 is read as 1) come in one batch. A future that is dropped before it is
    /// ready loses nothing.
    ///
    /// # Errors
    /// [`WatchError`]; the watch is over.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>>;
}

/// Changes, ascending, each whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes. None where a store only says how far it has come.
    pub changes: Vec<Arc<Change>>,
    /// Nothing up to this revision is missing: a watch after it goes on where this batch ends.
    pub revision: Revision,
    /// What proves them.
    pub certificate: Certificate,
}

/// What stores differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// The shortest lease it grants; it raises shorter ones.
    pub ttl_min: Duration,
    /// The longest lease it grants; it cuts longer ones.
    pub ttl_max: Duration,
    /// By how much later than its time a lease may end, while the store is well. It never ends earlier.
    pub expiry_slack: Duration,
    /// It tells leases that ran out from those that were given back. Otherwise the cause is [`Cause::LeaseEnded`].
    pub lease_causes: bool,
    /// What was acknowledged is there after the store's processes have ended.
    pub durable: bool,
    /// How many of its replicas may lie. 0: none; its readers believe it about everything but what is signed.
    pub faulty_max: u32,
}

impl Caps {
    /// These bounds on leases, and nothing else that is special.
    pub const fn new(ttl_min: Duration, ttl_max: Duration, expiry_slack: Duration) -> Self {
        Self {
            ttl_min,
            ttl_max,
            expiry_slack,
            lease_causes: false,
            durable: false,
            faulty_max: 0,
        }
    }

    /// With the cause of a lease's end.
    #[must_use]
    pub const fn with_lease_causes(mut self) -> Self {
        self.lease_causes = true;
        self
    }

    /// With what was acknowledged outliving its processes.
    #[must_use]
    pub const fn with_durability(mut self) -> Self {
        self.durable = true;
        self
    }
}

/// An operation at a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The caller asked for what cannot be, or there is no room. Nothing was done.
    #[error("{0}; nothing was done")]
    Refused(#[from] CommitError),
    /// The store does not let this caller do it. Nothing was done.
    #[error("the store does not allow it: {0}; nothing was done")]
    Denied(String),
    /// The store takes no writes of anybody: it shows what comes about by other means. Nothing was done, and never will be.
    #[error("the store can only be read: {0}; nothing was done")]
    ReadOnly(String),
    /// The store could not be reached, or could not take it now. Nothing was done; it may work later.
    #[error("the store cannot be used now: {0}; nothing was done")]
    Unavailable(String),
    /// The store went away in between. It may have been done or not; only what is there will tell.
    #[error("the store went away before it answered: {0}; whether it was done is unknown")]
    Unknown(String),
    /// The store is at fault and will not come back by itself: its disk failed, or it answers what no store may.
    #[error("the store is broken: {0}")]
    Broken(String),
}

/// A watch has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The changes that were to come next are no longer kept: list anew and watch after that list.
    #[error("changes up to revision {oldest} are no longer kept; list anew")]
    Compacted {
        /// Changes after this revision are kept.
        oldest: Revision,
    },
    /// The caller has seen later changes than this store has: it is another store, or it was put back to an earlier state.
    /// List anew.
    #[error("the store is at revision {revision}, before what was seen of it; list anew")]
    Behind {
        /// Where the store is.
        revision: Revision,
    },
    /// The store failed. A watch after the last batch's revision goes on without a gap.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Every entry beneath a prefix, and the revision to watch after.
///
/// # Errors
/// [`StoreError`], and [`StoreError::Refused`] when there are more than `max`.
pub async fn list_all(
    store: &dyn Store,
    prefix: &Prefix,
    max: usize,
) -> Result<Answer<Vec<Arc<Entry>>>, StoreError> {
    let mut answer = store.list(prefix).await?;
    let mut entries = Vec::new();
    while let Some(mut page) = answer.value.next(LIST_PAGE_ENTRIES).await? {
        if entries.len() + page.entries.len() > max {
            return Err(CommitError::Full("entries that the reader takes", max).into());
        }
        entries.append(&mut page.entries);
    }
    Ok(answer.map(|_| entries))
}

/// Entries of a page: at a kilobyte each, as much as one message of etcd carries without asking for more.
pub const LIST_PAGE_ENTRIES: usize = 1000;
