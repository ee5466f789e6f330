//! Whether programs that a pipeline's scripts call are there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Programs that are not on the search path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needed and not found on the search path: {}", .names.join(", "))]
pub struct MissingTools {
    /// Their names.
    pub names: Vec<String>,
}

/// Checks that every program can be found on `search_path`, a `PATH`.
///
/// # Errors
/// [`MissingTools`] with all that are missing.
pub fn require(names: &[&str], search_path: &str) -> Result<(), MissingTools> {
    let missing = names
        .iter()
        .filter(|name| !found(name, search_path))
        .map(ToString::to_string);
    match missing.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        names => Err(MissingTools { names }),
    }
}

fn found(name: &str, search_path: &str) -> bool {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(search_path).any(|folder| executable(&folder.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(require(&["sh"], "/usr/bin:/bin"), Ok(()));
        let missing = require(&["sh", "no-such-tool", "nor-this"], "/usr/bin:/bin").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "needed and not found on the search path: no-such-tool, nor-this"
        );
        assert!(require(&["sh"], "").is_err());
    }
}
