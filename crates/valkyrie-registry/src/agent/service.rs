//! What an agent offers: a service, in a version, with labels.

use std::fmt;
use std::str::FromStr;

use super::{DescriptionError, LABELS_MAX, LabelValue, Word, at_most};

/// A service that an agent offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Word,
    /// Which version of it.
    pub version: Version,
    /// What else is to be known of it, ascending by name, each name once.
    pub labels: Vec<(Word, LabelValue)>,
}

impl Service {
    /// A service without labels.
    pub fn new(name: Word, version: Version) -> Self {
        Self {
            name,
            version,
            labels: Vec::new(),
        }
    }

    /// With this label too, in place of one of the same name.
    #[must_use]
    pub fn label(mut self, name: Word, value: LabelValue) -> Self {
        match self.labels.binary_search_by(|(held, _)| held.cmp(&name)) {
            Ok(at) => self.labels[at].1 = value,
            Err(at) => self.labels.insert(at, (name, value)),
        }
        self
    }

    /// The value of a label.
    pub fn label_value(&self, name: &str) -> Option<&LabelValue> {
        let at = self
            .labels
            .binary_search_by(|(held, _)| held.as_str().cmp(name))
            .ok()?;
        Some(&self.labels[at].1)
    }

    pub(super) fn check(&self) -> Result<(), DescriptionError> {
        at_most("labels on a service", self.labels.len(), LABELS_MAX)?;
        at_most(
            "bytes in a version",
            self.version.to_string().len(),
            VERSION_BYTES_MAX,
        )?;
        match self.labels.is_sorted_by(|(a, _), (b, _)| a < b) {
            true => Ok(()),
            false => Err(DescriptionError::Order("labels")),
        }
    }
}

/// A version, as [Semantic Versioning 2.0.0](https://semver.org) has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// A release.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > VERSION_BYTES_MAX {
            return Err(VersionError::TooLong(text.len()));
        }
        let version =
            semver::Version::parse(text).map_err(|fault| VersionError::Version(fault.to_string()))?;
        Ok(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which versions will do, as Cargo writes it: `^1.2`, `>=1.2, <1.5`, `~2.1`, `=1.0.3`, `*`. A bare `1.2` is `^1.2`. A
/// pre-release is in a range only if the range names one of the same release.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VersionRange(semver::VersionReq);

impl VersionRange {
    /// Whether a version will do.
    pub fn contains(&self, version: &Version) -> bool {
        self.0.matches(&version.0)
    }
}

impl FromStr for VersionRange {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > RANGE_BYTES_MAX {
            return Err(VersionError::TooLong(text.len()));
        }
        let range =
            semver::VersionReq::parse(text).map_err(|fault| VersionError::Range(fault.to_string()))?;
        Ok(Self(range))
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The text is no version, or no range of them. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// No version.
    #[error("this is not a version: {0}")]
    Version(String),
    /// No range.
    #[error("this is not a range of versions: {0}")]
    Range(String),
    /// Longer than any is.
    #[error("the version or range has {0} bytes, more than any may have")]
    TooLong(usize),
}

/// Bytes of a version, build metadata included.
pub const VERSION_BYTES_MAX: usize = 64;
/// Bytes of a range.
const RANGE_BYTES_MAX: usize = 256;
