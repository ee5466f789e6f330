//! Words that agents are described with: names, zones, schemes, labels.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A name of something: 1 to [`WORD_BYTES_MAX`] ASCII letters, digits and `-._:/`, of which the first is a letter or a
/// digit, so that two that look the same are the same. Cloning is a reference count.
//= protocol/registry.md#words
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Arc<str>);

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let well_formed = (1..=WORD_BYTES_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(is_word_byte);
        well_formed.then(|| Self(text.into())).ok_or(WordError::Word)
    }
}

/// What a word is made of.
pub(crate) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte)
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The value of a label: up to [`LABEL_VALUE_BYTES_MAX`] bytes of printable ASCII without spaces, quotes, commas and
/// parentheses, so that an expression can name it as it is. It may be empty.
//= protocol/registry.md#words
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelValue(Arc<str>);

impl LabelValue {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabelValue {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let well_formed = text.len() <= LABEL_VALUE_BYTES_MAX && text.bytes().all(is_value_byte);
        well_formed.then(|| Self(text.into())).ok_or(WordError::Value)
    }
}

/// What a label's value is made of.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"'`,()=!&|".contains(&byte)
}

impl Borrow<str> for LabelValue {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text is no word, or no value of a label. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordError {
    /// No word.
    #[error(
        "a name is 1 to {WORD_BYTES_MAX} ASCII letters, digits and -._:/, beginning with a letter or a digit"
    )]
    Word,
    /// No value of a label.
    #[error(
        "the value of a label is up to {LABEL_VALUE_BYTES_MAX} printable ASCII characters without spaces and without \
         any of \"'`,()=!&|"
    )]
    Value,
}

/// Bytes of a word, as in identity documents.
pub const WORD_BYTES_MAX: usize = 64;
/// Bytes of a label's value: the hexadecimal of a digest, or a host name.
pub const LABEL_VALUE_BYTES_MAX: usize = 128;
