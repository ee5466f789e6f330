//! A store in one file of this machine, on redb: durable, without a server, back after a crash with all that it acknowledged.
//!
//! A thread of its own owns the file. Commands that wait while it writes go into the next write together, so that one
//! `fdatasync` serves many; nothing is answered or shown to a reader before it is on the disk. Reads go past the thread. When a write
//! fails, nobody knows what the disk holds: the store is broken from then on, says so to everybody, and is to be opened anew.
//!
//! After it is opened again every lease has its whole time, since nobody could renew in between.

mod engine;
mod open;
mod tables;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use valkyrie_transport::BoxFuture;

pub use self::open::OpenError;

use self::engine::{Command, Engine, Reply};
use crate::board::{Board, answer};
use crate::ledger::{Bounds, CommitError};
use crate::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError, Txn,
    Watch, WatchError,
};
use crate::{Key, Moment, Prefix};

/// A [`Store`] in one file. Clones are handles on the same one; the file is closed when the last is gone.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    work: Sender<Work>,
    room: Arc<Semaphore>,
    board: Arc<Board>,
    bounds: Bounds,
}

/// What the thread is asked to do.
#[derive(Debug)]
enum Work {
    Do {
        command: Command,
        reply: oneshot::Sender<Result<Answer<Reply>, StoreError>>,
        _room: OwnedSemaphorePermit,
    },
    Close(oneshot::Sender<()>),
}

impl EmbeddedStore {
    /// Opens the store in a file, or makes one where there is none.
    ///
    /// # Errors
    /// [`OpenError`]; the file is as it was, except that a corrupt one has been renamed, and its new name is in the error. Opening
    /// again then makes an empty store.
    pub async fn open(path: &Path, bounds: Bounds) -> Result<Self, OpenError> {
        Self::open_beginning_after(path, bounds, Revision::NONE).await
    }

