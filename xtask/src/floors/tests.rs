//! The floors check on made-up workspaces.

use std::path::Path;

use serde_json::{Value, json};

use super::{Report, check};
use crate::metadata::Metadata;

const ARCHITECTURE: &str = "\
| floor | crate | what |
|---|---|---|
| 0 | `low` | bytes |
| 1 | `middle` | logic |
| 1 | `beside` | logic |
| 2 | `valkyrie-sim` | tests |
";

const MANIFEST: &str = "\
[package]
name = \"x\"

[dependencies]
middle = { path = \"../middle\" }
beside.workspace = true

[dev-dependencies]
valkyrie-sim.workspace = true
middle.workspace = true
";

fn package(name: &str, floor: Value, dependencies: &[(&str, Value)]) -> Value {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|(name, kind)| json!({"name": name, "kind": kind, "rename": null}))
        .collect();
    json!({
        "name": name,
        "manifest_path": format!("/r/crates/{name}/Cargo.toml"),
        "dependencies": dependencies,
        "metadata": {"valkyrie": {"floor": floor}},
    })
}

fn run(packages: Vec<Value>) -> Report {
    let metadata: Metadata = serde_json::from_value(json!({
        "packages": packages,
        "target_directory": "/r/target",
        "workspace_root": "/r",
    }))
    .unwrap();
    check(&metadata, ARCHITECTURE, |_: &Path| MANIFEST.to_owned())
}

#[test]
fn downward_edges_pass() {
    let report = run(vec![
        package("low", json!(0), &[("bytes", Value::Null)]),
        package(
            "middle",
            json!(1),
            &[("low", Value::Null), ("serde", Value::Null)],
        ),
    ]);
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!((report.crates, report.edges), (2, 1));
}

#[test]
fn upward_edge_names_both_crates_floors_and_line() {
    let report = run(vec![
        package("low", json!(0), &[("middle", Value::Null)]),
        package("middle", json!(1), &[]),
    ]);
    assert_eq!(
        report.faults,
        [
            "crates/low/Cargo.toml:5: low (floor 0) depends on middle (floor 1); \
          a crate depends only on strictly lower floors"
        ]
    );
}

#[test]
fn sideways_edge_fails() {
    let report = run(vec![
        package("middle", json!(1), &[("beside", Value::Null)]),
        package("beside", json!(1), &[]),
    ]);
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].starts_with("crates/middle/Cargo.toml:6: middle (floor 1)"));
}

#[test]
fn build_edge_counts_as_any_other() {
    let report = run(vec![
        package("low", json!(0), &[("middle", json!("build"))]),
        package("middle", json!(1), &[]),
    ]);
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].contains("depends for its build on middle"));
}

#[test]
fn tests_may_use_a_counterpart_from_above() {
    let report = run(vec![
        package("middle", json!(1), &[("valkyrie-sim", json!("dev"))]),
        package("valkyrie-sim", json!(2), &[("middle", Value::Null)]),
    ]);
    assert_eq!(report.faults, Vec::<String>::new());
}

#[test]
fn tests_may_not_use_just_any_crate_from_above() {
    let report = run(vec![
        package("low", json!(0), &[("middle", json!("dev"))]),
        package("middle", json!(1), &[]),
    ]);
    assert_eq!(report.faults.len(), 1);
    assert!(
        report.faults[0].starts_with("crates/low/Cargo.toml:10:"),
        "{}",
        report.faults[0]
    );
}

#[test]
fn missing_floor_fails() {
    for floor in [Value::Null, json!("1"), json!(-1), json!(1000)] {
        let report = run(vec![package("low", floor, &[])]);
        assert_eq!(report.faults.len(), 1);
        assert!(report.faults[0].contains("low has no floor"));
    }
}

#[test]
fn floor_zero_depends_on_bytes_alone() {
    let report = run(vec![package(
        "low",
        json!(0),
        &[
            ("bytes", Value::Null),
            ("serde", Value::Null),
            ("proptest", json!("dev")),
        ],
    )]);
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].contains("depends on serde"));
}

#[test]
fn house_does_not_lean_on_what_stands_outside_it() {
    let mut outside = package("xtask", json!(0), &[]);
    outside["manifest_path"] = json!("/r/xtask/Cargo.toml");
    let report = run(vec![
        package("middle", json!(1), &[("xtask", json!("dev"))]),
        outside,
    ]);
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].contains("xtask, which is no crate of the house"));
}

#[test]
fn architecture_page_must_agree() {
    let report = run(vec![
        package("low", json!(1), &[]),
        package("attic", json!(9), &[]),
    ]);
    assert_eq!(
        report.faults,
        [
            "docs/architecture.md: the table has no row for attic (floor 9)",
            "docs/architecture.md: the table puts low on floor 0, its manifest on floor 1",
        ]
    );
}
