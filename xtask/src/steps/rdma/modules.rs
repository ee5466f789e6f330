//! Modules of the guest's kernel, and what each needs to be loaded before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::shell::Shell;

use super::read;

/// The modules in `folder` that are wanted, and those they need, in the order in which they must be loaded.
pub(super) fn in_order(
    root: &Path,
    folder: &Path,
    wanted: &[&str],
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let built_in = String::from_utf8_lossy(&read(&folder.join("modules.builtin"))?)
        .lines()
        .filter_map(|line| name(Path::new(line)))
        .collect();
    let mut search = Search {
        root,
        files: BTreeMap::new(),
        built_in,
        seen: BTreeSet::new(),
        order: Vec::new(),
    };
    index(folder, &mut search.files);
    for module in wanted {
        search.visit(module)?;
    }
    Ok(search.order)
}

struct Search<'a> {
    root: &'a Path,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    seen: BTreeSet<String>,
    order: Vec<(String, Vec<u8>)>,
}

impl Search<'_> {
    fn visit(&mut self, module: &str) -> Result<(), Failure> {
        let module = module.replace('-', "_");
        if self.built_in.contains(&module) || !self.seen.insert(module.clone()) {
            return Ok(());
        }
        let Some(path) = self.files.get(&module).cloned() else {
            return Failure::unless_empty("modules that the guest's kernel lacks", vec![module]);
        };
        let content = self.content(&path)?;
        for need in needs(&content) {
            // What should be there before, if it is there at all, may well not be.
            if need.must || self.files.contains_key(&need.module) {
                self.visit(&need.module)?;
            }
        }
        self.order.push((module, content));
        Ok(())
    }

    /// A module as the kernel takes it. Some releases keep them compressed.
    fn content(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        if path.extension().is_some_and(|extension| extension == "xz") {
            Shell::new("xz", self.root)
                .args(["--decompress", "--keep", "--force", &path.to_string_lossy()])
                .run()?;
            return read(&path.with_extension(""));
        }
        read(path)
    }
}

/// What a module says that it needs.
#[derive(Debug, PartialEq, Eq)]
struct Need {
    module: String,
    must: bool,
}

/// A module's needs are text in it, each piece of which ends with a zero byte: `depends=a,b` and `softdep=pre: c d`.
fn needs(content: &[u8]) -> Vec<Need> {
    let mut needs = Vec::new();
    for piece in content.split(|byte| *byte == 0) {
        let Ok(text) = std::str::from_utf8(piece) else {
            continue;
        };
        let (list, must) = if let Some(list) = text.strip_prefix("depends=") {
            (list, true)
        } else if let Some(list) = text.strip_prefix("softdep=pre: ") {
            (list, false)
        } else {
            continue;
        };
        for module in list.split([',', ' ']).filter(|module| !module.is_empty()) {
            let module = module.replace('-', "_");
            needs.push(Need { module, must });
        }
    }
    needs
}

/// The files below `folder` that are modules, by name.
fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => index(&path, files),
            _ => {
                if let Some(name) = name(&path) {
                    files.insert(name, path);
                }
            }
        }
    }
}

/// The name of the module in a file: `rdma_rxe` for `…/rdma_rxe.ko` and `…/rdma-rxe.ko.xz`.
fn name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_out_of_a_module() {
        let content = b"\x7fELF\0license=GPL\0depends=ib_core,ib-uverbs\0softdep=pre: crc32c\0depends=\0";
        let need = |module: &str, must| Need {
            module: module.to_owned(),
            must,
        };
        assert_eq!(
            needs(content),
            [
                need("ib_core", true),
                need("ib_uverbs", true),
                need("crc32c", false)
            ]
        );
    }

    #[test]
    fn modules_are_named_as_the_kernel_names_them() {
        assert_eq!(name(Path::new("a/rdma-rxe.ko")).as_deref(), Some("rdma_rxe"));
        assert_eq!(name(Path::new("a/ib_core.ko.xz")).as_deref(), Some("ib_core"));
        assert_eq!(name(Path::new("a/modules.dep")), None);
    }
}
