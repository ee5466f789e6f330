//! The page of attacks names tests that exist, each in the file that it is said to be in.

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_page_of_attacks_names_is_there() {
    let page = std::fs::read_to_string(root().join("docs/protocol/attacks.md")).unwrap();
    let (mut tests, mut files) = (0, std::collections::BTreeSet::new());
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, named, file] = cells[..] else {
            panic!("four columns in {row}")
        };
        let file = quoted(file).next().unwrap_or_else(|| panic!("no file in {row}"));
        let text =
            std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for name in quoted(named) {
            let test = text.split(&format!("fn {name}(")).collect::<Vec<_>>();
            assert_eq!(test.len(), 2, "{file} has no test of the name {name}");
            let before = test[0].lines().rev().take(3).collect::<Vec<_>>().join("\n");
            assert!(before.contains("test"), "{name} in {file} is no test");
            tests += 1;
        }
        files.insert(file);
    }
    assert!(
        tests >= 60 && files.len() >= 10,
        "{tests} tests in {} files",
        files.len()
    );
}
