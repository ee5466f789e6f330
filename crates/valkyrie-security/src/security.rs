//! What an endpoint needs to know to prove who it is and to judge who others are. Shared by all its connections.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::channel::ChannelConfig;
use crate::credentials::Credentials;
use crate::handshake::{HandshakeError, Suites};
use crate::identity::Identity;
use crate::live::Live;
use crate::policy::PolicyHandle;
use crate::provider::{PublicKey, StaticKey};
use crate::role::Role;
use crate::time::UnixTime;
use crate::token::TokenError;
use crate::trust::{Place, Trust};
use crate::verified::Verified;

/// Our identity, whom we trust, and what we agree to. Identity and trust can be replaced while connections live: new
/// handshakes use the new ones.
#[derive(Clone, Debug)]
pub struct Security {
    identity: Live<Identity>,
    trust: Live<Trust>,
    suites: Suites,
    channel: ChannelConfig,
    token: Option<Arc<Zeroizing<Vec<u8>>>>,
    policy: Option<PolicyHandle>,
    proves: bool,
    tickets: bool,
    seals_bound_links: bool,
}

impl Security {
    /// With an identity and whom it trusts, and everything else as recommended: post-quantum suites only, records of
    /// 16 KiB, tickets to resume with.
    pub fn new(identity: Live<Identity>, trust: Live<Trust>) -> Self {
        Self {
            identity,
            trust,
            suites: Suites::default(),
            channel: ChannelConfig::default(),
            token: None,
            policy: None,
            proves: false,
            tickets: true,
            seals_bound_links: false,
        }
    }

    /// With these suites.
    #[must_use]
    pub fn with_suites(mut self, suites: Suites) -> Self {
        self.suites = suites;
        self
    }

    /// With records, rekeying and padding like this.
    #[must_use]
    pub fn with_channel(mut self, channel: ChannelConfig) -> Self {
        self.channel = channel;
        self
    }

    /// Presents this capability token to those that are dialled.
    #[must_use]
    pub fn with_token(mut self, token: Vec<u8>) -> Self {
        self.token = Some(Arc::new(Zeroizing::new(token)));
        self
    }

    /// Takes capability tokens as this policy says. Without one every token is refused.
    #[must_use]
    pub fn with_policy(mut self, policy: PolicyHandle) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Signs every handshake with the identity's own keys as well. With an ML-DSA key among them, who breaks X25519 today
    /// still cannot pose as this identity to a peer that asks for it ([`Trust`] does); it costs a signature and about
    /// nine kilobytes for a connection.
    #[must_use]
    pub fn with_proof(mut self, proves: bool) -> Self {
        self.proves = proves;
        self
    }

    /// Gives diallers tickets to resume with, or not.
    #[must_use]
    pub fn with_tickets(mut self, tickets: bool) -> Self {
        self.tickets = tickets;
        self
    }

    /// Seals records even on links that are encrypted and bound to the handshake.
    #[must_use]
    pub fn with_bound_links_sealed(mut self, seals: bool) -> Self {
        self.seals_bound_links = seals;
        self
    }

    /// Our identity.
    pub fn identity(&self) -> &Live<Identity> {
        &self.identity
    }

    /// Whom we trust.
    pub fn trust(&self) -> &Live<Trust> {
        &self.trust
    }

    /// What we agree to.
    pub fn suites(&self) -> &Suites {
        &self.suites
    }

    pub(crate) fn channel(&self) -> &ChannelConfig {
        &self.channel
    }

    pub(crate) fn issues_tickets(&self) -> bool {
        self.tickets
    }

    pub(crate) fn seals_bound_links(&self) -> bool {
        self.seals_bound_links
    }

    /// The key to prove from now on.
    pub(crate) fn static_key(&self) -> StaticKey {
        self.identity.load().static_key()
    }

    /// The keys that peers may still know us by, newest first.
    pub(crate) fn static_keys(&self) -> Vec<StaticKey> {
        self.identity.load().static_keys().to_vec()
    }

    /// What we say of ourselves in the handshake with this hash.
    pub(crate) fn credentials(&self, role: Role, hash: &[u8; 32]) -> Result<Credentials, HandshakeError> {
        let identity = self.identity.load();
        let mut credentials = Credentials::of(&identity);
        if self.proves || identity.must_prove() {
            credentials.prove(&identity, role, hash)?;
        }
        if role == Role::Dialler
            && let Some(token) = &self.token
        {
            credentials.set_token(token)?;
        }
        Ok(credentials)
    }

    /// Decides whether to trust a peer that proved `key`.
    pub(crate) fn verify(
        &self,
        unix: UnixTime,
        key: &PublicKey,
        role: Role,
        hash: &[u8; 32],
        credentials: &Credentials,
        place: &Place,
    ) -> Result<Verified, HandshakeError> {
        let trust = self.trust.load();
        let Some(token) = credentials.token() else {
            return Ok(trust.verify(unix, key, role, hash, credentials, place)?);
        };
        let policy = self.policy.as_ref().ok_or(TokenError::Signature)?.load();
        let rights = policy.verify_token(token, key, unix)?;
        if credentials.identity().is_none() && credentials.svid().is_none() {
            trust.check_key(key)?;
            return Ok(Verified::token(*key, rights));
        }
        Ok(trust
            .verify(unix, key, role, hash, credentials, place)?
            .bearing(rights))
    }
}
