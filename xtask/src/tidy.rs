//! The tidy check: what a reviewer would otherwise say again and again, said once by a program.
//!
//! It reads text, not syntax, so each rule is one that text can decide. It judges the files that git knows
//! or would take up, never build output. [`check`] is the place to start reading.

mod markdown;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::shell::Shell;

/// The text files of the repository by their path from its root, with `/` between the parts.
pub(crate) type Tree = BTreeMap<String, String>;

/// Reads every text file that git tracks or would add.
pub(crate) fn load(root: &Path) -> Result<Tree, Failure> {
    let list = Shell::new("git", root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .read()
        .ok_or(Failure::Missing {
            tool: "git, or the repository's history,",
            how: "clone the repository with git".to_owned(),
        })?;
    let mut tree = Tree::new();
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let path = root.join(name);
        // A file removed but not yet from the index is no file, and a link is judged where it points.
        if !path.is_file() || path.is_symlink() {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|source| Failure::File {
            path: path.clone(),
            source,
        })?;
        if let Ok(text) = String::from_utf8(bytes) {
            tree.insert(name.to_owned(), text);
        }
    }
    Ok(tree)
}

/// Every fault in the tree, a line each: `path:line: what is wrong`.
pub(crate) fn check(tree: &Tree, metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree {
        if is_prose_or_code(path) {
            whitespace(path, text, &mut faults);
            machine_paths(path, text, &mut faults);
        }
        if path.ends_with(".rs") {
            source::check(path, text, &mut faults);
            markdown::citations(path, text, tree, &mut faults);
        }
        if path.ends_with(".md") {
            markdown::links(path, text, tree, &mut faults);
        }
    }
    examples(tree, metadata, &mut faults);
    faults
}

/// Whether people write this file by hand; lock files and corpora follow rules of their own.
fn is_prose_or_code(path: &str) -> bool {
    const ENDINGS: [&str; 8] = [".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".proto", ".ci/run"];
    ENDINGS.iter().any(|ending| path.ends_with(ending))
}

fn whitespace(path: &str, text: &str, faults: &mut Vec<String>) {
    for (index, line) in text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            faults.push(format!(
                "{path}:{}: white space at the end of the line",
                index + 1
            ));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        faults.push(format!("{path}: no newline at the end of the file"));
    }
}

/// A path that exists on one machine only has no place in the repository.
fn machine_paths(path: &str, text: &str, faults: &mut Vec<String>) {
    // Put together here so that this file does not find itself.
    let forbidden = [
        concat!("/wo", "rk"),
        concat!("/ro", "ot"),
        concat!("../sh", "ared"),
        concat!("/tmp/tar", "get-"),
    ];
    for (index, line) in text.lines().enumerate() {
        for needle in forbidden {
            let found = line.match_indices(needle).any(|(start, _)| {
                let before = line[..start].chars().next_back();
                let after = line[start + needle.len()..].chars().next();
                let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"/.-_~}*".contains(c));
                let ends =
                    needle.ends_with('-') || after.is_none_or(|c| !c.is_alphanumeric() && !"-_.".contains(c));
                begins && ends
            });
            if found {
                faults.push(format!(
                    "{path}:{}: `{needle}` exists on one machine only",
                    index + 1
                ));
            }
        }
    }
}

/// Every library of the house has something that a stranger can run: an example of its own, a package under
/// `examples/` that depends on it, or a file named in its manifest.
fn examples(tree: &Tree, metadata: &Metadata, faults: &mut Vec<String>) {
    for package in metadata.house() {
        if !package.has_target("lib") || package.has_target("bin") {
            continue;
        }
        let shown_by_package = metadata.examples().any(|example| {
            example
                .dependencies
                .iter()
                .any(|dependency| dependency.name == package.name)
        });
        let shown_by_file = match package.example_file() {
            Some(file) if tree.contains_key(file) => true,
            Some(file) => {
                faults.push(format!("{}: its example `{file}` does not exist", package.name));
                true
            }
            None => false,
        };
        if !package.has_target("example") && !shown_by_package && !shown_by_file {
            faults.push(format!(
                "{}: no example; add one in its `examples/`, a package under `examples/` that depends on it, \
                 or name a file with `example = \"…\"` in `[package.metadata.valkyrie]`",
                package.name
            ));
        }
    }
}
