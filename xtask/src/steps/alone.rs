//! Each crate by itself. In a workspace build features are united, so a crate that forgot to ask for a
//! feature of a dependency compiles only because a neighbour asked for it; here there is no neighbour.

use crate::ci::Outcome;
use crate::context::Context;
use crate::failure::Failure;
use crate::metadata::Package;
use crate::shell::Shell;
use crate::tools;

/// Checks every crate of the house with its default features, none, and each one alone.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    tools::ensure_bindings(&context.root)?;
    let mut failures = Vec::new();
    let mut count = 0;
    for package in context.metadata.house() {
        for arguments in variants(package) {
            count += 1;
            // Clippy rather than `cargo check`: it compiles the same, refuses warnings without changing
            // RUSTFLAGS, and shares its build with the `clippy` step.
            let result = Shell::cargo(&context.root)
                .args(["clippy", "--quiet", "--package", &package.name])
                .args(&arguments)
                .args(["--", "-D", "warnings"])
                .run();
            if let Err(failure) = result {
                failures.push(failure.to_string());
            }
        }
    }
    Failure::unless_empty("crates that do not stand alone", failures)?;
    Ok(Outcome::passed(format!("{count} combinations")))
}

/// The feature arguments to check a package with.
fn variants(package: &Package) -> Vec<Vec<String>> {
    let mut variants = vec![Vec::new()];
    let features: Vec<&String> = package
        .features
        .keys()
        .filter(|feature| *feature != "default")
        .collect();
    if !features.is_empty() {
        variants.push(vec!["--no-default-features".to_owned()]);
    }
    for feature in features {
        variants.push(vec![
            "--no-default-features".to_owned(),
            "--features".to_owned(),
            feature.clone(),
        ]);
    }
    variants
}

#[cfg(test)]
mod tests {
    //! Which combinations are checked.

    use serde_json::json;

    use super::variants;

    #[test]
    fn each_feature_is_checked_alone() {
        let package = serde_json::from_value(json!({
            "name": "x", "manifest_path": "/r/crates/x/Cargo.toml", "dependencies": [],
            "features": {"default": ["std"], "std": [], "serde": []},
        }))
        .unwrap();
        let lines: Vec<String> = variants(&package).iter().map(|v| v.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "",
                "--no-default-features",
                "--no-default-features --features serde",
                "--no-default-features --features std",
            ]
        );
    }

    #[test]
    fn crate_without_features_is_checked_once() {
        let package = serde_json::from_value(json!({
            "name": "x", "manifest_path": "/r/crates/x/Cargo.toml", "dependencies": [],
        }))
        .unwrap();
        assert_eq!(variants(&package), [Vec::<String>::new()]);
    }
}
