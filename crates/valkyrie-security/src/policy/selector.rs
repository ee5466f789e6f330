//! Whom a rule is about.

use std::fmt;

use super::pattern::Pattern;
use super::subject::{Standing, Subject};

/// One entry of `peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerSelector {
    /// `any`: any peer that is authenticated.
    Any,
    /// `anonymous`: a peer that is known by its static key alone.
    Anonymous,
    /// `plain`: a peer on a plain connection.
    Plain,
    /// `name:ada`
    Name(Pattern),
    /// `SHA256:…`
    Fingerprint([u8; 32]),
    /// `role:runner`
    Role(Pattern),
    /// `label:team=core`
    Label(Box<str>, Pattern),
    /// `spiffe://example.org/ci/*`
    Spiffe(Pattern),
    /// `uid:1000`
    Uid(u32),
    /// `gid:1000`
    Gid(u32),
}

impl PeerSelector {
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Any => subject.standing.is_authenticated(),
            Self::Anonymous => subject.standing == Standing::Anonymous,
            Self::Plain => subject.standing == Standing::Plain,
            Self::Name(pattern) => subject.name.is_some_and(|name| pattern.matches(name)),
            Self::Fingerprint(wanted) => subject.fingerprint.as_ref() == Some(wanted),
            Self::Role(pattern) => subject.roles.iter().any(|role| pattern.matches(role)),
            Self::Label(name, pattern) => subject
                .labels
                .iter()
                .any(|(key, value)| **key == **name && pattern.matches(value)),
            Self::Spiffe(pattern) => subject.spiffe_id.is_some_and(|id| pattern.matches(id)),
            Self::Uid(uid) => subject.uid == Some(*uid),
            Self::Gid(gid) => subject.gid == Some(*gid),
        }
    }
}

impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Plain => f.write_str("plain"),
            Self::Name(pattern) => write!(f, "name:{pattern}"),
            Self::Fingerprint(bytes) => f.write_str(&fingerprint_text(bytes)),
            Self::Role(pattern) => write!(f, "role:{pattern}"),
            Self::Label(name, pattern) => write!(f, "label:{name}={pattern}"),
            Self::Spiffe(pattern) => write!(f, "{pattern}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Gid(gid) => write!(f, "gid:{gid}"),
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of a fingerprint behind `SHA256:`.
const FINGERPRINT_CHARACTERS: usize = 43;

/// `SHA256:` and base64 without padding.
//= protocol/security.md#identity-documents
fn fingerprint_text(bytes: &[u8; 32]) -> String {
    let mut text = String::from("SHA256:");
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0_u32, |word, (place, byte)| {
            word | u32::from(*byte) << (16 - 8 * place)
        });
        for place in 0..=group.len() {
            let index = (word >> (18 - 6 * place) & 63) as usize;
            text.extend(BASE64.get(index).map(|byte| char::from(*byte)));
        }
    }
    text
}

/// The fingerprint that `text` writes, behind `SHA256:`.
pub(super) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    if text.len() != FINGERPRINT_CHARACTERS {
        return None;
    }
    let mut bytes = [0; 32];
    let mut out = bytes.iter_mut();
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let value = BASE64.iter().position(|known| *known == byte)?;
        word = word << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *out.next()? = (word >> bits & 0xff) as u8;
        }
    }
    // The last character carries two bits that say nothing; only one way to write a fingerprint is taken.
    (word & 0b11 == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fingerprint_survives_being_written(bytes: [u8; 32]) {
            let text = fingerprint_text(&bytes);
            prop_assert_eq!(text.len(), 7 + FINGERPRINT_CHARACTERS);
            prop_assert_eq!(fingerprint(&text[7..]), Some(bytes));
        }
    }

    #[test]
    fn a_fingerprint_is_written_in_one_way_only() {
        let text = fingerprint_text(&[0; 32]);
        assert_eq!(text, format!("SHA256:{}", "A".repeat(43)));
        assert_eq!(fingerprint(&format!("{}B", "A".repeat(42))), None);
        assert_eq!(fingerprint(&"A".repeat(42)), None);
        assert_eq!(fingerprint(&format!("{}=", "A".repeat(42))), None);
    }
}
