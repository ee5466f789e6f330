//! What every [`Store`] must do, as one function for each behaviour.
//!
//! A store's own crate runs the suite with [`store_conformance_tests!`](crate::store_conformance_tests):
//!
//! ```no_run
//! use std::sync::Arc;
//! use valkyrie_registry::conformance::StoreHarness;
//! use valkyrie_registry::ledger::Bounds;
//! use valkyrie_registry::{MemStore, Store, store_conformance_tests};
//!
//! fn harness() -> StoreHarness {
//!     StoreHarness::new(|| async { Arc::new(MemStore::new(Bounds::DEFAULT)) as Arc<dyn Store> })
//! }
//!
//! store_conformance_tests!(harness());
//! # fn main() {}
//! ```
//!
//! Every behaviour panics when the store does not show it, and when it takes longer than [`BEHAVIOUR_TIME_MAX`]: a hang is a
//! failure. Leases are tested in real time, for as long as the store's shortest takes. What the suite does not test is speed, and
//! what is particular to one store.

mod agents;
mod entries;
mod leases;
mod watching;

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_transport::BoxFuture;

use crate::store::{Answer, Change, Entry, Event, Outcome, Revision, Store, Txn, Watch};
use crate::{Key, Prefix};

pub use self::agents::{
    a_late_verdict_does_not_remove_an_agent_that_came_back, a_view_follows_agents_as_they_come_and_go,
    only_the_newest_life_of_an_agent_can_write,
};
pub use self::entries::{
    a_large_value_is_kept, a_list_is_of_one_revision, a_refused_guard_changes_nothing_and_says_what_is_there,
    a_store_describes_itself, a_transaction_is_one_revision, an_empty_store_has_nothing,
    bad_transactions_are_refused, each_guard_holds_when_it_should, long_lists_come_in_pages,
    of_many_who_claim_a_place_one_gets_it, of_many_who_write_each_is_told_its_own_revision,
    what_was_put_is_found_with_its_revisions,
};
pub use self::leases::{
    a_lease_that_is_given_back_takes_its_entries, a_lease_that_is_not_renewed_takes_its_entries,
    a_lease_that_is_renewed_lives, the_granted_time_is_told, what_has_ended_cannot_be_used,
};
pub use self::watching::{
    a_dropped_wait_loses_nothing, a_list_and_a_watch_miss_nothing, a_watch_from_before_what_is_kept_is_told,
    a_watch_from_the_future_is_told, a_watch_goes_on_where_another_stopped, a_watch_sees_its_prefix_alone,
    many_watches_see_the_same,
};

/// Makes one `#[test]` of each behaviour of the suite. The argument is an expression that makes a fresh
/// [`StoreHarness`](crate::conformance::StoreHarness), or an `Option` of one.
#[macro_export]
macro_rules! store_conformance_tests {
    ($harness:expr) => {
        $crate::store_conformance_tests! { @behaviours @test $harness }
    };
    (@test $harness:expr; $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                $crate::conformance::run(stringify!($behaviour), || $harness, $crate::conformance::$behaviour);
            }
        )*
    };
    (@run $harness:expr; $($behaviour:ident)*) => {
        $(
            $crate::conformance::in_time(stringify!($behaviour), $behaviour($harness.clone())).await;
        )*
    };
    (@behaviours $($then:tt)*) => {
        $crate::store_conformance_tests! { $($then)*;
            a_dropped_wait_loses_nothing
            a_large_value_is_kept
            a_late_verdict_does_not_remove_an_agent_that_came_back
            a_lease_that_is_given_back_takes_its_entries
            a_lease_that_is_not_renewed_takes_its_entries
            a_lease_that_is_renewed_lives
            a_list_and_a_watch_miss_nothing
            a_list_is_of_one_revision
            a_refused_guard_changes_nothing_and_says_what_is_there
            a_store_describes_itself
            a_transaction_is_one_revision
            a_view_follows_agents_as_they_come_and_go
            a_watch_from_before_what_is_kept_is_told
            a_watch_from_the_future_is_told
            a_watch_goes_on_where_another_stopped
            a_watch_sees_its_prefix_alone
            an_empty_store_has_nothing
            bad_transactions_are_refused
            each_guard_holds_when_it_should
            long_lists_come_in_pages
            many_watches_see_the_same
            of_many_who_claim_a_place_one_gets_it
            of_many_who_write_each_is_told_its_own_revision
            only_the_newest_life_of_an_agent_can_write
            the_granted_time_is_told
            what_has_ended_cannot_be_used
            what_was_put_is_found_with_its_revisions
        }
    };
}

