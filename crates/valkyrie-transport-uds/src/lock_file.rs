//! A lock that is held by living processes only.
//!
//! The kernel lets go of it when its holder ends, however that happens, so a lock that can be had proves that nobody
//! who obeys it is at work. The file's content and existence mean nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// Held until dropped; then its file is removed as well.
#[derive(Debug)]
pub(crate) struct LockFile {
    /// Keeping it open keeps the lock.
    _file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock without waiting.
    ///
    /// [`io::ErrorKind::WouldBlock`] says that somebody holds it.
    pub(crate) fn acquire(path: PathBuf) -> io::Result<Self> {
        for _ in 0..ATTEMPTS_MAX {
            // Neither a link to elsewhere nor a pipe that nobody reads may be put in the way.
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(open(&path, flags, Mode::RUSR | Mode::WUSR)?);
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // The last holder may have removed the file after we opened it. Then this lock is on a file that nobody
            // else will find, and proves nothing.
            if is_at(&file, &path)? {
                return Ok(Self { _file: file, path });
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still held, so that nobody can be holding what is removed.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Each attempt is lost only to a listener that ended at that very moment; so many in a row do not happen.
const ATTEMPTS_MAX: usize = 16;
