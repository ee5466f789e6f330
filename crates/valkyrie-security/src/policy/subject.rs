//! Who asks: what a policy looks at.

use crate::identity::Fingerprint;
use crate::time::UnixTime;
use crate::token::TokenRights;
use crate::verified::{TrustedBy, Verified};

/// What is known about a peer, as far as a policy asks for it.
///
/// Everything in it is proved. A name, a role or a label that the peer merely claims for itself does not belong here:
/// a document that its holder signed alone proves a key and nothing else, whatever it says.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// How the peer is known.
    pub standing: Standing,
    /// The name that an authority or the operator gave it.
    pub name: Option<&'a str>,
    /// The fingerprint of its identity.
    pub fingerprint: Option<Fingerprint>,
    /// The roles that an authority gave it.
    pub roles: Vec<&'a str>,
    /// The labels that an authority gave it: name and value.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Its SPIFFE ID.
    pub spiffe_id: Option<&'a str>,
    /// The user that the operating system says it is.
    pub uid: Option<u32>,
    /// The group that the operating system says it is in.
    pub gid: Option<u32>,
    /// When what it proved ends.
    pub not_after: Option<UnixTime>,
    /// What a token grants, verified for this peer.
    pub token: Option<&'a TokenRights>,
}

/// How a peer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// By an identity that is trusted.
    Identity,
    /// By what the operating system says about the process at the other end.
    PeerCredentials,
    /// By its static key alone, which nobody vouches for.
    Anonymous,
    /// Not at all: a plain connection.
    Plain,
}

impl Standing {
    /// Whether somebody vouches for who the peer is.
    pub const fn is_authenticated(self) -> bool {
        matches!(self, Self::Identity | Self::PeerCredentials)
    }
}

impl Subject<'_> {
    /// Somebody of whom nothing is known but how it is known.
    pub const fn new(standing: Standing) -> Self {
        Self {
            standing,
            name: None,
            fingerprint: None,
            roles: Vec::new(),
            labels: Vec::new(),
            spiffe_id: None,
            uid: None,
            gid: None,
            not_after: None,
            token: None,
        }
    }

    /// What tells this peer from others when its rate is counted. Peers that nobody vouches for share one count, since
    /// a new key costs them nothing.
    pub(super) fn account(&self) -> Account {
        match (self.standing, self.fingerprint, self.spiffe_id, self.uid) {
            (Standing::Anonymous, ..) => Account::Anonymous,
            (Standing::Plain, ..) => Account::Plain,
            (_, Some(fingerprint), ..) => Account::Fingerprint(fingerprint),
            (_, None, Some(id), _) => Account::Spiffe(id.into()),
            (_, None, None, Some(uid)) => Account::Uid(uid),
            (_, None, None, None) => Account::Unnamed,
        }
    }
}

impl<'a> From<&'a Verified> for Subject<'a> {
    fn from(verified: &'a Verified) -> Self {
        let (standing, uid, gid) = match verified.how() {
            TrustedBy::PeerCredentials { uid, gid, .. } => {
                (Standing::PeerCredentials, Some(*uid), Some(*gid))
            }
            TrustedBy::Pin | TrustedBy::Authority { .. } | TrustedBy::FirstUse | TrustedBy::Svid { .. } => {
                (Standing::Identity, None, None)
            }
            // A token says what its holder may do, not who it is.
            TrustedBy::Token | TrustedBy::Anonymous => (Standing::Anonymous, None, None),
            TrustedBy::Plain => (Standing::Plain, None, None),
        };
        let not_after = verified.not_after();
        Self {
            standing,
            name: verified.name(),
            fingerprint: verified.fingerprint(),
            roles: verified.roles().iter().map(String::as_str).collect(),
            labels: verified
                .labels()
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect(),
            spiffe_id: verified.spiffe_id(),
            uid,
            gid,
            not_after: (not_after != UnixTime::MAX).then_some(not_after),
            token: verified.token_rights(),
        }
    }
}

impl<'a> From<&Subject<'a>> for Subject<'a> {
    fn from(subject: &Subject<'a>) -> Self {
        subject.clone()
    }
}

/// Whose rate is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    Fingerprint(Fingerprint),
    Spiffe(Box<str>),
    Uid(u32),
    /// Authenticated by something that has no name.
    Unnamed,
    Anonymous,
    Plain,
}
