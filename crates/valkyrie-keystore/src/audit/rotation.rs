//! The older files of a log: `audit.log.1` is the youngest of them. The chain goes on from each file to the next.
//!
//! Files move by being renamed, one at a time and the oldest first, so a program that dies in between leaves a number without a
//! file and loses no line; the next rotation fills that number and moves nothing beyond it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::KeystoreError;
use crate::home::Home;

/// How large a file of an audit log becomes, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRotation {
    /// A file with so many bytes is put aside before the next event is recorded. It is larger by what one event wrote: a few
    /// hundred bytes, more where a flood is summed up. A file holds a line at least, however small this is.
    pub file_bytes: u64,
    /// Files that are kept besides the one that is written, from 1 to [`AuditRotation::OLDER_FILES_MAX`]; what is older is
    /// removed. There is always one, since a file without a line yet goes on from the one before it.
    pub older_files: u32,
}

impl AuditRotation {
    /// More older files than this are never kept, and never looked for.
    pub const OLDER_FILES_MAX: u32 = 1000;
}

impl Default for AuditRotation {
    /// 64 MiB a file and eight older ones: over a million lines, more than a day of a flood that never ends, in less than
    /// 600 MiB of disk.
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            older_files: 8,
        }
    }
}

/// The name of an older file of the log `name`.
pub(super) fn older(name: &str, number: u32) -> String {
    format!("{name}.{number}")
}

/// The youngest of the older files, if there is one.
pub(super) fn youngest(home: &Home, name: &str) -> Option<String> {
    (1..=AuditRotation::OLDER_FILES_MAX)
        .map(|number| older(name, number))
        .find(|name| home.has(name))
}

/// Puts the log aside as the youngest of the older files, and removes those that are too many.
pub(super) fn put_aside(home: &Home, name: &str, older_files: u32) -> Result<(), KeystoreError> {
    let keep = older_files.clamp(1, AuditRotation::OLDER_FILES_MAX);
    for number in keep + 1..=AuditRotation::OLDER_FILES_MAX {
        if home.has(&older(name, number)) {
            home.remove(&older(name, number))?;
        }
    }
    // Without a log here the last rotation was interrupted behind its last step, and everything has moved already.
    if !home.has(name) {
        return Ok(());
    }
    let free = (1..keep)
        .find(|number| !home.has(&older(name, *number)))
        .unwrap_or(keep);
    for number in (1..free).rev() {
        home.rename(&older(name, number), &older(name, number + 1))?;
    }
    home.rename(name, &older(name, 1))
}

/// The files of the log at `path` that are there, opened, the oldest first and the one that is written last.
///
/// # Errors
/// There is none at all, one cannot be opened, or the log was put aside over and over meanwhile.
pub fn audit_files(path: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    for _ in 0..LISTINGS_MAX {
        let files = opened(path)?;
        // What is open stays what it is; only the names may have moved on between one opening and the next.
        if opened(path)?
            .iter()
            .map(|(_, file)| identity(file))
            .eq(files.iter().map(|(_, file)| identity(file)))
        {
            return Ok(files);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "the log is put aside faster than its files can be opened",
    ))
}

fn opened(path: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut files = Vec::new();
    for number in (1..=AuditRotation::OLDER_FILES_MAX).rev() {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let path = PathBuf::from(name);
        match File::open(&path) {
            Ok(file) => files.push((path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    match File::open(path) {
        Ok(file) => files.push((path.to_owned(), file)),
        // Its writer died between putting it aside and beginning a new one.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !files.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok(files)
}

fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Looks at the directory before one gives up: a log is put aside once in hours.
const LISTINGS_MAX: u32 = 16;
