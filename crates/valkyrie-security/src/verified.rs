//! The proof that a peer is who it is said to be. Only this crate makes one, so whatever needs a peer's identity cannot
//! run without it:
//!
//! ```compile_fail,E0423
//! let somebody = valkyrie_security::Verified(Default::default());
//! ```
//!
//! What can be had without a handshake has to be asked for by the name of what it is, and permission for that is not
//! put together either:
//!
//! ```compile_fail,E0423
//! let allowed = valkyrie_security::verified::PlainAllowed(());
//! ```

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::identity::{Fingerprint, IdentityDocument};
use crate::provider::PublicKey;
use crate::suite::SuiteId;
use crate::time::UnixTime;
use crate::token::TokenRights;
use crate::trust::KnownPeer;

/// Who the peer is and why that is believed. Cheap to clone, and small: every connection keeps one.
#[derive(Clone, PartialEq)]
pub struct Verified(Arc<Inner>);

#[derive(Clone, PartialEq)]
pub(crate) struct Inner {
    pub(crate) trusted_by: TrustedBy,
    pub(crate) static_key: Option<PublicKey>,
    pub(crate) shown: Option<Box<Shown>>,
    /// What somebody vouches for.
    pub(crate) name: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) spiffe_id: Option<String>,
    pub(crate) assurance: Assurance,
    pub(crate) not_after: UnixTime,
    /// It is believed for as long as its pin is there.
    pub(crate) held_pin: bool,
    pub(crate) newly_seen: Option<Box<KnownPeer>>,
    pub(crate) suite: Option<SuiteId>,
    pub(crate) resumed: bool,
    pub(crate) token: Option<TokenRights>,
}

impl Inner {
    /// Nothing is known but why.
    pub(crate) fn nobody(trusted_by: TrustedBy) -> Self {
        Self {
            trusted_by,
            static_key: None,
            shown: None,
            name: None,
            roles: Vec::new(),
            spiffe_id: None,
            assurance: Assurance::None,
            not_after: UnixTime::MAX,
            held_pin: false,
            newly_seen: None,
            suite: None,
            resumed: false,
            token: None,
        }
    }
}

/// What is kept of the document that a peer showed: a connection lives long, and the keys and signatures of a document
/// are ten thousand bytes that nobody looks at again.
#[derive(Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) issuer: Fingerprint,
    pub(crate) serial: u64,
    pub(crate) name: Box<str>,
    labels: Box<[(String, String)]>,
}

impl From<&IdentityDocument> for Shown {
    fn from(document: &IdentityDocument) -> Self {
        Self {
            fingerprint: document.fingerprint(),
            issuer: document.issuer(),
            serial: document.serial(),
            name: document.name().into(),
            labels: document.labels().into(),
        }
    }
}

/// Why a peer is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedBy {
    /// Its fingerprint is pinned here.
    Pin,
    /// An authority that is trusted here signed its document.
    Authority {
        /// The authority's fingerprint.
        fingerprint: Fingerprint,
        /// The authority's name.
        name: String,
    },
    /// It was the first to be met at its place, now or earlier. What it says of itself nobody vouches for.
    FirstUse,
    /// The operating system says which process is at the other end of the link.
    PeerCredentials {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process, where the system tells.
        pid: Option<i32>,
    },
    /// It presents a capability token; who it is nobody knows.
    Token,
    /// An X.509-SVID of this trust domain.
    Svid {
        /// The trust domain.
        trust_domain: String,
    },
    /// It says nothing of itself, and that is allowed here.
    Anonymous,
    /// It is not: the operator permits plain connections by name.
    Plain,
}

/// How strongly the peer is bound to this very connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Assurance {
    /// Not at all: the connection is plain.
    None,
    /// By its static key in the handshake. Who breaks X25519 while the connection is made can pose as the peer.
    StaticKey,
    /// By a classical signature over the handshake as well.
    Signed,
    /// By a post-quantum signature over the handshake as well: who breaks X25519 and Ed25519 still cannot pose as it.
    PostQuantum,
}

