//! Why a step did not pass. It is not a panic message: each variant says what to do next.

use std::path::PathBuf;

use thiserror::Error;

/// Why a step did not pass.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A command ran and ended badly.
    #[error("`{line}` ended with {status}")]
    Command {
        /// The command as one could type it.
        line: String,
        /// How it ended.
        status: String,
    },
    /// A command ran past its limit and was killed.
    #[error("`{line}` was killed after {limit_s} s")]
    TimedOut {
        /// The command as one could type it.
        line: String,
        /// The limit that it passed, in seconds.
        limit_s: u64,
    },
    /// A tool is not on this machine and could not be installed.
    #[error("{tool} is missing; install it with: {how}")]
    Missing {
        /// The tool's name.
        tool: &'static str,
        /// The command that installs it.
        how: String,
    },
    /// A check looked and found faults, which it has listed.
    #[error("{count} {what}:\n  {}", list.join("\n  "))]
    Found {
        /// What was found, in the plural.
        what: &'static str,
        /// How many.
        count: usize,
        /// One line each.
        list: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `cargo metadata` said something that this program does not understand.
    #[error("cannot understand `cargo metadata`: {0}")]
    Metadata(#[from] serde_json::Error),
}

impl Failure {
    /// Passes when `list` is empty, and fails with its lines otherwise.
    pub(crate) fn unless_empty(what: &'static str, list: Vec<String>) -> Result<(), Self> {
        if list.is_empty() {
            Ok(())
        } else {
            Err(Self::Found {
                what,
                count: list.len(),
                list,
            })
        }
    }
}
