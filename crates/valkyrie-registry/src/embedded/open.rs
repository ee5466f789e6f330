//! Opening the file under supervision: a corrupt one is reported and kept aside, whatever the library makes of it.

use std::ffi::OsString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[cfg(test)]
use redb::StorageBackend;
use redb::{Database, DatabaseError};

use super::engine::{Engine, LoadError};
use crate::ledger::Bounds;
use crate::store::Revision;

/// Opens the store in a file.
pub(super) fn open(path: &Path, bounds: Bounds, begin: Revision) -> Result<Engine, OpenError> {
    let opened = supervised(|| Database::create(path), bounds, begin);
    match opened {
        Ok(engine) => Ok(engine),
        Err(Fault::InUse) => Err(OpenError::InUse(path.to_owned())),
        Err(Fault::Io(source)) => Err(OpenError::Io {
            path: path.to_owned(),
            source,
        }),
        Err(Fault::Corrupt(detail)) => {
            let kept = keep_aside(path).map_err(|source| OpenError::Io {
                path: path.to_owned(),
                source,
            })?;
            Err(OpenError::Corrupt {
                path: path.to_owned(),
                kept,
                detail,
            })
        }
    }
}

/// Opens the store on a disk of the caller's.
#[cfg(test)]
pub(super) fn open_on(disk: impl StorageBackend, bounds: Bounds) -> Result<Engine, Fault> {
    supervised(
        || Database::builder().create_with_backend(disk),
        bounds,
        Revision::NONE,
    )
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Fault {
    InUse,
    Io(io::Error),
    Corrupt(String),
}

fn supervised(
    database: impl FnOnce() -> Result<Database, DatabaseError>,
    bounds: Bounds,
    begin: Revision,
) -> Result<Engine, Fault> {
    // A file that another program wrote to, or a disk that lied about syncing, makes the library panic now and then. Nothing
    // that it touched is used afterwards.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let not_opened = |error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Fault::InUse,
            DatabaseError::Storage(error) => fault(error.into()),
            other => Fault::Corrupt(other.to_string()),
        };
        let mut database = database().map_err(not_opened)?;
        // All checksums, which the library looks at by itself only after a crash: the file is read as a whole anyway, and a
        // fault found now is not found while agents wait. What it could repair is judged by what is in the tables.
        let _sound = database.check_integrity().map_err(not_opened)?;
        Engine::load(database, bounds, begin).map_err(|error| match error {
            LoadError::Database(error) => fault(error),
            other => Fault::Corrupt(other.to_string()),
        })
    }));
    opened.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::Corrupt(said.unwrap_or("reading it panicked").to_owned()))
    })
}

fn fault(error: redb::Error) -> Fault {
    match error {
        // What a file that is too short or no database at all looks like to the library.
        redb::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            Fault::Corrupt(error.to_string())
        }
        redb::Error::Io(error) => Fault::Io(error),
        other => Fault::Corrupt(other.to_string()),
    }
}

/// Renames a file to the first free name of `NAME.corrupt-1`, `-2`, ….
fn keep_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=KEPT_MAX {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{number}"));
        let kept = PathBuf::from(name);
        if !kept.try_exists()? {
            std::fs::rename(path, &kept)?;
            return Ok(kept);
        }
    }
    Err(io::Error::other("there are too many corrupt files already"))
}

/// The store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("{0} is in use by another registry")]
    InUse(PathBuf),
    /// The system does not let us.
    #[error("{path} cannot be opened: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what was written to it. It has been renamed and is otherwise untouched; opening again begins anew, and agents
    /// register again.
    #[error("{path} is corrupt and is kept as {kept}: {detail}")]
    Corrupt {
        /// Where it was.
        path: PathBuf,
        /// Where it is now.
        kept: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The system gives no thread.
    #[error("there is no thread for the store: {0}")]
    Thread(io::Error),
    /// The thread ended before it had opened anything, which is a fault of this crate.
    #[error("the store's thread ended early")]
    Ended,
}

/// Corrupt files that are kept: past this many somebody should look.
const KEPT_MAX: u32 = 100;