    /// [`EmbeddedStore::open`] where a store that is made begins after `revision`, for one that takes the place of a corrupt file, see
    /// [`MemStore::beginning_after`](crate::MemStore::beginning_after). To a store that is there it makes no difference.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub async fn open_beginning_after(
        path: &Path,
        bounds: Bounds,
        revision: Revision,
    ) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let (opened, wait) = oneshot::channel();
        let (work, queue) = mpsc::channel();
        // The file is opened on the thread that owns it, because that may take a repair and blocks.
        std::thread::Builder::new()
            .name("registry-store".to_owned())
            .spawn(move || match open::open(&path, bounds, revision) {
                Ok(engine) => {
                    let board = Board::new(engine.state());
                    if opened.send(Ok(Arc::clone(&board))).is_ok() {
                        run(engine, &board, &queue);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(OpenError::Thread)?;
        let board = wait.await.map_err(|_| OpenError::Ended)??;
        Ok(Self {
            work,
            room: Arc::new(Semaphore::new(QUEUE_COMMANDS)),
            board,
            bounds,
        })
    }

    /// Closes the file, whoever else has a handle, and waits until it is closed. Commands after this are refused.
    pub async fn close(self) {
        let (closed, wait) = oneshot::channel();
        if self.work.send(Work::Close(closed)).is_ok() {
            let _ = wait.await;
        }
    }

    async fn submit(&self, command: Command) -> Result<Answer<Reply>, StoreError> {
        let closed = || self.board.failure().unwrap_or_else(closed);
        if let Some(failure) = self.board.failure() {
            return Err(failure);
        }
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let (reply, wait) = oneshot::channel();
        let work = Work::Do {
            command,
            reply,
            _room: room,
        };
        self.work.send(work).map_err(|_| closed())?;
        match wait.await {
            Ok(reply) => reply,
            // It was dropped undone when the thread ended.
            Err(_) => Err(closed()),
        }
    }

    /// The answer to a command whose reply can only be of one kind.
    async fn ask<T>(
        &self,
        command: Command,
        kind: impl FnOnce(Reply) -> Option<Result<T, CommitError>>,
    ) -> Result<Answer<T>, StoreError> {
        let answer = self.submit(command).await?;
        let wrong = || StoreError::Broken("its thread answered another command".to_owned());
        answer
            .map(|reply| kind(reply).ok_or_else(wrong)?.map_err(StoreError::from))
            .transpose()
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it was closed".to_owned())
}

/// Owns the file until it is closed or every handle is gone.
fn run(mut engine: Engine, board: &Board, queue: &Receiver<Work>) {
    let clock = Clock {
        began: Instant::now(),
        offset: engine.now(),
    };
    loop {
        let first = match engine.poll_timeout() {
            Some(due) => queue.recv_timeout(due.since(clock.now())),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut work = match first {
            Ok(work) => vec![work],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while work.len() < BATCH_COMMANDS && !matches!(work.last(), Some(Work::Close(_))) {
            match queue.try_recv() {
                Ok(more) => work.push(more),
                Err(_) => break,
            }
        }
        let mut closing = None;
        let mut commands = Vec::with_capacity(work.len());
        let mut replies = Vec::with_capacity(work.len());
        for work in work {
            match work {
                Work::Do {
                    command,
                    reply,
                    _room,
                } => {
                    commands.push(command);
                    replies.push((reply, _room));
                }
                Work::Close(closed) => closing = Some(closed),
            }
        }
        // A panic in the library leaves as little behind as an error of the disk.
        let ran = catch_unwind(AssertUnwindSafe(|| engine.run(clock.now(), commands)));
        let ran = ran.map_err(|_| "its database panicked".to_owned());
        match ran.and_then(|ran| ran.map_err(|error| error.to_string())) {
            Ok(done) => {
                let state = engine.state();
                if done.changed {
                    board.publish(state.clone());
                }
                for ((reply, _), (value, revision)) in replies.into_iter().zip(done.replies) {
                    let answer = Answer {
                        revision,
                        ..answer(value, &state)
                    };
                    // Whoever does not wait any more does not want to know.
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                board.fail(StoreError::Broken(error.clone()));
                for (reply, _) in replies {
                    let _ = reply.send(Err(StoreError::Unknown(error.clone())));
                }
                return;
            }
        }
        if let Some(closed) = closing {
            board.fail(self::closed());
            drop(engine);
            let _ = closed.send(());
            return;
        }
    }
}

/// The store's time: it goes on from where it was when the file was last written.
struct Clock {
    began: Instant,
    offset: Moment,
}

impl Clock {
    fn now(&self) -> Moment {
        self.offset.saturating_add(self.began.elapsed())
    }
}

impl Store for EmbeddedStore {
    fn caps(&self) -> Caps {
        Caps::new(self.bounds.ttl_min, self.bounds.ttl_max, EXPIRY_SLACK)
            .with_lease_causes()
            .with_durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            match self.board.failure() {
                Some(failure) => Err(failure),
                None => Ok(self.board.get(key)),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move {
            match self.board.failure() {
                Some(failure) => Err(failure),
                None => Ok(self.board.list(prefix)),
            }
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(self.ask(Command::Commit(txn), |reply| match reply {
            Reply::Committed(outcome) => Some(outcome),
            _ => None,
        }))
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(self.ask(Command::Grant(ttl), |reply| match reply {
            Reply::Granted(lease) => Some(lease),
            _ => None,
        }))
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            let asked = self.ask(Command::KeepAlive(ids.to_vec()), |reply| match reply {
                Reply::Renewed(renewed) => Some(Ok(renewed)),
                _ => None,
            });
            Ok(asked.await?.value)
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(self.ask(Command::Revoke(id), |reply| match reply {
            Reply::Revoked(was) => Some(Ok(was)),
            _ => None,
        }))
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(async move { self.board.watch(prefix, after) })
    }
}

/// Commands that wait for the thread; who comes after waits for room.
const QUEUE_COMMANDS: usize = 4096;
/// Commands of one write: what gathers within one sync of a slow disk.
const BATCH_COMMANDS: usize = 1024;
/// A write that is under way when a lease's time comes, and one more.
const EXPIRY_SLACK: Duration = Duration::from_millis(100);
