//! What every step knows: where the repository is, where builds go, and what the workspace holds.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::metadata::Metadata;

/// The repository as the steps see it.
#[derive(Debug)]
pub(crate) struct Context {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// What `cargo metadata` says of the workspace.
    pub(crate) metadata: Metadata,
}

impl Context {
    /// Reads the workspace that this program was built from.
    pub(crate) fn load() -> Result<Self, Failure> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir.parent().unwrap_or(manifest_dir).to_path_buf();
        let metadata = Metadata::load(&root)?;
        Ok(Self { root, metadata })
    }

    /// A folder of ours below Cargo's target folder: ignored by git, kept between runs.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.metadata.target_directory.join("xtask").join(name);
        std::fs::create_dir_all(&path).map_err(|source| Failure::File {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }
}
