//! The ledger and its file: commands in, replies out, and what must outlive the process written and synced in between.
//!
//! It blocks, reads no clock and starts no thread, so that a test can own the disk and the time.

use std::fmt;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase};

use super::tables;
use crate::Moment;
use crate::ledger::{Bounds, CommitError, Effect, Ledger, RestoreError, State};
use crate::store::{KeepAlive, Lease, LeaseId, Outcome, Revision, Txn};

pub(super) struct Engine {
    ledger: Ledger,
    database: Database,
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    Commit(Txn),
    Grant(Duration),
    KeepAlive(Vec<LeaseId>),
    Revoke(LeaseId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Committed(Result<Outcome, CommitError>),
    Granted(Result<Lease, CommitError>),
    Renewed(Vec<KeepAlive>),
    Revoked(bool),
}

/// What came of commands: on the disk, if anything changed.
#[derive(Debug)]
pub(super) struct Done {
    /// Each with the revision after its own command, which others of the batch have left behind.
    pub(super) replies: Vec<(Reply, Revision)>,
    pub(super) changed: bool,
}

impl Engine {
    /// Reads what a database holds; an empty one is an empty ledger that begins after `begin`.
    pub(super) fn load(database: Database, bounds: Bounds, begin: Revision) -> Result<Self, LoadError> {
        let kept = {
            let read = database.begin_read().map_err(redb::Error::from)?;
            tables::read(&read)?
        };
        let ledger = match kept {
            Some((now, kept)) => Ledger::restore(bounds, now, kept)?,
            None => Ledger::beginning_after(bounds, begin),
        };
        Ok(Self { ledger, database })
    }

    pub(super) fn now(&self) -> Moment {
        self.ledger.now()
    }

    pub(super) fn state(&self) -> State {
        self.ledger.state()
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        self.ledger.poll_timeout()
    }

    /// Does commands, in order, and writes what they did in one transaction. After an error the ledger is ahead of the disk and
    /// must not be used.
    pub(super) fn run(&mut self, now: Moment, commands: Vec<Command>) -> Result<Done, redb::Error> {
        self.ledger.handle_timeout(now);
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let reply = match command {
                Command::Commit(txn) => Reply::Committed(self.ledger.commit(now, &txn)),
                Command::Grant(ttl) => Reply::Granted(self.ledger.grant(now, ttl)),
                Command::KeepAlive(ids) => {
                    let renewed = ids.into_iter().map(|id| self.ledger.keep_alive(now, id));
                    Reply::Renewed(renewed.collect())
                }
                Command::Revoke(id) => Reply::Revoked(self.ledger.revoke(now, id)),
            };
            replies.push((reply, self.ledger.revision()));
        }
        let effects: Vec<Effect> = std::iter::from_fn(|| self.ledger.poll_effect()).collect();
        let changed = !effects.is_empty();
        if changed {
            self.write(&effects)?;
        }
        Ok(Done { replies, changed })
    }

    fn write(&self, effects: &[Effect]) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        // What redb does unless told otherwise, said here because all of this stands on it.
        write.set_durability(Durability::Immediate)?;
        tables::write(&write, effects, &self.ledger)?;
        write.commit()?;
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// A file does not hold a registry.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{0}")]
    Database(#[from] redb::Error),
    #[error("{0}")]
    Ledger(#[from] RestoreError),
    #[error("{0}")]
    Content(&'static str),
}
