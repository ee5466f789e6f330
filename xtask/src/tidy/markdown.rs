//! Links that lead somewhere: relative links between Markdown files, and citations of the protocol in code.

use super::Tree;
use crate::slug;

/// Checks that each relative link of a Markdown file leads to a file or folder, and its anchor to a heading.
pub(super) fn links(path: &str, text: &str, tree: &Tree, faults: &mut Vec<String>) {
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        for target in targets(&without_code(line)) {
            if is_elsewhere(&target) {
                continue;
            }
            if let Some(fault) = resolve(path, &target, tree) {
                faults.push(format!("{path}:{}: {fault}", index + 1));
            }
        }
    }
}

/// Checks each `//= protocol/FILE.md#anchor` of a Rust file against the protocol's headings.
pub(super) fn citations(path: &str, text: &str, tree: &Tree, faults: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        let Some(citation) = line.trim_start().strip_prefix("//=") else {
            continue;
        };
        let citation = citation.trim();
        let at = format!("{path}:{}", index + 1);
        let Some((file, anchor)) = citation
            .split_once('#')
            .filter(|(file, anchor)| file.starts_with("protocol/") && !anchor.is_empty())
        else {
            faults.push(format!("{at}: a citation reads `//= protocol/FILE.md#heading`"));
            continue;
        };
        match tree.get(&format!("docs/{file}")) {
            None => faults.push(format!("{at}: cites docs/{file}, which does not exist")),
            Some(text) if !slug::anchors(text).iter().any(|a| a == anchor) => {
                faults.push(format!("{at}: docs/{file} has no heading `#{anchor}`"));
            }
            Some(_) => {}
        }
    }
}

/// What is wrong with a link, if anything is.
fn resolve(from: &str, target: &str, tree: &Tree) -> Option<String> {
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let full = if file.is_empty() {
        from.to_owned()
    } else {
        match join(from, file) {
            Some(full) => full,
            None => return Some(format!("`{target}` leads out of the repository")),
        }
    };
    let Some(text) = tree.get(&full) else {
        let folder = format!("{full}/");
        let is_folder = full.is_empty() || tree.keys().any(|path| path.starts_with(&folder));
        return (!is_folder).then(|| format!("`{target}` leads nowhere"));
    };
    let anchor = anchor?;
    let known = slug::anchors(text).iter().any(|a| a == anchor);
    (full.ends_with(".md") && !known).then(|| format!("{full} has no heading `#{anchor}`"))
}

/// The path that `link` means in the file `from`, or `None` when it leaves the repository.
fn join(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The targets of `[text](target)` and `[name]: target` in a line.
fn targets(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find("](") {
        rest = &rest[start + 2..];
        let Some(end) = rest.find(')') else { break };
        found.push(
            rest[..end]
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
        rest = &rest[end..];
    }
    let is_definition = line.starts_with('[') && !line.starts_with("[^");
    if let Some((_, target)) = line.split_once("]: ").filter(|_| is_definition) {
        found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
    }
    found
}

/// The line with `inline code` left out, where brackets are no links.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Whether a link needs a network; those are not checked, so that the check cannot fail by weather.
fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}
