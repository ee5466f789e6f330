//! Reads single entries of a policy's lists: peers, calls, patterns.

use super::pattern::{Pattern, STARS_MAX};
use super::selector::PeerSelector;

/// Bytes of a name in a policy: more than a service or a method may have, and enough for a topic.
const NAME_BYTES_MAX: usize = 512;

/// Bytes of a SPIFFE ID, as its specification bounds it.
const SPIFFE_BYTES_MAX: usize = 2048;

/// The ways to say who, for a message about none of them.
const PEER_FORMS: &str = "peers are written name:…, SHA256:…, role:…, label:…=…, spiffe://…, uid:…, gid:…, any, anonymous or plain";

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn wrong<T>(message: impl Into<String>, help: Option<&str>) -> Result<T, Wrong> {
    Err(Wrong {
        message: message.into(),
        help: help.map(str::to_owned),
    })
}

/// Reads one entry of `peers`.
pub(super) fn peer(text: &str) -> Result<PeerSelector, Wrong> {
    match text {
        "any" => return Ok(PeerSelector::Any),
        "anonymous" => return Ok(PeerSelector::Anonymous),
        "plain" => return Ok(PeerSelector::Plain),
        "*" => {
            return wrong(
                "`*` is nobody in particular",
                Some("`any` is every peer that is authenticated"),
            );
        }
        _ => {}
    }
    if text.starts_with("spiffe:") {
        return spiffe(text).map(PeerSelector::Spiffe);
    }
    let Some((kind, value)) = text.split_once(':') else {
        return Err(Wrong {
            message: format!("`{text}` does not say what it is the name of"),
            help: Some(match near(text, &["any", "anonymous", "plain"]) {
                Some(near) => near,
                None => format!("for a peer of that name write `name:{text}`, for a role `role:{text}`"),
            }),
        });
    };
    match kind {
        "name" => pattern(value).map(PeerSelector::Name),
        "role" => pattern(value).map(PeerSelector::Role),
        "label" => match value.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains('*') => {
                Ok(PeerSelector::Label(name.into(), pattern(value)?))
            }
            _ => wrong("a label is a name and a value", Some("write `label:team=core`")),
        },
        "SHA256" => match text.parse() {
            Ok(fingerprint) => Ok(PeerSelector::Fingerprint(fingerprint)),
            Err(_) => wrong(
                "this is no fingerprint",
                Some(
                    "a fingerprint is `SHA256:` and 43 characters of base64; `valkyrie keys show` prints it",
                ),
            ),
        },
        "uid" => number(value).map(PeerSelector::Uid),
        "gid" => number(value).map(PeerSelector::Gid),
        _ => {
            let kinds = ["name", "role", "label", "SHA256", "spiffe", "uid", "gid"];
            Err(Wrong {
                message: format!("there is no way to say who with `{kind}:`"),
                help: Some(near(kind, &kinds).unwrap_or_else(|| PEER_FORMS.to_owned())),
            })
        }
    }
}

/// Reads one entry of `calls`.
pub(super) fn call(text: &str) -> Result<(Pattern, Pattern), Wrong> {
    match text.split_once('/') {
        Some((service, method)) => Ok((pattern(service)?, pattern(method)?)),
        None => wrong(
            format!("`{text}` is no call"),
            Some("write service and method, such as `echo/echo` or `echo/*`"),
        ),
    }
}

/// Reads a name or a pattern of names.
pub(super) fn pattern(text: &str) -> Result<Pattern, Wrong> {
    bounded(text, NAME_BYTES_MAX)?;
    Ok(Pattern::new(text))
}

fn bounded(text: &str, bytes_max: usize) -> Result<(), Wrong> {
    if text.is_empty() {
        return wrong("a name is not empty", None);
    }
    if text.len() > bytes_max {
        return wrong(format!("a name has at most {bytes_max} bytes"), None);
    }
    if text.chars().any(char::is_control) {
        return wrong("a name has no control characters", None);
    }
    if text.bytes().filter(|byte| *byte == b'*').count() > STARS_MAX {
        return wrong(format!("a name has at most {STARS_MAX} stars"), None);
    }
    Ok(())
}

/// A star in the trust domain would trust every authority there is.
fn spiffe(text: &str) -> Result<Pattern, Wrong> {
    bounded(text, SPIFFE_BYTES_MAX)?;
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return wrong("a SPIFFE ID begins with `spiffe://`", None);
    };
    let domain = rest.split('/').next().unwrap_or_default();
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    if domain.is_empty() || !domain.bytes().all(fits) {
        return wrong(
            "the trust domain is written out, in small letters",
            Some("write `spiffe://example.org/ci/*`"),
        );
    }
    Ok(Pattern::new(text))
}

fn number(text: &str) -> Result<u32, Wrong> {
    match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => wrong(format!("`{text}` is no number of a user or group"), None),
    }
}

/// "did you mean", when one of `known` is few slips away.
pub(super) fn near(text: &str, known: &[&str]) -> Option<String> {
    // Beyond that no name of ours is near, and the table below stays small.
    const LENGTH_MAX: usize = 32;
    if text.chars().count() > LENGTH_MAX {
        return None;
    }
    let slips = |name: &&&str| distance(&text.to_lowercase(), &name.to_lowercase());
    let best = known.iter().min_by_key(slips)?;
    // A third of the letters wrong makes another word.
    let bound = (text.chars().count() / 3).min(2);
    (slips(&best) <= bound).then(|| format!("did you mean `{best}`?"))
}

/// Insertions, removals and replacements between two texts (Levenshtein), row by row.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, a) in (1_usize..).zip(one.chars()) {
        // Where the row above stood one column to the left, and what this row has there.
        let (mut diagonal, mut left) = (line - 1, line);
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = line;
        }
        for (cell, b) in cells.zip(other.chars()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips() {
        for (one, other, slips) in [
            ("", "", 0),
            ("a", "", 1),
            ("peer", "peers", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
        }
        assert_eq!(
            near("servies", &["services", "peers"]),
            Some("did you mean `services`?".to_owned())
        );
        assert_eq!(near("colour", &["services", "peers"]), None);
    }

    #[test]
    fn every_way_to_say_who_is_said_back_as_it_was_written() {
        let fingerprint = format!("SHA256:{}", "A".repeat(43));
        for text in [
            "any",
            "anonymous",
            "plain",
            "name:ada",
            "name:build-*",
            "role:runner",
            "label:team=core",
            "uid:1000",
            "gid:0",
            "spiffe://example.org/ci/*",
            "spiffe://example.org",
            &fingerprint,
        ] {
            assert_eq!(peer(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_says_nobody_is_refused() {
        for text in [
            "",
            "*",
            "ada",
            "name:",
            "nmae:ada",
            "uid:-1",
            "uid:+1",
            "uid:4294967296",
            "uid:x",
            "label:team",
            "label:=x",
            "label:*=x",
            "SHA256:short",
            "spiffe:example.org",
            "spiffe://",
            "spiffe://*",
            "spiffe://*.org/x",
            "spiffe://Example.org/x",
            "name:a\u{7}",
            "name:*a*b*c*d*",
        ] {
            assert!(peer(text).is_err(), "{text}");
        }
    }
}
