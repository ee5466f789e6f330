//! A store in an etcd, version 3.4 or later: of one machine or of several, of which less than half may be away.
//!
//! It keeps nothing here: what it says, etcd says. Each read is one that a majority of the members confirms, each transaction is one
//! of etcd's with the guards as its compares, and a watch is a stream that is begun anew at another member when it breaks. Which
//! member that is, and what may be asked again, is for `cluster.rs` to know.
//!
//! etcd has no word for why a key is gone. A transaction of ours that deletes says so in etcd (`place.rs`); every other
//! deletion is taken for the end of a lease, given back or not.
//!
//! What it is not: it starts no etcd, compacts none and adds no members. Read [`EtcdStore::connect`] first.

mod changes;
mod cluster;
mod fault;
mod leases;
mod listing;
mod member;
mod options;
mod place;
mod txn;
mod watching;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use valkyrie_transport::BoxFuture;

pub use self::cluster::{ANSWER_TIME_MAX, READ_TIME_MAX, WRITE_TIME_MAX};
pub use self::options::{ConnectError, DEFAULT_PATH, EtcdOptions};

use self::cluster::{Again, Cluster};
use self::fault::Fault;
use self::leases::Granted;
use self::place::Place;
use self::txn::MarksLease;
use crate::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError, Txn,
    Watch, WatchError,
};
use crate::{Key, Prefix};

/// A [`Store`] in an etcd. Clones are handles on the same one.
#[derive(Clone)]
pub struct EtcdStore {
    cluster: Arc<Cluster>,
    place: Place,
    marks: Arc<MarksLease>,
    granted: Arc<Granted>,
    ttl_min: Duration,
}

impl EtcdStore {
    /// Connects to an etcd, and asks it for its shortest lease, which depends on how it was configured.
    ///
    /// Members that are away are no error as long as a majority is there. The cluster that answers is the one: when another
    /// answers later, because a member was restored into a cluster of its own, the store is [`StoreError::Broken`].
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is left behind but a lease, which ends by itself.
    pub async fn connect(options: EtcdOptions) -> Result<Self, ConnectError> {
        let cluster = Arc::new(Cluster::new(&options)?);
        // That there is a majority, and that this user may read here.
        cluster.revision().await?;
        let shortest = leases::grant(&cluster, 1).await?.value;
        if shortest.ttl > TTL_MAX {
            let reason = format!("its shortest lease is of {:?}", shortest.ttl);
            return Err(StoreError::Broken(reason).into());
        }
        // What is not given back ends as well.
        let _ = leases::revoke(&cluster, shortest.id).await;
        Ok(Self {
            cluster,
            place: Place::beneath(&options.path),
            marks: Arc::default(),
            granted: Arc::default(),
            ttl_min: shortest.ttl,
        })
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("place", &self.place)
            .field("ttl_min", &self.ttl_min)
            .finish_non_exhaustive()
    }
}

impl Store for EtcdStore {
    fn caps(&self) -> Caps {
        Caps::new(self.ttl_min, TTL_MAX, EXPIRY_SLACK).with_durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            let asked = self.cluster.request(Again::Yes, |client| {
                let (mut kv, key) = (client.kv_client(), self.place.key(key));
                async move { kv.get(key, None).await }
            });
            let mut got = asked.await.map_err(Fault::of_reading)?;
            let header = got.take_header();
            self.cluster
                .answer(txn::one(&self.place, got.0)?, header.as_ref())
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(listing::list(&self.cluster, &self.place, prefix))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move { txn::commit(&self.cluster, &self.place, &self.marks, &txn).await })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            let ttl = ttl.clamp(self.ttl_min, TTL_MAX);
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            let granted = leases::grant(&self.cluster, seconds.cast_signed()).await?;
            self.granted.remember(granted.value);
            Ok(granted)
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(leases::keep_alive(&self.cluster, &self.granted, ids))
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move {
            self.granted.forget(id);
            leases::revoke(&self.cluster, id).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(watching::watch(&self.cluster, &self.place, prefix, after))
    }
}

/// The longest lease: a day, as with the other stores. What stays for longer is better written without one.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// etcd looks twice a second for leases that ran out, and ends them by a transaction, at most five hundred each time.
const EXPIRY_SLACK: Duration = Duration::from_secs(1);
