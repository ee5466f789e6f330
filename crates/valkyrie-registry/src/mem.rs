//! A store in memory: for tests, and for registries that are rebuilt by their agents' next registrations. It is gone when its
//! last handle is.
//!
//! Its time is tokio's, so that a test with a paused clock decides when leases end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use valkyrie_transport::BoxFuture;

use crate::board::{Board, answer};
use crate::ledger::{Bounds, Ledger};
use crate::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError, Txn,
    Watch, WatchError,
};
use crate::{Key, Moment, Prefix};

/// A [`Store`] in memory. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct MemStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ledger: Mutex<Ledger>,
    bounds: Bounds,
    board: Arc<Board>,
    began: Instant,
    /// Rings when the next lease ends at another time than before.
    earlier: Arc<Notify>,
}

impl MemStore {
    /// An empty one. A task of the runtime that this is called in ends its leases.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(bounds: Bounds) -> Self {
        Self::beginning_after(bounds, Revision::NONE)
    }

    /// An empty one whose first change comes after `revision`, for a store that others knew before it was started anew. With what the clock says in
    /// microseconds since 1970 every start is after all that was seen of earlier ones.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn beginning_after(bounds: Bounds, revision: Revision) -> Self {
        let ledger = Ledger::beginning_after(bounds, revision);
        let inner = Arc::new(Inner {
            board: Board::new(ledger.state()),
            ledger: Mutex::new(ledger),
            bounds,
            began: Instant::now(),
            earlier: Arc::new(Notify::new()),
        });
        tokio::spawn(expire(Arc::downgrade(&inner), Arc::clone(&inner.earlier)));
        Self { inner }
    }

    /// Deletes an entry as if a lease of its own had run out; see [`Ledger::expire`].
    pub fn expire(&self, key: &Key) -> bool {
        self.inner.with(|ledger, now| ledger.expire(now, key)).value
    }

    /// Forgets the changes up to a revision, as a store does by itself when its history is full.
    pub fn compact(&self, revision: Revision) {
        self.inner.with(|ledger, _| ledger.compact(revision));
    }
}

impl Inner {
    /// Does a command and publishes what came of it, before anybody is told of it.
    fn with<T>(&self, command: impl FnOnce(&mut Ledger, Moment) -> T) -> Answer<T> {
        let mut ledger = self.lock();
        let before = ledger.poll_timeout();
        let value = command(&mut ledger, self.now());
        let mut changed = false;
        while ledger.poll_effect().is_some() {
            changed = true;
        }
        let state = ledger.state();
        let answer = answer(value, &state);
        // Renewals change nothing that a reader sees.
        if changed {
            self.board.publish(state);
        }
        let due = ledger.poll_timeout();
        if due.is_some_and(|due| before.is_none_or(|before| due < before)) {
            self.earlier.notify_one();
        }
        answer
    }

    fn now(&self) -> Moment {
        Moment::START.saturating_add(self.began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

/// Ends leases when they are due, for as long as there is a store.
async fn expire(store: Weak<Inner>, earlier: Arc<Notify>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        inner.with(|ledger, now| ledger.handle_timeout(now));
        let due = inner.lock().poll_timeout().map(|due| due.since(inner.now()));
        drop(inner);
        let Some(due) = due else {
            earlier.notified().await;
            continue;
        };
        let _ = tokio::time::timeout(due, earlier.notified()).await;
    }
}

impl Store for MemStore {
    fn caps(&self) -> Caps {
        let bounds = self.inner.bounds;
        Caps::new(bounds.ttl_min, bounds.ttl_max, EXPIRY_SLACK).with_lease_causes()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move { Ok(self.inner.board.get(key)) })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move { Ok(self.inner.board.list(prefix)) })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .inner
                .with(|ledger, now| ledger.commit(now, &txn))
                .transpose()?)
        })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .inner
                .with(|ledger, now| ledger.grant(now, ttl))
                .transpose()?)
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            let renewed = self
                .inner
                .with(|ledger, now| ids.iter().map(|id| ledger.keep_alive(now, *id)).collect());
            Ok(renewed.value)
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move { Ok(self.inner.with(|ledger, now| ledger.revoke(now, id))) })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(async move { self.inner.board.watch(prefix, after) })
    }
}

/// What a runtime that is busy takes to get to a task whose time has come.
const EXPIRY_SLACK: Duration = Duration::from_millis(100);
