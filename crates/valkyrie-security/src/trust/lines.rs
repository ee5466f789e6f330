//! What the trust files have in common: a line is an entry, a comment that begins with `#`, or empty.

use crate::identity::{FingerprintFormatError, text::is_shown};
use crate::time::TimeFormatError;

/// The entries of a text, each with the number of its line.
pub(super) fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().zip(1..).map(|(line, number)| (number, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The first word of a line, and the rest of it.
pub(super) fn word(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (word, rest.trim_start())
}

/// A place as a word of a file.
pub(super) fn is_place(text: &str) -> bool {
    (1..=PLACE_BYTES_MAX).contains(&text.len())
        && is_shown(text)
        && !text.contains(char::is_whitespace)
        && !text.starts_with('#')
}

/// A trust file has a line that is wrong. Nothing of the file is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct TrustFileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub fault: TrustFileFault,
}

impl TrustFileError {
    pub(super) fn at(line: usize) -> impl FnOnce(TrustFileFault) -> Self {
        move |fault| Self { line, fault }
    }
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustFileFault {
    /// Not a fingerprint.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintFormatError),
    /// Not a time.
    #[error(transparent)]
    Time(#[from] TimeFormatError),
    /// Not a role.
    #[error("`{0}` is not a role: 1 to 64 of ASCII letters, digits and -._:/, the first a letter or a digit")]
    Role(String),
    /// Not a name.
    #[error("the name has control characters or more than 200 bytes")]
    Name,
    /// Not a place.
    #[error("the place is not a locator of at most {PLACE_BYTES_MAX} bytes without spaces, nor `*`")]
    Place,
    /// The place has another entry.
    #[error("{place} is remembered with {remembered} already")]
    Taken {
        /// The place.
        place: String,
        /// Who is remembered there.
        remembered: crate::identity::Fingerprint,
    },
    /// The fingerprint has another entry.
    #[error("{0} has another entry")]
    Twice(crate::identity::Fingerprint),
    /// A field is missing, or there is one too many.
    #[error("this is not of the form `{0}`")]
    Form(&'static str),
    /// Not a key.
    #[error("this is not a key: 64 hexadecimal digits")]
    Key,
    /// Not a signature.
    #[error("this is not a signature: an algorithm and base64")]
    Signature,
    /// Of a later version.
    #[error("the file is of a version that this side does not know")]
    Version,
    /// No room.
    #[error("there is room for {0} entries, and all of it is taken")]
    Full(usize),
}

/// Bytes of a place: a locator with the longest host name, port and path that anybody writes by hand.
pub(super) const PLACE_BYTES_MAX: usize = 512;
