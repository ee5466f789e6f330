use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use valkyrie_security::identity::SigningKey;
use valkyrie_transport::BoxFuture;

use super::*;
use crate::agent::Status;
use crate::ledger::Bounds;
use crate::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, Txn, Watch, WatchError,
};
use crate::{Key, MemStore, Prefix};

const TTL: Duration = Duration::from_secs(6);

/// A store that can be away, and can stop answering.
struct Flaky {
    store: MemStore,
    away: AtomicBool,
    silent: AtomicBool,
}

impl Flaky {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            store: MemStore::new(Bounds::DEFAULT),
            away: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        })
    }

    async fn open(&self) -> Result<(), StoreError> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("as told".into())),
            false => Ok(()),
        }
    }
}

impl Store for Flaky {
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.list(prefix).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.commit(txn).await
        })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.grant(ttl).await
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.keep_alive(ids).await
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            self.store.revoke(id).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        self.store.watch(prefix, after)
    }
}

fn now() -> UnixTime {
    // Some day, and the runtime's clock from there.
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let began = BEGAN.get_or_init(std::time::Instant::now);
    let passed = Instant::now().into_std().saturating_duration_since(*began);
    UnixTime::from_secs(1_800_000_000).saturating_add(passed)
}

fn presence(store: &Arc<Flaky>) -> (Presence, Key) {
    let key = Arc::new(SigningKey::generate_classical().unwrap());
    let word = |text: &str| text.parse().unwrap();
    let registrar = Registrar::new(
        Arc::clone(store) as Arc<dyn Store>,
        word("test"),
        word("main"),
        key,
    )
    .unwrap();
    let place = registrar.id().key();
    (
        Presence::keep(registrar, Description::new(word("agent")), TTL, now),
        place,
    )
}

async fn is_there(store: &Flaky, place: &Key) -> bool {
    store.store.get(place).await.unwrap().value.is_some()
}

#[tokio::test(start_paused = true)]
async fn an_agent_stays_registered_and_leaves() {
    let store = Flaky::new();
    let (presence, place) = presence(&store);
    let first = presence.registered().await.unwrap();
    tokio::time::sleep(20 * TTL).await;
    assert!(is_there(&store, &place).await);
    assert_eq!(
        presence.registered().await.unwrap().incarnation(),
        first.incarnation()
    );
    presence.leave().await.unwrap();
    assert!(!is_there(&store, &place).await);
}

#[tokio::test(start_paused = true)]
async fn without_its_presence_an_agent_goes_with_its_lease() {
    let store = Flaky::new();
    let (presence, place) = presence(&store);
    presence.registered().await.unwrap();
    drop(presence);
    tokio::time::sleep(TTL / 2).await;
    assert!(is_there(&store, &place).await);
    tokio::time::sleep(TTL).await;
    assert!(!is_there(&store, &place).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for() {
    let store = Flaky::new();
    store.away.store(true, Ordering::SeqCst);
    let (mut presence, place) = presence(&store);
    let PresenceState::Away {
        failure: Some(failure),
    } = presence.changed().await.unwrap()
    else {
        panic!("it is registered")
    };
    assert!(failure.to_string().contains("as told"), "{failure}");
    store.away.store(false, Ordering::SeqCst);
    presence.registered().await.unwrap();
    assert!(is_there(&store, &place).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_for_less_than_a_lease_costs_nothing_and_for_longer_a_new_life() {
    let store = Flaky::new();
    let (mut presence, place) = presence(&store);
    let first = presence.registered().await.unwrap();
    for (silence, lives_on) in [(TTL / 2, true), (3 * TTL, false)] {
        store.silent.store(true, Ordering::SeqCst);
        tokio::time::sleep(silence).await;
        assert_eq!(is_there(&store, &place).await, lives_on);
        store.silent.store(false, Ordering::SeqCst);
        if !lives_on {
            while presence.state().registration() == Some(&first) {
                presence.changed().await.unwrap();
            }
        }
        let registration = presence.registered().await.unwrap();
        assert_eq!(registration.incarnation() == first.incarnation(), lives_on);
        tokio::time::sleep(TTL).await;
        assert!(is_there(&store, &place).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_without_an_answer_is_told_and_so_is_the_answer() {
    let store = Flaky::new();
    let (mut presence, _) = presence(&store);
    let first = presence.registered().await.unwrap();
    assert_eq!(
        presence.changed().await.unwrap(),
        PresenceState::Registered(first.clone())
    );
    store.away.store(true, Ordering::SeqCst);
    let PresenceState::Unconfirmed {
        registration,
        failure: RegisterError::Store(failure),
    } = presence.changed().await.unwrap()
    else {
        panic!("it was renewed")
    };
    assert_eq!(registration, first);
    assert!(failure.to_string().contains("as told"), "{failure}");
    store.away.store(false, Ordering::SeqCst);
    while presence.state() != PresenceState::Registered(first.clone()) {
        presence.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_while_the_store_is_away_is_said_when_it_is_back() {
    let store = Flaky::new();
    let (presence, place) = presence(&store);
    presence.registered().await.unwrap();
    store.away.store(true, Ordering::SeqCst);
    let back = async {
        tokio::time::sleep(TTL / 2).await;
        store.away.store(false, Ordering::SeqCst);
    };
    let (told, ()) = tokio::join!(presence.say(Status::Draining), back);
    told.unwrap();
    let entry = store.store.get(&place).await.unwrap().value.unwrap();
    let record = crate::record::Record::open(&"test".parse().unwrap(), &place, &entry.value).unwrap();
    assert_eq!(record.description().status, Status::Draining);
    assert_eq!(record.sequence(), 1);
}
