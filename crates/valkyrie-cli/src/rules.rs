//! Files of rules, an access policy or one of the quality of service: checked with the place of every mistake, and read
//! again while a server runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use valkyrie::security::policy::PolicyError;
use valkyrie::{AccessPolicy, QosPolicy};
use valkyrie_keystore::Stamp;

use crate::exit::{CliError, Exit};
use crate::out::Out;

/// What such a file holds.
pub(crate) trait Rules: Clone {
    /// Bytes that a file may have.
    const FILE_BYTES_MAX: usize;
    /// What is counted when one is checked, as one of it and as several.
    const COUNTED: [&'static str; 2];

    fn parse(text: &str) -> Result<Self, PolicyError>;

    /// How many there are of what is counted.
    fn count(&self) -> usize;
}

impl Rules for AccessPolicy {
    const FILE_BYTES_MAX: usize = Self::FILE_BYTES_MAX;
    const COUNTED: [&'static str; 2] = ["rule", "rules"];

    fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse(text)
    }

    fn count(&self) -> usize {
        self.rule_count()
    }
}

impl Rules for QosPolicy {
    const FILE_BYTES_MAX: usize = Self::FILE_BYTES_MAX;
    const COUNTED: [&'static str; 2] = ["service", "services"];

    fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::parse(text)
    }

    fn count(&self) -> usize {
        self.services().count()
    }
}

/// A file that is read again when it changes.
pub(crate) struct RulesFile<R> {
    path: PathBuf,
    stamp: Option<Stamp>,
    rules: R,
}

/// A file that says who may do what.
pub(crate) type PolicyFile = RulesFile<AccessPolicy>;

/// A file that says who goes first.
pub(crate) type QosFile = RulesFile<QosPolicy>;

impl<R: Rules> RulesFile<R> {
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let stamp = Stamp::read(path);
        Ok(Self {
            path: path.to_owned(),
            stamp,
            rules: parse(path)?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rules as they were read last.
    pub(crate) fn rules(&self) -> R {
        self.rules.clone()
    }

    /// The rules, if the file is another than when it was looked at last, or in any case with `asked`. What is wrong
    /// with it is told once.
    pub(crate) fn refresh(&mut self, asked: bool) -> Result<Option<R>, CliError> {
        let stamp = Stamp::read(&self.path);
        if stamp == self.stamp && !asked {
            return Ok(None);
        }
        self.stamp = stamp;
        self.rules = parse(&self.path)?;
        Ok(Some(self.rules()))
    }
}

/// Says every mistake of a file with its place, or that there is none.
pub(crate) fn check<R: Rules>(path: &Path, out: &mut Out) -> Result<(), CliError> {
    let text = read::<R>(path)?;
    let file = path.display().to_string();
    let [one, several] = R::COUNTED;
    let json =
        |count: Option<usize>, faults: Vec<Value>| json!({"file": file, several: count, "faults": faults});
    match R::parse(&text) {
        Ok(rules) if out.is_json() => out.json(&json(Some(rules.count()), Vec::new())),
        Ok(rules) => {
            let count = rules.count();
            let what = if count == 1 { one } else { several };
            out.line(format_args!("{file}: {count} {what} and no mistake"))
        }
        Err(error) if out.is_json() => {
            let faults = error.faults().iter().map(|fault| {
                json!({
                    "line": fault.line, "column": fault.column, "message": fault.message, "help": fault.help,
                })
            });
            out.json(&json(None, faults.collect()))?;
            Err(CliError::silent(Exit::Usage))
        }
        Err(error) => Err(refused(path, &error)),
    }
}

/// Reads a file that has no mistake.
pub(crate) fn parse<R: Rules>(path: &Path) -> Result<R, CliError> {
    R::parse(&read::<R>(path)?).map_err(|error| refused(path, &error))
}

fn read<R: Rules>(path: &Path) -> Result<String, CliError> {
    let failed = |why: &dyn std::fmt::Display| {
        CliError::new(Exit::Local, format!("{} cannot be read: {why}", path.display()))
    };
    let found = std::fs::metadata(path).map_err(|error| failed(&error))?;
    // Whoever may change what others may do may do everything. A group that shares the work is somebody's decision.
    if found.is_file() && found.mode() & 0o002 != 0 {
        let message = format!("{} may be changed by every user and is not used", path.display());
        return Err(CliError::new(Exit::Local, message).hint(format!("chmod o-w {}", path.display())));
    }
    let length = found.len();
    if length > R::FILE_BYTES_MAX as u64 {
        return Err(failed(&format_args!(
            "it has {length} bytes, and a policy has {} at most",
            R::FILE_BYTES_MAX
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

fn refused(path: &Path, error: &PolicyError) -> CliError {
    CliError::new(Exit::Usage, error.render(&path.display().to_string()).trim_end())
}
