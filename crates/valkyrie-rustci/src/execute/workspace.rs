//! The directory in which a job runs.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// An empty directory of one attempt, removed when it is dropped unless it is to be kept.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
    keep: bool,
}

impl Workspace {
    /// Makes a directory below `base`, called after the job and otherwise unique.
    ///
    /// # Errors
    /// What the system says; nothing was made.
    pub fn create(base: &Path, job: &str, keep: bool) -> io::Result<Self> {
        std::fs::create_dir_all(base)?;
        let mut folder = tempfile::Builder::new()
            .prefix(&format!("{job}-"))
            .tempdir_in(base)?;
        folder.disable_cleanup(keep);
        Ok(Self { folder, keep })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it, or returns where it was kept.
    ///
    /// # Errors
    /// What the system says; parts of the directory may be left.
    pub fn close(self) -> io::Result<Option<PathBuf>> {
        match self.keep {
            true => Ok(Some(self.folder.path().to_owned())),
            false => self.folder.close().map(|()| None),
        }
    }
}
