//! What one member believes, in the shape of a store, so that whatever reads a registry reads it: a [`View`](valkyrie_registry::View), and
//! `valkyrie-registry-remote`, which serves it to others.
//!
//! It is no registry that several could share. Each member has one of its own, with revisions that mean nothing at another, and nobody writes to
//! it but the member: an agent is there because it has said so to the fleet.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use valkyrie_registry::agent::AgentId;
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError, Txn,
    Watch, WatchError,
};
use valkyrie_registry::{Key, MemStore, Prefix};
use valkyrie_transport::BoxFuture;

use crate::GoneWhy;

/// Who is here as one member sees it: a [`Store`] that only reads. Clones are handles on the same one.
///
/// The cause of an entry's end says why an agent is gone: [`Deleted`](valkyrie_registry::store::Cause::Deleted), it has left;
/// [`Expired`](valkyrie_registry::store::Cause::Expired), it did not answer or its record has ended.
#[derive(Clone, Debug)]
pub struct Members {
    store: MemStore,
}

impl Members {
    /// Nobody yet, until a node is told to keep it: [`NodeBuilder::members`](super::NodeBuilder::members).
    ///
    /// Its revisions begin at the time of day in microseconds, so that whoever watched it before the process was started anew lists again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        Self {
            store: MemStore::beginning_after(Bounds::DEFAULT, Revision::new(micros)),
        }
    }

    /// An agent is here, with this record.
    pub(super) async fn here(&self, id: &AgentId, record: Bytes) {
        // A record is of the size of an entry, and members are fewer than there is room for: a store in memory has no other reason to refuse.
        let _ = self.store.commit(Txn::new().put(id.key(), record, None)).await;
    }

    /// An agent is here no more.
    pub(super) async fn gone(&self, id: &AgentId, why: GoneWhy) {
        match why {
            GoneWhy::Left => drop(self.store.commit(Txn::new().delete(id.key())).await),
            GoneWhy::Silent | GoneWhy::Ended => drop(self.store.expire(&id.key())),
        }
    }
}

impl Default for Members {
    fn default() -> Self {
        Self::new()
    }
}

fn read_only<T>() -> Result<T, StoreError> {
    Err(StoreError::ReadOnly(READ_ONLY.to_owned()))
}

impl Store for Members {
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        self.store.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        self.store.list(prefix)
    }

    fn commit(&self, _: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(std::future::ready(read_only()))
    }

    fn grant(&self, _: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(std::future::ready(read_only()))
    }

    fn keep_alive<'a>(&'a self, _: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(std::future::ready(read_only()))
    }

    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(std::future::ready(read_only()))
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        self.store.watch(prefix, after)
    }
}

/// What whoever writes is told.
const READ_ONLY: &str = "it is what a member of a fleet without a store believes, where an agent is registered by being a member itself";
