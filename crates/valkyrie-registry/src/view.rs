//! A reader's side of a store: it lists, watches, lists anew when it must, and always has a snapshot to ask.
//!
//! What a store says is verified before it is shown ([`crate::directory`]). While the store is away the last snapshot stays: a registry
//! that is down takes nobody else down with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use valkyrie_security::UnixTime;

use crate::agent::AgentId;
use crate::directory::{Directory, DirectoryEvent, Snapshot};
use crate::store::{Revision, Store, StoreError, WatchError, list_all};

/// Follows a store. Dropping it ends that.
pub struct View {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    progress: watch::Sender<Progress>,
    events: broadcast::Sender<DirectoryEvent>,
}

/// How far a view has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The revision of its snapshot.
    pub revision: Revision,
    /// It has seen the whole store at least once.
    pub listed: bool,
    /// Records that it refused so far. Any at all means that the store or an agent lies, or that they disagree about the
    /// cluster or the time.
    pub refused: u64,
    /// Why it does not follow the store now, if it does not. The snapshot is what was known last.
    pub failure: Option<StoreError>,
}

impl View {
    /// Follows `store` into `directory`, which decides what is believed, by the time of day that `clock` tells.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn follow(
        store: Arc<dyn Store>,
        directory: Directory,
        clock: impl Fn() -> UnixTime + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(directory.snapshot()),
            progress: watch::Sender::new(Progress::default()),
            events: broadcast::Sender::new(EVENTS),
        });
        let follower = Follower {
            store,
            directory,
            clock: Box::new(clock),
            shared: Arc::clone(&shared),
        };
        let task = tokio::spawn(follower.run());
        Self { shared, task }
    }

    /// Who is here now. It takes no lock and waits for nobody.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.shared.progress.borrow().clone()
    }

    /// Waits for a progress, and gives the snapshot at which it was made.
    ///
    /// # Errors
    /// [`Ended`]: the view's task has ended, with its runtime.
    pub async fn wait_for(&self, wanted: impl FnMut(&Progress) -> bool) -> Result<Arc<Snapshot>, Ended> {
        let mut progress = self.shared.progress.subscribe();
        match progress.wait_for(wanted).await {
            Ok(_) => Ok(self.snapshot()),
            Err(_) => Err(Ended),
        }
    }

    /// What happens from now on. Take it first and the snapshot after it: nothing is missed between them, and what is in both is
    /// seen to be by its revision.
    pub fn events(&self) -> Events {
        Events(self.shared.events.subscribe())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

/// What happens to the agents of a view.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<DirectoryEvent>);

impl Events {
    /// Waits for the next.
    ///
    /// # Errors
    /// [`EventsError`]: some were missed, or there will be no more.
    pub async fn next(&mut self) -> Result<DirectoryEvent, EventsError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(count) => EventsError::Missed(count),
            broadcast::error::RecvError::Closed => EventsError::Ended,
        })
    }
}

/// No event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// Whoever listens was too slow. The snapshot has what they amounted to; the next call goes on behind them.
    #[error("{0} events were missed")]
    Missed(u64),
    /// The view has ended.
    #[error("the view has ended")]
    Ended,
}

/// The view's task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the view has ended")]
pub struct Ended;

struct Follower {
    store: Arc<dyn Store>,
    directory: Directory,
    clock: Box<dyn Fn() -> UnixTime + Send + Sync>,
    shared: Arc<Shared>,
}

impl Follower {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        let mut after = None;
        loop {
            match self.follow(&mut after, &mut pause).await {
                WatchError::Compacted { .. } | WatchError::Behind { .. } => after = None,
                WatchError::Store(failure) => {
                    self.shared
                        .progress
                        .send_modify(|progress| progress.failure = Some(failure));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Lists unless it has come somewhere already, and watches from there until that ends.
    async fn follow(&mut self, after: &mut Option<Revision>, pause: &mut Duration) -> WatchError {
        let prefix = AgentId::prefix();
        let from = match *after {
            Some(revision) => revision,
            None => match list_all(&*self.store, &prefix, AGENTS_MAX).await {
                Ok(answer) => {
                    self.directory
                        .reset((self.clock)(), &answer.value, answer.revision);
                    *after = Some(answer.revision);
                    self.publish();
                    answer.revision
                }
                Err(error) => return error.into(),
            },
        };
        let mut watch = match self.store.watch(&prefix, from).await {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        *pause = PAUSE_MIN;
        loop {
            let end = self.directory.poll_timeout();
            // An end that is far away is looked at again before, since clocks are set.
            let wait = end.map_or(LOOK_AGAIN, |end| end.since((self.clock)()).min(LOOK_AGAIN));
            match tokio::time::timeout(wait, watch.next(BATCH_CHANGES)).await {
                Ok(Ok(batch)) => {
                    let now = (self.clock)();
                    for change in &batch.changes {
                        self.directory.apply(now, change);
                    }
                    self.directory.advance(batch.revision);
                    *after = Some(batch.revision);
                }
                Ok(Err(error)) => return error,
                Err(_) => self.directory.handle_timeout((self.clock)()),
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let snapshot = self.directory.snapshot();
        let revision = snapshot.revision();
        self.shared.snapshot.store(Arc::new(snapshot));
        while let Some(event) = self.directory.poll_event() {
            // That nobody listens is no error.
            let _ = self.shared.events.send(event);
        }
        let now = Progress {
            revision,
            listed: true,
            refused: self.directory.refused(),
            failure: None,
        };
        self.shared.progress.send_if_modified(|progress| {
            let news = *progress != now;
            *progress = now;
            news
        });
    }
}

/// Agents of a view: those that a store has room for by default.
const AGENTS_MAX: usize = 1_000_000;
/// Changes that are applied before the next snapshot is shown.
const BATCH_CHANGES: usize = 1024;
/// Events that wait for a slow listener.
const EVENTS: usize = 4096;
/// The first pause after a store has failed, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long ends of records are not looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
