//! Who may do what: rules, compiled for each peer into a [`Grant`] that is asked about every call.
//!
//! Nothing is allowed that no rule allows, and a rule that denies wins over every rule that allows. It knows nothing of
//! how peers are authenticated ([`crate::trust`]) and counts nothing but rates. Read [`Policy`] first; how a policy
//! file is written is in `docs/book/policy.md`.

mod classes;
mod compiled;
mod denied;
mod entry;
mod explain;
mod fault;
mod grant;
mod handle;
mod pattern;
mod rate;
mod read;
mod rule;
mod selector;
mod shares;
mod subject;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use valkyrie_frame::Class;

pub use classes::Classes;
pub use denied::{Denied, DeniedReason, What};
pub use explain::{Decision, Explanation};
pub use fault::{PolicyError, PolicyFault};
pub use grant::Grant;
pub use handle::PolicyHandle;
pub use rule::TopicUse;
pub use subject::{Standing, Subject};

use crate::provider::PublicKey;
use crate::time::UnixTime;
use crate::token::{RevocationId, TokenError, TokenRights, TokenRoot};
use grant::TokenGrant;
use rule::{Calls, Effect, Peers, Rule};
use selector::PeerSelector;
use shares::Shares;
use table::Seen;

/// The rules of one side. Cloning is a reference count.
///
/// ```
/// use std::time::Instant;
/// use valkyrie_frame::Class;
/// use valkyrie_security::UnixTime;
/// use valkyrie_security::policy::{Policy, Standing, Subject};
///
/// let policy = Policy::parse(
///     r#"
///     version = 1
///     [[allow]]
///     peers = ["role:runner"]
///     services = ["rustci"]
///     "#,
/// )?;
/// let mut runner = Subject::new(Standing::Identity);
/// runner.roles = vec!["runner"];
/// let now = Instant::now();
/// let grant = policy.grant(&runner, now, UnixTime::from_secs(1_800_000_000));
/// assert!(grant.check("rustci", "register", Class::Job, now).is_ok());
/// assert!(grant.check("rustci", "register", Class::Critical, now).is_err());
/// assert!(grant.check("echo", "echo", Class::Job, now).is_err());
/// # Ok::<(), valkyrie_security::policy::PolicyError>(())
/// ```
#[derive(Clone)]
pub struct Policy {
    rules: Arc<[Rule]>,
    tokens: Arc<TokenRules>,
    shares: Arc<Shares>,
}

/// Which tokens are taken, and for how much.
#[derive(Clone, Debug, Default)]
struct TokenRules {
    roots: Box<[TokenRoot]>,
    revoked: Box<[RevocationId]>,
    ceiling: Classes,
}