/// Permission to go without a handshake. Only configuration that names plain connections makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainAllowed(());

impl PlainAllowed {
    /// The operator said so, by name, in what configures this side.
    pub const fn by_name() -> Self {
        Self(())
    }
}

impl Verified {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// A peer of a plain connection, about which nothing is known.
    pub fn plain(_allowed: PlainAllowed) -> Self {
        static NOBODY: LazyLock<Verified> = LazyLock::new(|| Verified::new(Inner::nobody(TrustedBy::Plain)));
        NOBODY.clone()
    }

    /// A peer of a plain connection that the operating system names. On a link between processes of one machine nobody
    /// else can be in between.
    pub fn peer_credentials(uid: u32, gid: u32, pid: Option<i32>, _allowed: PlainAllowed) -> Self {
        // A process that dials once often dials again, and all that is known of it is the same.
        static LAST: Mutex<Option<Verified>> = Mutex::new(None);
        let trusted_by = TrustedBy::PeerCredentials { uid, gid, pid };
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if known.0.trusted_by == trusted_by => known.clone(),
            _ => last.insert(Self::new(Inner::nobody(trusted_by))).clone(),
        }
    }

    /// A peer known by its static key and a token.
    pub(crate) fn token(static_key: PublicKey, rights: TokenRights) -> Self {
        Self::new(Inner {
            static_key: Some(static_key),
            assurance: Assurance::StaticKey,
            not_after: rights.not_after().unwrap_or(UnixTime::MAX),
            token: Some(rights),
            ..Inner::nobody(TrustedBy::Token)
        })
    }

    /// The same peer, on a connection that was agreed on like this.
    #[allow(dead_code, reason = "for the handshake")]
    pub(crate) fn under(mut self, suite: SuiteId, resumed: bool) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        (inner.suite, inner.resumed) = (Some(suite), resumed);
        self
    }

    /// The same peer, which has also presented a token.
    pub(crate) fn bearing(mut self, rights: TokenRights) -> Self {
        Arc::make_mut(&mut self.0).token = Some(rights);
        self
    }

    /// What a token grants it, beside what policy grants.
    pub fn token_rights(&self) -> Option<&TokenRights> {
        self.0.token.as_ref()
    }

    /// Why it is believed.
    pub fn how(&self) -> &TrustedBy {
        &self.0.trusted_by
    }

    /// The name that somebody trusted gives it: an authority, or who pinned it. `None` when it only names itself; no
    /// decision may rest on what a peer calls itself, see [`Verified::claimed_name`].
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// What it calls itself, to be shown to people.
    pub fn claimed_name(&self) -> Option<&str> {
        self.0.shown.as_ref().map(|shown| &*shown.name)
    }

    /// The roles that somebody trusted gives it, ascending: an authority in its document, or who pinned it. None for a peer that
    /// gives them to itself.
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// It has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|has| has == role)
    }

    /// Names and values that an authority gives it, ascending by name.
    pub fn labels(&self) -> &[(String, String)] {
        match (&self.0.trusted_by, &self.0.shown) {
            (TrustedBy::Authority { .. }, Some(shown)) => &shown.labels,
            _ => &[],
        }
    }

    /// The fingerprint of its identity.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.shown.as_ref().map(|shown| shown.fingerprint)
    }

    /// The static key that it proved.
    pub fn static_key(&self) -> Option<&PublicKey> {
        self.0.static_key.as_ref()
    }

    /// The serial of the document that it showed.
    pub fn serial(&self) -> Option<u64> {
        self.0.shown.as_ref().map(|shown| shown.serial)
    }

    pub(crate) fn rests_on_pin(&self) -> bool {
        self.0.held_pin
    }

    pub(crate) fn shown(&self) -> Option<&Shown> {
        self.0.shown.as_deref()
    }

    /// Its SPIFFE ID, `spiffe://trust-domain/path`.
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// How strongly it is bound to this connection.
    pub fn assurance(&self) -> Assurance {
        self.0.assurance
    }

    /// The suite of the handshake; `None` for a plain connection.
    pub fn suite(&self) -> Option<SuiteId> {
        self.0.suite
    }

    /// Whether `other` is this peer, on a connection that protects at least as well: the same static key where this one
    /// showed one, and a handshake where there was one. Peers that only the system names are the same as the same user;
    /// those that nobody names are all alike.
    pub fn is_same_peer(&self, other: &Self) -> bool {
        if let Some(key) = self.static_key() {
            return other.static_key() == Some(key) && (self.suite().is_none() || other.suite().is_some());
        }
        match (self.how(), other.how()) {
            (TrustedBy::PeerCredentials { uid, .. }, TrustedBy::PeerCredentials { uid: other, .. }) => {
                uid == other
            }
            (TrustedBy::PeerCredentials { .. }, _) => false,
            _ => self.suite().is_none() || other.suite().is_some(),
        }
    }

    /// The handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.0.resumed
    }

    /// From here on it is not to be believed any more, and its connections end.
    pub fn not_after(&self) -> UnixTime {
        self.0.not_after
    }

    /// Set where trust on first use met this peer for the first time: what is to be remembered of it.
    pub fn newly_seen(&self) -> Option<&KnownPeer> {
        self.0.newly_seen.as_deref()
    }

    /// Takes out what is to be remembered of this peer, which is needed once: an endpoint does so before a connection
    /// begins.
    pub fn take_newly_seen(&mut self) -> Option<KnownPeer> {
        self.0.newly_seen.as_ref()?;
        Arc::make_mut(&mut self.0).newly_seen.take().map(|peer| *peer)
    }
}

