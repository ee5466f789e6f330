//! The directory of a node, and the files in it: who may read them, how they are read and how they are replaced.
//!
//! Everything goes through the one descriptor of the directory, so that nobody moves it away between a check and a use.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::error::KeystoreError;
use crate::file::{Stamp, random_suffix};

#[cfg(test)]
mod tests;

/// The directory that holds a node's files. Only its owner may look into it. Cloning shares the descriptor.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    directory: Arc<OwnedFd>,
}

/// Whom a file may be open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Nobody but its owner may even read it.
    Secret,
    /// Anybody may read it, nobody but its owner may change it.
    Public,
}

impl Privacy {
    const fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }

    /// The permission bits that must not be there.
    const fn forbidden(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Public => 0o022,
        }
    }
}

impl Home {
    /// Where a node's directory is unless somebody says otherwise: `$VALKYRIE_HOME`, else `valkyrie` in
    /// `$XDG_CONFIG_HOME`, else `~/.config/valkyrie`.
    ///
    /// # Errors
    /// [`KeystoreError::NoHome`] where the environment names none of them.
    pub fn default_path() -> Result<PathBuf, KeystoreError> {
        default_path(|name| env::var_os(name))
    }

    /// Opens the directory, and makes it where it is not there.
    ///
    /// # Errors
    /// It cannot be made or opened, it belongs to another user, or others may look into it.
    pub fn make(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let path = path.as_ref();
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(|error| KeystoreError::io("made", path, error))?;
        Self::open(path)
    }

    /// Opens the directory, which has to be there.
    ///
    /// # Errors
    /// It cannot be opened, it belongs to another user, or others may look into it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => KeystoreError::NoIdentity(path.to_owned()),
            error => KeystoreError::io("opened", path, error),
        })?;
        check(
            path,
            &stat(path, &directory)?,
            FileType::Directory,
            0o077,
            DIRECTORY_MODE,
        )?;
        Ok(Self {
            path: path.to_owned(),
            directory: Arc::new(directory),
        })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, for people.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits until no other process changes files here, and keeps them from it until the guard is dropped.
    pub(crate) fn lock(&self) -> Result<Lock, KeystoreError> {
        let path = self.path_of(LOCK_FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = self.open_at(LOCK_FILE, flags, Privacy::Secret)?;
        loop {
            match fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::INTR) => {}
                Err(error) => return Err(KeystoreError::io("locked", &path, error)),
            }
        }
    }

    /// Reads a file; `None` where there is none.
    pub(crate) fn read(
        &self,
        name: &str,
        privacy: Privacy,
        bytes_max: usize,
    ) -> Result<Option<Contents>, KeystoreError> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match self.open_at(name, flags, privacy) {
            Ok(file) => file,
            Err(KeystoreError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let found = stat(&path, &file)?;
        check(
            &path,
            &found,
            FileType::RegularFile,
            privacy.forbidden(),
            privacy.mode(),
        )?;
        let bytes = read_bounded(&path, file, bytes_max)?;
        Ok(Some(Contents {
            bytes,
            stamp: Stamp::of(&found),
        }))
    }

    /// What tells whether a file is another one than when it was read; `None` where there is none.
    pub(crate) fn stamp(&self, name: &str) -> Option<Stamp> {
        let found = fs::statat(&*self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Stamp::of(&found))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.stamp(name).is_some()
    }

    /// Makes a directory in it, if need be.
    pub(crate) fn make_inside(&self, name: &str) -> Result<(), KeystoreError> {
        match fs::mkdirat(&*self.directory, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(KeystoreError::io("made", &self.path_of(name), error)),
        }
    }

    /// Names of the files in a directory inside, in order, no more than `files_max`; empty where there is no such directory.
    pub(crate) fn list(&self, name: &str, files_max: usize) -> Result<Vec<String>, KeystoreError> {
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = match fs::openat(&*self.directory, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(KeystoreError::io("read", &path, error)),
        };
        let entries =
            fs::Dir::read_from(&directory).map_err(|error| KeystoreError::io("read", &path, error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| KeystoreError::io("read", &path, error))?;
            // What begins with a dot is a directory, or a file that is being written.
            match entry.file_name().to_str() {
                Ok(entry) if !entry.starts_with('.') => names.push(entry.to_owned()),
                _ => {}
            }
            if names.len() > files_max {
                let why = format!("more than {files_max} files, which is more than is read");
                return Err(KeystoreError::malformed(&path, 0, why));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Puts a file in place of whatever had its name. Whoever reads finds the old one or the new one, whole, even
    /// after the power has failed.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], privacy: Privacy) -> Result<Stamp, KeystoreError> {
        let path = self.path_of(name);
        let temporary = temporary_name(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let written = self
            .open_at(&temporary, flags, privacy)
            .and_then(|file| fill(&path, file, bytes))
            .and_then(|stamp| {
                fs::renameat(&*self.directory, &*temporary, &*self.directory, name)
                    .map_err(|error| KeystoreError::io("written", &path, error))?;
                // The new name has to be on disk as well, and that is the directory's content.
                self.sync(name)?;
                Ok(stamp)
            });
        if written.is_err() {
            let _ = fs::unlinkat(&*self.directory, &*temporary, AtFlags::empty());
        }
        written
    }

    /// Gives a file another name, and replaces whatever had it. It is not on disk before [`Home::sync`].
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), KeystoreError> {
        fs::renameat(&*self.directory, from, &*self.directory, to)
            .map_err(|error| KeystoreError::io("renamed", &self.path_of(from), error))
    }

    /// Takes a file away; nothing happens where there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<(), KeystoreError> {
        match fs::unlinkat(&*self.directory, name, AtFlags::empty()) {
            Ok(()) => self.sync(name),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(KeystoreError::io("removed", &self.path_of(name), error)),
        }
    }

    /// Opens a file to append to it, made where it is not there.
    pub(crate) fn append(&self, name: &str) -> Result<File, KeystoreError> {
        self.open_own(name, OFlags::APPEND)
    }

    /// Opens a file to write anywhere in it, made where it is not there.
    pub(crate) fn writable(&self, name: &str) -> Result<File, KeystoreError> {
        self.open_own(name, OFlags::empty())
    }

    fn open_own(&self, name: &str, more: OFlags) -> Result<File, KeystoreError> {
        let path = self.path_of(name);
        let flags = more | OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = self.open_at(name, flags, Privacy::Secret)?;
        check(
            &path,
            &stat(&path, &file)?,
            FileType::RegularFile,
            Privacy::Secret.forbidden(),
            Privacy::Secret.mode(),
        )?;
        Ok(file)
    }

    fn open_at(&self, name: &str, flags: OFlags, privacy: Privacy) -> Result<File, KeystoreError> {
        let path = self.path_of(name);
        match fs::openat(&*self.directory, name, flags, Mode::from_raw_mode(privacy.mode())) {
            Ok(file) => Ok(file.into()),
            Err(Errno::LOOP) => Err(KeystoreError::NotPlain {
                path,
                found: "a symbolic link",
                wanted: "a file",
            }),
            Err(error) => {
                let what = if flags.contains(OFlags::CREATE) {
                    "written"
                } else {
                    "read"
                };
                Err(KeystoreError::io(what, &path, error))
            }
        }
    }

    /// Waits until the directory that holds `name` is on disk.
    pub(crate) fn sync(&self, name: &str) -> Result<(), KeystoreError> {
        let path = self.path_of(name);
        let failed = |error| KeystoreError::io("written", &path, error);
        match Path::new(name).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let parent = fs::openat(&*self.directory, parent, flags, Mode::empty()).map_err(failed)?;
                fs::fsync(parent).map_err(failed)
            }
            _ => fs::fsync(&*self.directory).map_err(failed),
        }
    }
}

