//! A registry, nodes with identities that use it, and a store that does what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use valkyrie_endpoint::{AccessPolicy, Endpoint, Expect, Redial, Security, Services, WhileDown};
use valkyrie_registry::agent::{AgentId, Description, Service, Word};
use valkyrie_registry::ledger::Bounds;
use valkyrie_registry::store::{
    Answer, Batch, Caps, Change, Entry, Event, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store,
    StoreError, Txn, Watch, WatchError,
};
use valkyrie_registry::{Key, MemStore, Prefix, Registrar};
use valkyrie_registry_remote::{RemoteConfig, RemoteStore, ServiceBounds, service};
use valkyrie_security::identity::SigningKey;
use valkyrie_security::trust::FirstUse;
use valkyrie_security::{Fingerprint, Identity, Live, Trust, UnixTime};
use valkyrie_transport::BoxFuture;
use valkyrie_transport::mem::MemTransport;

use crate::breakable::Breaker;

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const PLACE: &str = "mem://registry";

/// A place where a registry is served, and links that break when they are told to.
pub(crate) struct Stage {
    pub(crate) transport: MemTransport,
    pub(crate) breaker: Breaker,
    /// Who the registry is, however often it is started.
    registry: Security,
}

/// Somebody who uses it.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Arc<SigningKey>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            transport: MemTransport::new(),
            breaker: Breaker::default(),
            registry: identity("registry").1,
        }
    }

    /// Serves a store to everybody with an identity, who may use both services.
    pub(crate) async fn serve(&self, store: Arc<dyn Store>) -> Endpoint {
        self.serve_with(store, ServiceBounds::DEFAULT, AccessPolicy::allow_authenticated())
            .await
    }

    pub(crate) async fn serve_with(
        &self,
        store: Arc<dyn Store>,
        bounds: ServiceBounds,
        policy: AccessPolicy,
    ) -> Endpoint {
        let services = service(Services::builder(), store, bounds).build().unwrap();
        let endpoint = Endpoint::builder()
            .transport(self.transport.clone())
            .services(services)
            .security(self.registry.clone())
            .policy(policy)
            .build()
            .unwrap();
        endpoint.listen(PLACE).await.unwrap();
        endpoint
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        let (key, security) = identity(name);
        let endpoint = Endpoint::builder()
            .transport(self.breaker.over(self.transport.clone()))
            .security(security)
            .build()
            .unwrap();
        Node {
            endpoint,
            key: Arc::new(key),
        }
    }
}

impl Node {
    pub(crate) async fn store(&self) -> RemoteStore {
        RemoteStore::dial(&self.endpoint, PLACE, Expect::Anybody, config())
            .await
            .unwrap()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// A place of an agent of this node.
    pub(crate) fn place(&self, instance: &str) -> Key {
        AgentId::new(self.fingerprint(), word(instance)).unwrap().key()
    }

    pub(crate) fn registrar(&self, store: Arc<dyn Store>) -> Registrar {
        Registrar::new(store, word("test"), word("main"), Arc::clone(&self.key)).unwrap()
    }
}

/// Trusts whoever it meets: who is who is what these tests are about, and not who is let in.
fn identity(name: &str) -> (SigningKey, Security) {
    let identity = Identity::generate(name, UnixTime::from(std::time::SystemTime::now())).unwrap();
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    // The endpoint keeps the identity, and what it signs with it is signed with the same key.
    let key = identity.signing_key().unwrap();
    let copy = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed)).unwrap();
    (copy, Security::new(Live::new(identity), Live::new(trust)))
}

pub(crate) fn config() -> RemoteConfig {
    RemoteConfig {
        call_timeout: Duration::from_secs(20),
        redial: Redial {
            first_wait_max: Duration::from_millis(5),
            wait_max: Duration::from_millis(20),
            while_down: WhileDown::Wait(Duration::from_secs(10)),
            ..Redial::default()
        },
    }
}

pub(crate) fn mem() -> Arc<dyn Store> {
    Arc::new(MemStore::new(Bounds::DEFAULT))
}

pub(crate) fn word(text: &str) -> Word {
    text.parse().unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) fn describe(name: &str) -> Description {
    Description::new(word(name)).service(Service::new(word("orders"), "1.0.0".parse().unwrap()))
}

pub(crate) async fn put(store: &dyn Store, name: &str) -> Revision {
    let txn = Txn::new().put(key(name), "x".into(), None);
    store.commit(txn).await.unwrap().revision
}

/// The keys that changes put.
pub(crate) fn names(changes: &[Arc<Change>]) -> Vec<String> {
    let events = changes.iter().flat_map(|change| &change.events);
    let put = events.filter_map(|event| match event {
        Event::Put(entry) => Some(entry.key.to_string()),
        Event::Deleted { .. } => None,
    });
    put.collect()
}

/// Longer than anything in these tests takes: a hang fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("took more than a minute")
}

/// A store that is told how to fail, that says when it is asked, and that counts what its watches give.
pub(crate) struct Staged {
    pub(crate) inner: Arc<dyn Store>,
    /// What every operation fails with, once it has been asked.
    pub(crate) fails: Option<StoreError>,
    /// Commits are done and never answered.
    pub(crate) silent: bool,
    pub(crate) asked: Arc<Notify>,
    /// Changes that watches have given.
    pub(crate) given: Arc<AtomicUsize>,
}

impl Staged {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            fails: None,
            silent: false,
            asked: Arc::default(),
            given: Arc::default(),
        }
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.asked.notify_one();
        self.fails.clone().map_or(Ok(()), Err)
    }
}

impl Store for Staged {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            self.begin()?;
            if self.silent {
                std::future::pending::<()>().await;
            }
            self.inner.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move {
            self.begin()?;
            self.inner.list(prefix).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move {
            if self.silent {
                self.inner.commit(txn).await?;
                self.begin()?;
                return std::future::pending().await;
            }
            self.begin()?;
            self.inner.commit(txn).await
        })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            self.begin()?;
            self.inner.grant(ttl).await
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            self.begin()?;
            self.inner.keep_alive(ids).await
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move {
            self.begin()?;
            self.inner.revoke(id).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(async move {
            self.begin()?;
            let inner = self.inner.watch(prefix, after).await?;
            let given = Arc::clone(&self.given);
            Ok(Box::new(Counted { inner, given }) as Box<dyn Watch>)
        })
    }
}

struct Counted {
    inner: Box<dyn Watch>,
    given: Arc<AtomicUsize>,
}

impl Watch for Counted {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Batch, WatchError>> {
        Box::pin(async move {
            let batch = self.inner.next(max).await?;
            self.given.fetch_add(batch.changes.len(), Ordering::Relaxed);
            Ok(batch)
        })
    }
}
