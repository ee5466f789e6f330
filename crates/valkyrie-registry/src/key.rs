//! Where an entry lies in a store: a path of segments, and the prefixes that lists and watches name.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The place of an entry: `agents/4f…/main`. One or more segments with a `/` between them, each of ASCII letters, digits
/// and `-._:`, [`KEY_BYTES_MAX`] bytes in all. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(text.len()));
        }
        match text.split('/').all(is_segment) {
            true => Ok(Self(text.into())),
            false => Err(KeyError::Malformed),
        }
    }
}

/// Ordered and compared as its text is.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

/// What lists and watches are about: everything, or what lies beneath a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Every key.
    pub fn all() -> Self {
        Self("".into())
    }

    /// The keys beneath a path: `agents` has `agents/x` and neither `agents` nor `agentsx`.
    ///
    /// # Errors
    /// [`KeyError`]: the caller's path could not be the beginning of a key.
    pub fn beneath(path: &str) -> Result<Self, KeyError> {
        let path: Key = path.parse()?;
        if path.as_str().len() + 1 >= KEY_BYTES_MAX {
            return Err(KeyError::TooLong(path.as_str().len()));
        }
        Ok(Self(format!("{path}/").into()))
    }

    /// Whether the key is beneath it.
    pub fn covers(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }

    /// The text that every key beneath it begins with; empty for all.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0)
    }
}

/// The text is no key. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("the key has {0} bytes, and at most {KEY_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A segment is empty or has a character that none may have.
    #[error("a key is segments of ASCII letters, digits and -._: with a / between them")]
    Malformed,
}

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

/// Bytes of a key: a kind, a fingerprint of 64 digits and a name of 64, with room for as much again.
pub const KEY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_segments_of_a_small_alphabet() {
        for good in ["a", "agents/4f/main", "a.b-c_d:e/1"] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a b", "ä", "a\0", "a\n"] {
            assert_eq!(bad.parse::<Key>(), Err(KeyError::Malformed), "{bad:?}");
        }
        assert!("x".repeat(KEY_BYTES_MAX).parse::<Key>().is_ok());
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(long.parse::<Key>(), Err(KeyError::TooLong(KEY_BYTES_MAX + 1)));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let prefix = Prefix::beneath("agents").unwrap();
        let covers = |key: &str| prefix.covers(&key.parse().unwrap());
        assert!(covers("agents/x") && covers("agents/x/y"));
        assert!(!covers("agents") && !covers("agentsx/y") && !covers("a"));
        assert!(Prefix::all().covers(&"a".parse().unwrap()));
    }
}