/// Shows every behaviour, one after the other, each with a store of its own: for stores whose server takes long to start. Says
/// before each on standard error which it is.
///
/// # Panics
/// When one is not shown, or takes longer than [`BEHAVIOUR_TIME_MAX`].
pub async fn all(harness: StoreHarness) {
    crate::store_conformance_tests! { @behaviours @run harness }
}

/// A store under test, and what the suite must know about it.
#[derive(Clone)]
pub struct StoreHarness {
    open: Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>,
    compact: Option<Arc<Compact>>,
}

type Compact = dyn Fn(Arc<dyn Store>, Revision) -> BoxFuture<'static, ()> + Send + Sync;

impl StoreHarness {
    /// `open` gives an empty store each time. Each behaviour calls it once.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        Self {
            open: Arc::new(move || Box::pin(open())),
            compact: None,
        }
    }

    /// Lets the suite make the store forget its changes up to a revision. Without it the suite writes until the store does that
    /// by itself.
    #[must_use]
    pub fn with_compact<F>(
        mut self,
        compact: impl Fn(Arc<dyn Store>, Revision) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.compact = Some(Arc::new(move |store, revision| {
            Box::pin(compact(store, revision))
        }));
        self
    }

    async fn open(&self) -> Arc<dyn Store> {
        (self.open)().await
    }
}

impl fmt::Debug for StoreHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreHarness").finish_non_exhaustive()
    }
}

/// Runs one behaviour on a runtime of its own. [`store_conformance_tests!`](crate::store_conformance_tests) calls this.
///
/// `harness` may also give an `Option`: with `None` nothing is run, for a store whose server is not installed. It has said
/// so itself.
///
/// # Panics
/// When the behaviour is not shown, or takes longer than [`BEHAVIOUR_TIME_MAX`].
pub fn run<O, B, F>(name: &str, harness: impl FnOnce() -> O, behaviour: B)
where
    O: Into<Option<StoreHarness>>,
    B: FnOnce(StoreHarness) -> F,
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime to test on: {error}"));
    runtime.block_on(async {
        let Some(harness) = harness().into() else { return };
        in_time(name, behaviour(harness)).await;
    });
}

/// Waits for a behaviour. The macro calls this.
#[doc(hidden)]
pub async fn in_time(name: &str, behaviour: impl Future<Output = ()>) {
    let _ = writeln!(std::io::stderr(), "behaviour: {name}");
    if tokio::time::timeout(BEHAVIOUR_TIME_MAX, behaviour).await.is_err() {
        panic!("{name} hangs: it was not done after {BEHAVIOUR_TIME_MAX:?}");
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

async fn put(store: &dyn Store, name: &str, value: &str) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    done(store, Txn::new().put(key(name), value, None)).await
}

/// Commits what must not be refused.
async fn done(store: &dyn Store, txn: Txn) -> Revision {
    let answer = commit(store, txn).await;
    assert_eq!(answer.value, Outcome::Committed);
    answer.revision
}

async fn commit(store: &dyn Store, txn: Txn) -> Answer<Outcome> {
    match store.commit(txn).await {
        Ok(answer) => answer,
        Err(error) => panic!("the suite cannot commit: {error}"),
    }
}

async fn get(store: &dyn Store, name: &str) -> Option<Arc<Entry>> {
    match store.get(&key(name)).await {
        Ok(answer) => answer.value,
        Err(error) => panic!("the suite cannot get {name}: {error}"),
    }
}

async fn list(store: &dyn Store, prefix: &Prefix) -> (Vec<Arc<Entry>>, Revision) {
    match crate::store::list_all(store, prefix, usize::MAX).await {
        Ok(answer) => (answer.value, answer.revision),
        Err(error) => panic!("the suite cannot list: {error}"),
    }
}

async fn watch(store: &dyn Store, prefix: &Prefix, after: Revision) -> Box<dyn Watch> {
    match store.watch(prefix, after).await {
        Ok(watch) => watch,
        Err(error) => panic!("the suite cannot watch after {after}: {error}"),
    }
}

/// The changes of a watch until the one that puts a certain key, which ends it.
async fn changes_until(watch: &mut dyn Watch, last: &str) -> Vec<Arc<Change>> {
    let mut changes: Vec<Arc<Change>> = Vec::new();
    let ends = |change: &Arc<Change>| {
        change
            .events
            .iter()
            .any(|event| matches!(event, Event::Put(entry) if entry.key.as_str() == last))
    };
    while !changes.iter().any(ends) {
        match watch.next(64).await {
            Ok(batch) => changes.extend(batch.changes),
            Err(error) => panic!("the watch ended: {error}"),
        }
    }
    changes
}

/// How long one behaviour may take.
pub const BEHAVIOUR_TIME_MAX: Duration = Duration::from_secs(60);
