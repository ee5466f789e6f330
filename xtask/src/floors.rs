//! The floors check: a crate of the house depends only on strictly lower floors.
//!
//! It reads declared dependencies, not what the code says, so it also sees an edge that nobody uses yet.
//! The rules and their reasons are in `docs/architecture.md`; [`check`] is the place to start reading.

use std::collections::BTreeMap;
use std::path::Path;

use crate::metadata::{Dependency, Metadata, Package};

#[cfg(test)]
mod tests;

/// What the floors check found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Crates checked.
    pub(crate) crates: usize,
    /// Edges between crates of the house.
    pub(crate) edges: usize,
    /// One sentence for each broken rule.
    pub(crate) faults: Vec<String>,
}

/// Checks the house. `read` gives a manifest's text, for the line numbers in messages; `architecture` is the
/// text of `docs/architecture.md`, whose table must say what the manifests say.
pub(crate) fn check(metadata: &Metadata, architecture: &str, read: impl Fn(&Path) -> String) -> Report {
    let house: BTreeMap<&str, &Package> = metadata
        .house()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let members: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let documented = documented_floors(architecture);
    let mut report = Report {
        crates: house.len(),
        edges: 0,
        faults: Vec::new(),
    };
    for package in house.values() {
        let manifest = read(&package.manifest_path);
        let shown = package
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .unwrap_or(&package.manifest_path)
            .display();
        let Some(floor) = package.floor() else {
            report.faults.push(format!(
                "{shown}: {} has no floor; add `[package.metadata.valkyrie]` with `floor = N`",
                package.name
            ));
            continue;
        };
        match documented.get(package.name.as_str()) {
            None => report.faults.push(format!(
                "docs/architecture.md: the table has no row for {} (floor {floor})",
                package.name
            )),
            Some(said) if *said != floor => report.faults.push(format!(
                "docs/architecture.md: the table puts {} on floor {said}, its manifest on floor {floor}",
                package.name
            )),
            Some(_) => {}
        }
        for dependency in &package.dependencies {
            let at = || format!("{shown}:{}", manifest_line(&manifest, dependency));
            if let Some(target) = house.get(dependency.name.as_str()) {
                report.edges += 1;
                // A target without a floor is reported where it is declared.
                let Some(target_floor) = target.floor() else {
                    continue;
                };
                if !may_depend(floor, target_floor, dependency) {
                    report.faults.push(format!(
                        "{}: {} (floor {floor}) {} {} (floor {target_floor}); \
                         a crate depends only on strictly lower floors",
                        at(),
                        package.name,
                        verb(dependency),
                        target.name,
                    ));
                }
            } else if members.contains(&dependency.name.as_str()) {
                report.faults.push(format!(
                    "{}: {} {} {}, which is no crate of the house",
                    at(),
                    package.name,
                    verb(dependency),
                    dependency.name
                ));
            } else if floor == 0
                && dependency.kind.as_deref() != Some("dev")
                && dependency.name != GROUND_FLOOR_DEPENDENCY
            {
                report.faults.push(format!(
                    "{}: {} (floor 0) {} {}; its only dependency is {GROUND_FLOOR_DEPENDENCY}",
                    at(),
                    package.name,
                    verb(dependency),
                    dependency.name
                ));
            }
        }
    }
    report
}

/// Whether a crate on `floor` may declare this edge.
fn may_depend(floor: u8, target_floor: u8, dependency: &Dependency) -> bool {
    let counterpart =
        dependency.kind.as_deref() == Some("dev") && TEST_COUNTERPARTS.contains(&dependency.name.as_str());
    counterpart || target_floor < floor
}

fn verb(dependency: &Dependency) -> &'static str {
    match dependency.kind.as_deref() {
        Some("dev") => "depends for its tests on",
        Some("build") => "depends for its build on",
        _ => "depends on",
    }
}

/// The line of a manifest that declares a dependency, counted from 1; 1 when it cannot be told.
fn manifest_line(manifest: &str, dependency: &Dependency) -> usize {
    let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
    let table_suffix = match dependency.kind.as_deref() {
        Some("dev") => "dev-dependencies",
        Some("build") => "build-dependencies",
        _ => "dependencies",
    };
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            if header.ends_with(&format!("{table_suffix}.{name}")) {
                return index + 1;
            }
            // `[target.'cfg(unix)'.dependencies]` counts, `[dev-dependencies]` is another table.
            in_table = header == table_suffix || header.ends_with(&format!(".{table_suffix}"));
        } else if in_table
            && line
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        {
            return index + 1;
        }
    }
    1
}

/// The floors in the rows ``| N | `crate` | …`` of the architecture page.
fn documented_floors(architecture: &str) -> BTreeMap<&str, u8> {
    let mut floors = BTreeMap::new();
    for line in architecture.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(floor), Some(name)) = (cells.next(), cells.next()) else {
            continue;
        };
        if let (Ok(floor), Some(name)) = (
            floor.parse(),
            name.strip_prefix('`').and_then(|n| n.strip_suffix('`')),
        ) {
            floors.insert(name, floor);
        }
    }
    floors
}

/// Crates that any crate may use in its tests: the other side of a test is often a floor above.
/// Cargo allows such a circle for tests, and nothing of it is in what users build.
const TEST_COUNTERPARTS: [&str; 4] = [
    "valkyrie-sim",
    "valkyrie-transport",
    "valkyrie-transport-tcp",
    "valkyrie-transport-uds",
];

/// The one package that floor 0 may use, so that the codec stays cheap to adopt.
const GROUND_FLOOR_DEPENDENCY: &str = "bytes";
