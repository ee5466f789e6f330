//! Verifies a token, and says what it grants.

use std::fmt;
use std::sync::Arc;

use valkyrie_frame::Class;

use super::block::Program;
use super::check::{Ambient, Check, Facts};
use super::container::Container;
use super::{RevocationId, TokenError, TokenRoot, hex};
use crate::policy::Classes;
use crate::provider::PublicKey;
use crate::time::UnixTime;

/// What a verified token grants to the peer that showed it. Cheap to clone.
#[derive(Clone)]
pub struct TokenRights(Arc<Inner>);

struct Inner {
    program: Program,
    root: TokenRoot,
    ids: Vec<RevocationId>,
    /// The static key of the peer, in hexadecimal.
    peer: String,
    /// Moments at which an answer may change, in seconds, ascending.
    turns: Vec<u64>,
    not_after: Option<UnixTime>,
}

/// What a token says about one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The classes in which it gives the call.
    pub(crate) classes: Classes,
    /// Until when the answer is good.
    pub(crate) until: UnixTime,
}

/// The same token, shown by the same peer.
impl PartialEq for TokenRights {
    fn eq(&self, other: &Self) -> bool {
        self.0.ids == other.0.ids && self.0.peer == other.0.peer
    }
}

impl TokenRights {
    /// Verifies a token that a peer showed which proved the static key `peer`. `roots` are the keys whose tokens are
    /// taken, `revoked` those that are not taken any more, nor what was made from them.
    ///
    /// # Errors
    /// [`TokenError`]: the token grants nothing here, now, to this peer.
    //= protocol/security.md#tokens
    pub fn verify(
        token: &[u8],
        peer: &PublicKey,
        roots: &[TokenRoot],
        revoked: &[RevocationId],
        now: UnixTime,
    ) -> Result<Self, TokenError> {
        let container = Container::read(token)?;
        // What it says is read only once it is known who said it.
        let trusted = roots.iter().find(|root| container.verify(root).is_ok());
        let root = *trusted.ok_or(TokenError::Signature)?;
        let ids: Vec<RevocationId> = container
            .signatures()
            .copied()
            .map(RevocationId::from_bytes)
            .collect();
        if ids.iter().any(|id| revoked.contains(id)) {
            return Err(TokenError::Revoked);
        }
        let program = Program::read(container.blocks())?;
        if program.rights.is_empty() {
            return Err(TokenError::NoRights);
        }
        let dates = program.checks.iter().flat_map(Check::dates);
        // An answer changes with the date for `<` and `>=`, with the second behind it for `<=` and `>`.
        let mut turns: Vec<u64> = dates.flat_map(|date| [date, date.saturating_add(1)]).collect();
        turns.sort_unstable();
        turns.dedup();
        let mut inner = Inner {
            program,
            root,
            ids,
            peer: hex(peer.as_bytes()),
            turns,
            not_after: None,
        };
        inner.alive(now.secs()).map_err(|why| match why {
            Dead::Time => TokenError::Time(now),
            Dead::Peer => TokenError::OtherPeer,
        })?;
        let later = inner.turns.iter().copied().filter(|turn| *turn > now.secs());
        inner.not_after = later
            .into_iter()
            .find(|turn| inner.alive(*turn).is_err())
            .map(UnixTime::from_secs);
        Ok(Self(Arc::new(inner)))
    }

    /// When the last right has expired, if there is such a moment.
    pub fn not_after(&self) -> Option<UnixTime> {
        self.0.not_after
    }

    /// The classes that any of its rights is for; what checks leave of them shows with each call.
    pub fn classes(&self) -> Classes {
        let rights = self.0.program.rights.iter();
        rights.fold(Classes::NONE, |all, right| all.union(classes_of(right.class)))
    }

    /// The key that signed it.
    pub fn root(&self) -> TokenRoot {
        self.0.root
    }

    /// By what it can be revoked: the last is its own, the ones before are those of the tokens that it was made from.
    pub fn revocation_ids(&self) -> &[RevocationId] {
        &self.0.ids
    }

    /// What it gives for a call at a time.
    pub(crate) fn ask(&self, service: &str, method: &str, time: UnixTime) -> Answer {
        let inner = &*self.0;
        let rights = inner
            .program
            .rights
            .iter()
            .filter(|right| right.is_for(service, method));
        let given = rights.fold(Classes::NONE, |all, right| all.union(classes_of(right.class)));
        let holds = |class: &Class| {
            let facts = Facts {
                service,
                method,
                class: class.name(),
                time: time.secs(),
                peer: &inner.peer,
            };
            inner.program.checks.iter().all(|check| check.holds(&facts))
        };
        let turn = inner.turns.iter().find(|turn| **turn > time.secs());
        Answer {
            classes: given.iter().filter(holds).collect(),
            until: turn.map_or(UnixTime::MAX, |turn| UnixTime::from_secs(*turn)),
        }
    }
}

/// Why a token holds for no call at all.
enum Dead {
    Time,
    Peer,
}

impl Inner {
    /// Whether the checks hold that ask for nothing but the time and the peer.
    fn alive(&self, time: u64) -> Result<(), Dead> {
        let facts = Facts {
            service: "",
            method: "",
            class: "",
            time,
            peer: &self.peer,
        };
        for check in &self.program.checks {
            if !check.asks().any(Ambient::is_about_call) && !check.holds(&facts) {
                return match check.asks().any(|ambient| ambient == Ambient::Time) {
                    true => Err(Dead::Time),
                    false => Err(Dead::Peer),
                };
            }
        }
        Ok(())
    }
}

fn classes_of(class: Option<Class>) -> Classes {
    class.map_or(Classes::ALL, |class| Classes::NONE.with(class))
}

impl fmt::Debug for TokenRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRights")
            .field("rights", &self.0.program.rights)
            .field("checks", &self.0.program.checks.len())
            .field("root", &self.0.root)
            .field("not_after", &self.0.not_after)
            .finish_non_exhaustive()
    }
}
