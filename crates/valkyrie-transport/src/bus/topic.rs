//! Topics, and the patterns that a subscriber names them by.

use bytes::Bytes;

/// What a subscriber is interested in: segments separated by dots, of which `*` is any one segment and `>`, which may only
/// be the last, is one or more of whatever follows.
///
/// Every other segment is itself, also one like `a*` that merely holds such a character. A pattern without `*` and `>` is
/// a topic and matches that topic alone.
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `jobs.7.log` | `jobs.7.log` | `jobs.7`, `jobs.7.log.1` |
/// | `jobs.*.log` | `jobs.7.log`, `jobs.8.log` | `jobs.log`, `jobs.7.8.log` |
/// | `jobs.>` | `jobs.7`, `jobs.7.log` | `jobs` |
/// | `>` | everything | |
///
/// ```
/// use valkyrie_transport::TopicPattern;
///
/// let pattern = TopicPattern::parse("jobs.*.log".into())?;
/// assert!(pattern.matches(b"jobs.7.log"));
/// assert!(!pattern.matches(b"jobs.7.8.log"));
/// # Ok::<(), valkyrie_transport::TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    text: Bytes,
    literal: bool,
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`TopicError::Length`], [`TopicError::EmptySegment`] or [`TopicError::RestNotLast`].
    pub fn parse(text: Bytes) -> Result<Self, TopicError> {
        check_segments(&text)?;
        let mut literal = true;
        let mut rest_seen = false;
        for segment in segments(&text) {
            if rest_seen {
                return Err(TopicError::RestNotLast);
            }
            rest_seen = segment == REST;
            literal &= !is_wild(segment);
        }
        Ok(Self { text, literal })
    }

    /// Reads the patterns of a subscription.
    ///
    /// # Errors
    ///
    /// As for [`TopicPattern::parse`], and [`TopicError::Count`].
    pub fn parse_all(texts: &[Bytes]) -> Result<Vec<Self>, TopicError> {
        if texts.is_empty() || texts.len() > PATTERNS_MAX {
            return Err(TopicError::Count { count: texts.len() });
        }
        texts.iter().cloned().map(Self::parse).collect()
    }

    /// Whether this is one topic and nothing else.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// Whether `topic` is one that this pattern speaks of.
    #[must_use]
    pub fn matches(&self, topic: &[u8]) -> bool {
        if self.literal {
            return self.text == topic;
        }
        let mut theirs = segments(topic);
        for ours in segments(&self.text) {
            match theirs.next() {
                None => return false,
                Some(_) if ours == REST => return true,
                Some(segment) if ours == ANY || ours == segment => {}
                Some(_) => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Whether every topic that `other` speaks of is one that this speaks of.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = segments(&other.text);
        for ours in segments(&self.text) {
            match theirs.next() {
                None => return false,
                Some(_) if ours == REST => return true,
                Some(segment) if segment == REST => return false,
                Some(segment) if ours == ANY || ours == segment => {}
                Some(_) => return false,
            }
        }
        theirs.next().is_none()
    }
}

/// Whether a message can be published on `topic`: 1 to [`TOPIC_BYTES_MAX`] bytes, no segment empty, none `*` or `>`.
///
/// # Errors
///
/// A [`TopicError`] that says which it is not.
pub fn check_topic(topic: &[u8]) -> Result<(), TopicError> {
    check_segments(topic)?;
    match segments(topic).any(is_wild) {
        true => Err(TopicError::Wildcard),
        false => Ok(()),
    }
}

fn check_segments(text: &[u8]) -> Result<(), TopicError> {
    if text.is_empty() || text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::Length { length: text.len() });
    }
    match segments(text).any(<[u8]>::is_empty) {
        true => Err(TopicError::EmptySegment),
        false => Ok(()),
    }
}

fn segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'.')
}

fn is_wild(segment: &[u8]) -> bool {
    segment == ANY || segment == REST
}

/// What is wrong with a topic or a pattern. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It is empty or too long.
    #[error("the caller's topic has {length} bytes, and 1 to {TOPIC_BYTES_MAX} are allowed")]
    Length {
        /// Its length.
        length: usize,
    },
    /// It begins or ends with a dot, or has two in a row.
    #[error("the caller's topic has an empty segment; write something between the dots")]
    EmptySegment,
    /// A message was to be published on a pattern.
    #[error("the caller's topic has the segment `*` or `>`, which are for subscribing; publish on one topic")]
    Wildcard,
    /// Something follows `>`.
    #[error("the caller's pattern goes on after `>`, which stands for all the rest; let it end there")]
    RestNotLast,
    /// A subscription names no topic, or too many.
    #[error("the caller's subscription has {count} patterns, and 1 to {PATTERNS_MAX} are allowed")]
    Count {
        /// How many there are.
        count: usize,
    },
}

const ANY: &[u8] = b"*";
const REST: &[u8] = b">";

/// The longest topic: a table of topics is bounded in bytes only if its keys are.
pub const TOPIC_BYTES_MAX: usize = 255;

/// The most patterns of one subscription. Each message is held against each of them, so they cannot be many.
pub const PATTERNS_MAX: usize = 1024;
