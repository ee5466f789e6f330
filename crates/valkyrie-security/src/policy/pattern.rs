//! Text in which `*` stands for any run of characters, as policy files write names.
//!
//! There is nothing else: no `?`, no classes, no escapes. What can be written can be read at a glance, and matching
//! takes at most the product of both lengths, which are bounded.

use std::fmt;

/// Stars in a pattern. More than a few say that somebody wanted another language.
pub(crate) const STARS_MAX: usize = 4;

/// A name, or a family of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `*` alone.
    Any,
    /// No star.
    Exact,
    /// One star, at the end.
    Prefix,
    /// Stars elsewhere.
    Glob,
}

impl Pattern {
    /// Anything.
    pub(crate) fn any() -> Self {
        Self::new("*")
    }

    /// The caller has checked how long `text` is and how many stars it has.
    pub(crate) fn new(text: &str) -> Self {
        let form = match text.find('*') {
            _ if text == "*" => Form::Any,
            None => Form::Exact,
            Some(at) if at + 1 == text.len() => Form::Prefix,
            Some(_) => Form::Glob,
        };
        Self {
            text: text.into(),
            form,
        }
    }

    /// The one name that it stands for, when it has no star.
    pub(crate) fn exact(&self) -> Option<&str> {
        (self.form == Form::Exact).then_some(&*self.text)
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.form {
            Form::Any => true,
            Form::Exact => *self.text == *name,
            Form::Prefix => match self.text.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => false,
            },
            Form::Glob => glob(self.text.as_bytes(), name.as_bytes()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Greedy from the left; what stands between two stars is looked for at the first place where it fits, which is
/// enough because a star takes anything.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut last: &[u8] = &[];
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            last = part;
            break;
        }
        let Some(at) = find(rest, part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, name, matches) in [
            ("echo", "echo", true),
            ("echo", "echo2", false),
            ("rustci.*", "rustci.jobs", true),
            ("rustci.*", "rustci", false),
            ("rustci.*", "rustci.", true),
            ("*.logs", "ci.logs", true),
            ("*.logs", "ci.logs.x", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**", "", true),
            ("*", "", true),
            ("a**b", "ab", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    /// The definition, as short as it can be said and as slow as it likes.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| by_definition(rest, &name[skip..])),
            Some((byte, rest)) => name.first() == Some(byte) && by_definition(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&name),
                by_definition(pattern.as_bytes(), name.as_bytes())
            );
        }
    }
}