/// For people: `ada (SHA256:…), pinned`.
impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        match (self.name(), self.claimed_name()) {
            (Some(name), _) => write!(f, "{name}")?,
            (None, Some(claimed)) => write!(f, "somebody who goes by {claimed}")?,
            (None, None) => match (&inner.spiffe_id, &inner.static_key) {
                (Some(id), _) => write!(f, "{id}")?,
                (None, Some(key)) => write!(f, "the holder of key {key}")?,
                (None, None) => f.write_str("somebody")?,
            },
        }
        if let Some(fingerprint) = self.fingerprint() {
            write!(f, " ({fingerprint})")?;
        }
        write!(f, ", {}", inner.trusted_by)
    }
}

/// The end of a sentence about a peer: `pinned`.
impl fmt::Display for TrustedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin => f.write_str("pinned"),
            Self::Authority { name, fingerprint } => write!(f, "vouched for by {name} ({fingerprint})"),
            Self::FirstUse => f.write_str("trusted on first use"),
            Self::PeerCredentials {
                uid,
                gid,
                pid: Some(pid),
            } => {
                write!(f, "process {pid} of user {uid}, group {gid}, says the system")
            }
            Self::PeerCredentials { uid, gid, pid: None } => {
                write!(f, "a process of user {uid}, group {gid}, says the system")
            }
            Self::Token => f.write_str("with a token"),
            Self::Svid { trust_domain } => write!(f, "vouched for by trust domain {trust_domain}"),
            Self::Anonymous => f.write_str("anonymous, which is allowed"),
            Self::Plain => f.write_str("not authenticated: the connection is plain"),
        }
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight thousand idle connections of one process would be as many times 216 bytes.
    #[test]
    fn connections_of_one_process_share_what_is_known_of_it() {
        let peer = |uid| Verified::peer_credentials(uid, 1, Some(7), PlainAllowed::by_name());
        let (first, again, other) = (peer(1), peer(1), peer(2));
        assert!(Arc::ptr_eq(&first.0, &again.0));
        assert!(first == again && first != other);
        assert!(matches!(
            other.0.trusted_by,
            TrustedBy::PeerCredentials { uid: 2, .. }
        ));
    }
}
