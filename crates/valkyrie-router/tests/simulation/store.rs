//! The registry as it is seen from one place: away while that is cut off from it. Time is virtual (`start_paused(true)`).

use std::sync::Arc;
use std::time::Duration;

use valkyrie_registry::store::{
    Answer, Batch, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError,
    Txn, Watch, WatchError,
};
use valkyrie_registry::{Key, MemStore, Prefix};
use valkyrie_transport::BoxFuture;

use crate::net::{Net, Place};

#[derive(Clone)]
pub(crate) struct StoreAt {
    pub(crate) net: Arc<Net>,
    pub(crate) place: Place,
    pub(crate) registry: Place,
    pub(crate) store: MemStore,
}

impl StoreAt {
    /// A request across a cut is given up after a while, unheard.
    async fn reach(&self) -> Result<(), StoreError> {
        if self.net.is_cut(self.place, self.registry) {
            tokio::time::sleep(TIMES_OUT).await;
            return Err(StoreError::Unavailable("cut off".into()));
        }
        Ok(())
    }
}

impl Store for StoreAt {
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            self.store.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            self.store.list(prefix).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            let done = self.store.commit(txn).await;
            // It was done, and the answer is lost.
            if self.net.is_cut(self.place, self.registry) {
                return Err(StoreError::Unknown("cut off".into()));
            }
            done
        })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            self.store.grant(ttl).await
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            self.store.keep_alive(ids).await
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move {
            self.reach().await?;
            self.store.revoke(id).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(async move {
            self.reach().await?;
            let inner = self.store.watch(prefix, after).await?;
            let at = self.clone();
            Ok(Box::new(WatchAt { inner, at }) as Box<dyn Watch>)
        })
    }
}

struct WatchAt {
    inner: Box<dyn Watch>,
    at: StoreAt,
}

impl Watch for WatchAt {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    batch = self.inner.next(max) => {
                        // What happens behind a cut is not heard, and the watch is found dead.
                        if self.at.net.is_cut(self.at.place, self.at.registry) {
                            return Err(StoreError::Unavailable("cut off".into()).into());
                        }
                        return batch;
                    }
                    () = tokio::time::sleep(TIMES_OUT) => self.at.reach().await?,
                }
            }
        })
    }
}

/// How long whoever asks waits for an answer.
const TIMES_OUT: Duration = Duration::from_secs(1);
