//! The part of `cargo metadata` that the checks read. It lists declared dependencies and resolves nothing,
//! so it needs no network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::failure::Failure;

/// The workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The members.
    pub(crate) packages: Vec<Package>,
    /// Where builds go.
    pub(crate) target_directory: PathBuf,
    /// Where the workspace is.
    pub(crate) workspace_root: PathBuf,
}

/// One member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What its manifest declares, of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its features and what each turns on.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// Libraries, programs, examples, tests and benches.
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
    /// `[package.metadata]`.
    #[serde(default)]
    pub(crate) metadata: serde_json::Value,
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package it names.
    pub(crate) name: String,
    /// `None` is a normal dependency; else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// The name it goes by in this manifest, when that differs.
    pub(crate) rename: Option<String>,
}

/// One thing that a package builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `example`, `test`, `bench` or `custom-build`.
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    /// Asks cargo about the workspace at `root`.
    pub(crate) fn load(root: &Path) -> Result<Self, Failure> {
        let output = Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(root)
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|source| Failure::File {
                path: root.to_path_buf(),
                source,
            })?;
        if !output.status.success() {
            return Err(Failure::Command {
                line: "cargo metadata".to_owned(),
                status: output.status.to_string(),
            });
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The packages of the house: those whose folder is directly under `crates/`.
    pub(crate) fn house(&self) -> impl Iterator<Item = &Package> {
        let crates = self.workspace_root.join("crates");
        self.packages
            .iter()
            .filter(move |package| package.is_under(&crates))
    }

    /// The small packages under `examples/` that show one crate used alone.
    pub(crate) fn examples(&self) -> impl Iterator<Item = &Package> {
        let examples = self.workspace_root.join("examples");
        self.packages
            .iter()
            .filter(move |package| package.is_under(&examples))
    }
}

impl Package {
    /// Whether the package's folder is directly under `folder`.
    fn is_under(&self, folder: &Path) -> bool {
        self.manifest_path.parent().and_then(Path::parent) == Some(folder)
    }

    /// `[package.metadata.valkyrie] floor`, when it is there and a small number.
    pub(crate) fn floor(&self) -> Option<u8> {
        let floor = self.metadata.get("valkyrie")?.get("floor")?.as_u64()?;
        u8::try_from(floor).ok()
    }

    /// `[package.metadata.valkyrie] example`: a file, from the root, that shows the package at work.
    pub(crate) fn example_file(&self) -> Option<&str> {
        self.metadata.get("valkyrie")?.get("example")?.as_str()
    }

    /// Whether it builds something of this kind.
    pub(crate) fn has_target(&self, kind: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.kind.iter().any(|k| k == kind))
    }
}