/// A file, read.
pub(crate) struct Contents {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) stamp: Stamp,
}

/// Keeps other processes from changing files until it is dropped.
#[must_use = "the lock is gone when this is dropped"]
pub(crate) struct Lock {
    _file: File,
}

/// Reads a file anywhere that nobody but its owner may read.
pub(crate) fn read_secret(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file =
        fs::open(path, flags, Mode::empty()).map_err(|error| KeystoreError::io("read", path, error))?;
    let file = File::from(file);
    let (forbidden, wanted) = (Privacy::Secret.forbidden(), Privacy::Secret.mode());
    check(
        path,
        &stat(path, &file)?,
        FileType::RegularFile,
        forbidden,
        wanted,
    )?;
    read_bounded(path, file, bytes_max)
}

/// Reads all of a file, unless that is more than `bytes_max`.
pub(crate) fn read_bounded(
    path: &Path,
    file: File,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let failed = |error| KeystoreError::io("read", path, error);
    let announced = file.metadata().map_err(failed)?.len();
    let room = usize::try_from(announced).unwrap_or(bytes_max).min(bytes_max);
    // With room for all of it, what is read of a secret is not left behind by a buffer that grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(KeystoreError::TooLarge {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(bytes)
}

fn fill(path: &Path, mut file: File, bytes: &[u8]) -> Result<Stamp, KeystoreError> {
    let failed = |error| KeystoreError::io("written", path, error);
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(Stamp::of(&stat(path, &file)?))
}

fn stat(path: &Path, file: impl AsFd) -> Result<fs::Stat, KeystoreError> {
    fs::fstat(file).map_err(|error| KeystoreError::io("read", path, error))
}

/// Refuses what others own, could read or could change.
fn check(
    path: &Path,
    found: &fs::Stat,
    kind: FileType,
    forbidden: u32,
    wanted: u32,
) -> Result<(), KeystoreError> {
    let user = rustix::process::geteuid().as_raw();
    let actual = FileType::from_raw_mode(found.st_mode);
    let mode = found.st_mode & 0o7777;
    if actual != kind {
        return Err(KeystoreError::NotPlain {
            path: path.to_owned(),
            found: if actual == FileType::Directory {
                "a directory"
            } else {
                "a device or a pipe"
            },
            wanted: if kind == FileType::Directory {
                "a directory"
            } else {
                "a file"
            },
        });
    }
    if found.st_uid != user {
        return Err(KeystoreError::Foreign {
            path: path.to_owned(),
            owner: found.st_uid,
            user,
        });
    }
    if mode & forbidden != 0 {
        return Err(KeystoreError::Loose {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}

/// A name beside the file that nobody else uses and no listing shows.
fn temporary_name(name: &str) -> Result<String, KeystoreError> {
    let suffix = random_suffix()?;
    Ok(match name.rsplit_once('/') {
        Some((directory, file)) => format!("{directory}/.{file}.{suffix}"),
        None => format!(".{name}.{suffix}"),
    })
}

/// Where a node's directory is, going by these variables.
fn default_path(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, KeystoreError> {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = set("VALKYRIE_HOME") {
        return Ok(path);
    }
    // A relative path there is to be ignored: XDG Base Directory Specification, section 2.
    let configuration = set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| Some(set("HOME")?.join(".config")))
        .ok_or(KeystoreError::NoHome)?;
    Ok(configuration.join("valkyrie"))
}

/// Held while files are changed. Its content means nothing.
const LOCK_FILE: &str = "lock";

/// Only the owner looks into the directory.
const DIRECTORY_MODE: u32 = 0o700;
