//! Each tidy rule on a made-up tree: what it refuses, and what looks alike but is allowed.

use serde_json::json;

use super::{Tree, check};
use crate::metadata::Metadata;

fn metadata(packages: &serde_json::Value) -> Metadata {
    serde_json::from_value(json!({
        "packages": packages,
        "target_directory": "/r/target",
        "workspace_root": "/r",
    }))
    .unwrap()
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let tree: Tree = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    check(&tree, &metadata(&json!([])))
}

const NOTHING: [&str; 0] = [];

#[test]
fn unfinished_marks_are_found_as_whole_words() {
    let mark = concat!("TO", "DO");
    let call = concat!("to", "do!()");
    let text = format!("//! Docs.\nfn f() {{ {call} }}\n// {mark}: later\n// {mark}S is a name\n");
    let found = faults(&[("a.rs", &text)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("a.rs:2:") && found[1].starts_with("a.rs:3:"));
}

#[test]
fn long_files_are_refused_at_the_limit() {
    let at = format!("//! Docs.\n{}", "//\n".repeat(699));
    assert_eq!(faults(&[("a.rs", &at)]), NOTHING);
    let past = format!("{at}//\n");
    assert_eq!(faults(&[("a.rs", &past)]).len(), 1);
}

#[test]
fn files_begin_with_module_docs() {
    assert_eq!(faults(&[("a.rs", "#![no_std]\n\n//! Docs.\n")]), NOTHING);
    assert_eq!(faults(&[("a.rs", "// Only a comment.\n")]).len(), 1);
    assert_eq!(faults(&[("a.rs", "")]).len(), 1);
    assert_eq!(faults(&[("a/tests.rs", "use super::f;\n")]), NOTHING);
}

#[test]
fn tests_do_not_sleep() {
    let nap = concat!("//! T.\nfn f() { std::thread::sle", "ep(D); }\n");
    assert_eq!(faults(&[("c/tests/a.rs", nap)]).len(), 1);
    assert_eq!(faults(&[("c/src/x/tests.rs", nap)]).len(), 1);
    assert_eq!(faults(&[("c/src/x.rs", nap)]), NOTHING);
    let imported = concat!(
        "//! T.\nuse tokio::time::sleep;\nasync fn f() { sle",
        "ep(D).await }\n"
    );
    assert_eq!(faults(&[("c/tests/a.rs", imported)]).len(), 1);
    let named = concat!("//! T.\nfn f() { no_sle", "ep(); }\n");
    assert_eq!(faults(&[("c/tests/a.rs", named)]), NOTHING);
}

#[test]
fn virtual_time_may_sleep_but_threads_may_not() {
    let paused = concat!(
        "//! T.\n#[tokio::test(start_paused = true)]\n",
        "async fn f() { tokio::time::sle",
        "ep(D).await }\n"
    );
    assert_eq!(faults(&[("c/tests/a.rs", paused)]), NOTHING);
    let thread = format!("{paused}{}", concat!("fn g() { std::thread::sle", "ep(D) }\n"));
    assert_eq!(faults(&[("c/tests/a.rs", &thread)]).len(), 1);
}

#[test]
fn sans_io_crates_read_no_clock() {
    let text = "//! P.\nfn f() { Instant::now(); }\n// Instant::now is for callers.\n";
    assert_eq!(faults(&[("crates/valkyrie-proto/src/a.rs", text)]).len(), 1);
    assert_eq!(faults(&[("crates/valkyrie-proto/src/a/tests.rs", text)]), NOTHING);
    assert_eq!(faults(&[("crates/valkyrie-endpoint/src/a.rs", text)]), NOTHING);
    let tested = "//! P.\n#[cfg(test)]\nmod tests;\nfn f() {}\n#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}\n";
    assert_eq!(faults(&[("crates/valkyrie-proto/src/a.rs", tested)]), NOTHING);
    let between = "//! P.\n#[cfg(test)]\nmod tests;\nfn f() { Instant::now(); }\n";
    assert_eq!(faults(&[("crates/valkyrie-proto/src/a.rs", between)]).len(), 1);
}

#[test]
fn machine_paths_are_refused() {
    let work = concat!("/wo", "rk");
    for text in [
        format!("see {work}/x\n"),
        format!("`{work}`\n"),
        concat!("../sh", "ared/x\n").to_owned(),
    ] {
        assert_eq!(faults(&[("a.md", &text)]).len(), 1, "{text}");
    }
    for text in [
        format!("{work}space\n"),
        format!("net{work}/x\n"),
        format!("GET {work}-items\n"),
    ] {
        assert_eq!(faults(&[("a.md", &text)]), NOTHING, "{text}");
    }
}

#[test]
fn white_space_at_line_ends_is_refused() {
    assert_eq!(faults(&[("a.md", "one \ntwo\n")]).len(), 1);
    assert_eq!(faults(&[("a.md", "one\r\n")]).len(), 1);
    assert_eq!(faults(&[("a.md", "one")]).len(), 1);
    assert_eq!(faults(&[("corpus/seed", "one ")]), NOTHING);
}

#[test]
fn links_lead_to_files_folders_and_headings() {
    let tree = [
        (
            "README.md",
            "[a](docs/a.md) [f](docs) [h](docs/a.md#a-heading) [me](#top)\n\n# Top\n",
        ),
        (
            "docs/a.md",
            "# A heading\n[up](../README.md) [out](https://example.org/x)\n",
        ),
    ];
    assert_eq!(faults(&tree), NOTHING);
    let broken = [
        (
            "README.md",
            "[a](docs/b.md)\n[h](docs/a.md#gone)\n[x]: nowhere.md\n`[c](code.md)`\n```\n[d](code.md)\n```\n",
        ),
        ("docs/a.md", "# A heading\n[out](../../x.md)\n"),
    ];
    let found = faults(&broken);
    assert_eq!(
        found,
        [
            "README.md:1: `docs/b.md` leads nowhere",
            "README.md:2: docs/a.md has no heading `#gone`",
            "README.md:3: `nowhere.md` leads nowhere",
            "docs/a.md:2: `../../x.md` leads out of the repository",
        ]
    );
}

#[test]
fn citations_resolve_to_headings() {
    let spec = ("docs/protocol/header.md", "# Header\n## Length\n");
    let good = "//! A.\n//= protocol/header.md#length\n";
    assert_eq!(faults(&[spec, ("a.rs", good)]), NOTHING);
    for bad in [
        "protocol/header.md#gone",
        "protocol/gone.md#length",
        "header.md#length",
        "protocol/header.md",
    ] {
        let text = format!("//! A.\n    //= {bad}\n");
        assert_eq!(faults(&[spec, ("a.rs", &text)]).len(), 1, "{bad}");
    }
}

#[test]
fn every_library_has_an_example() {
    let library = |name: &str, kinds: &[&str], file: serde_json::Value| {
        let targets: Vec<_> = kinds
            .iter()
            .map(|kind| json!({"name": "t", "kind": [kind]}))
            .collect();
        json!({
            "name": name, "manifest_path": format!("/r/crates/{name}/Cargo.toml"), "dependencies": [],
            "targets": targets, "metadata": {"valkyrie": {"floor": 0, "example": file}},
        })
    };
    let packages = json!([
        library("bare", &["lib"], json!(null)),
        library("own", &["lib", "example"], json!(null)),
        library("program", &["bin"], json!(null)),
        library("shown", &["lib"], json!(null)),
        library("listed", &["lib"], json!("examples/listed.yaml")),
        library("lost", &["lib"], json!("examples/lost.yaml")),
        {
            "name": "show", "manifest_path": "/r/examples/show/Cargo.toml",
            "dependencies": [{"name": "shown", "kind": null, "rename": null}],
        },
    ]);
    let tree = Tree::from([("examples/listed.yaml".to_owned(), "a: b\n".to_owned())]);
    let found = check(&tree, &metadata(&packages));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("bare: no example"));
    assert_eq!(found[1], "lost: its example `examples/lost.yaml` does not exist");
}
