//! What text may be in a document: it is shown to people who decide by it, and compared by policies.

use super::{NAME_BYTES_MAX, WORD_BYTES_MAX};

/// A name: 1 to 200 bytes that a terminal shows as they are, without a space at either end.
//= protocol/security.md#identity-documents
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && is_shown(text) && text.trim() == text
}

/// A role or the name of a label: 1 to 64 bytes of a small alphabet, so that two that look the same are the same. The
/// first is a letter or a digit, so that none is taken for an option or for the `-` that stands for nothing in a list.
//= protocol/security.md#identity-documents
pub(crate) fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte))
}

/// Nothing in it moves a cursor or changes the order in which the rest is shown.
pub(crate) fn is_shown(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}
