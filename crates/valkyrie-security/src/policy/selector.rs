//! Whom a rule is about.

use std::fmt;

use super::pattern::Pattern;
use super::subject::{Standing, Subject};
use crate::identity::Fingerprint;

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
    Fingerprint(Fingerprint),
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
            Self::Fingerprint(fingerprint) => write!(f, "{fingerprint}"),
            Self::Role(pattern) => write!(f, "role:{pattern}"),
            Self::Label(name, pattern) => write!(f, "label:{name}={pattern}"),
            Self::Spiffe(pattern) => write!(f, "{pattern}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Gid(gid) => write!(f, "gid:{gid}"),
        }
    }
}