impl Policy {
    /// Rules that a policy may have.
    pub const RULES_MAX: usize = 1024;
    /// Bytes that a policy file may have: a thousand rules of a full page each.
    pub const FILE_BYTES_MAX: usize = 1 << 20;

    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`] has every mistake that was found, with its place. Nothing of the file is used then.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        read::read(text).map(|(rules, tokens)| Self::new(rules, tokens))
    }

    /// What `valkyrie serve` gives without a policy file: any authenticated peer may try the connection out, with every
    /// method of the services echo, health and describe.
    pub fn diagnostics() -> Self {
        let calls = Calls::of_services(&["echo", "health", "describe"]);
        Self::built_in(&[PeerSelector::Any], calls, Classes::ORDINARY)
    }

    /// [`Policy::diagnostics`], and the methods of the service node, which tell of other peers, for whoever shows the
    /// node's own identity: its operator at another terminal.
    pub fn diagnostics_of(node: crate::identity::Fingerprint) -> Self {
        let everybody = Self::diagnostics();
        let calls = Calls::of_services(&["node"]);
        let operator = Self::built_in(&[PeerSelector::Fingerprint(node)], calls, Classes::ORDINARY);
        let rules = everybody.rules.iter().chain(&*operator.rules).cloned();
        Self::new(rules.collect(), TokenRules::default())
    }

    /// Any authenticated peer may call anything and use any topic, in the classes job, data and bulk.
    pub fn allow_authenticated() -> Self {
        Self::built_in(&[PeerSelector::Any], Calls::any(), Classes::ORDINARY)
    }

    /// Everybody may do everything, in every class, known or not. For tests, and for connections that are plain by
    /// somebody's word.
    pub fn allow_all() -> Self {
        let selectors = [PeerSelector::Any, PeerSelector::Anonymous, PeerSelector::Plain];
        Self::built_in(&selectors, Calls::any(), Classes::ALL)
    }

    fn built_in(peers: &[PeerSelector], calls: Calls, classes: Classes) -> Self {
        let topics: Box<[_]> = match calls.include("*", "*") {
            true => Box::new([pattern::Pattern::any()]),
            false => Box::default(),
        };
        let rule = Rule {
            line: 0,
            effect: Effect::Allow,
            peers: Peers::Some(peers.into()),
            calls,
            classes,
            rate: None,
            publish: topics.clone(),
            subscribe: topics,
        };
        Self::new(vec![rule], TokenRules::default())
    }

    fn new(rules: Vec<Rule>, tokens: TokenRules) -> Self {
        Self {
            rules: rules.into(),
            tokens: Arc::new(tokens),
            shares: Arc::default(),
        }
    }

    /// What a peer may do from now on: a [`Verified`](crate::Verified) by reference, or a [`Subject`]. `now` and `time`
    /// are the same moment by two clocks.
    pub fn grant<'a>(&self, subject: impl Into<Subject<'a>>, now: Instant, time: UnixTime) -> Grant {
        let subject = subject.into();
        let compiled = self.shares.compiled(&self.rules, self.applying(&subject));
        let account = subject.account();
        let meters = compiled.metered.iter().filter_map(|number| {
            let rate = self.rules.get(usize::from(*number))?.rate.as_ref()?;
            Some(self.shares.meter(&account, *number, rate, now))
        });
        // It was verified under an earlier policy, perhaps.
        let token = subject
            .token
            .filter(|rights| self.tokens.take(rights))
            .map(|rights| {
                Box::new(TokenGrant {
                    rights: rights.clone(),
                    ceiling: self.tokens.ceiling,
                })
            });
        // Where there is an identity the token ends by itself, and what the rules give stays.
        let not_after = match (subject.standing.is_authenticated(), subject.token) {
            (false, Some(rights)) => earlier(subject.not_after, rights.not_after()),
            _ => subject.not_after,
        };
        Grant {
            meters: meters.collect(),
            compiled,
            seen: Seen::default(),
            token,
            made: (now, time),
            expires: not_after.and_then(|at| Some((now.checked_add(at.since(time))?, at))),
            version: 0,
        }
    }

    /// Which rule decides about a call, and how it came to that. What a token adds is not looked at.
    pub fn explain<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        service: &str,
        method: &str,
        class: Class,
    ) -> Explanation {
        explain::explain(&self.rules, &subject.into(), service, method, class)
    }

    /// Verifies the token that a peer showed which proved the static key `peer`. What it grants goes into
    /// [`Subject::token`], and is looked at anew with every [`grant`](Self::grant): a policy that does not take the token
    /// any more takes away what it granted.
    ///
    /// # Errors
    /// [`TokenError`]: the token grants nothing here, now, to this peer.
    pub fn verify_token(
        &self,
        token: &[u8],
        peer: &PublicKey,
        now: UnixTime,
    ) -> Result<TokenRights, TokenError> {
        TokenRights::verify(token, peer, &self.tokens.roots, &self.tokens.revoked, now)
    }

    /// The keys whose tokens are taken. None: no token is.
    pub fn token_roots(&self) -> &[TokenRoot] {
        &self.tokens.roots
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    fn applying(&self, subject: &Subject<'_>) -> Box<[u16]> {
        let rules = (0_u16..).zip(&*self.rules);
        let applying = rules.filter(|(_, rule)| rule.peers.include(subject));
        applying.map(|(number, _)| number).collect()
    }
}

impl TokenRules {
    fn take(&self, rights: &TokenRights) -> bool {
        let mut ids = rights.revocation_ids().iter();
        self.roots.contains(&rights.root()) && !ids.any(|id| self.revoked.contains(id))
    }
}

/// Nothing is allowed to anybody.
impl Default for Policy {
    fn default() -> Self {
        Self::new(Vec::new(), TokenRules::default())
    }
}

/// The rules, as they would be said.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field(
                "rules",
                &self.rules.iter().map(Rule::to_string).collect::<Vec<_>>(),
            )
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

fn earlier(one: Option<UnixTime>, other: Option<UnixTime>) -> Option<UnixTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
