//! Which suites this side permits, and in which order it asks for them.

use crate::provider::{Providers, PublicKey};
use crate::suite::{Cipher, Pattern, SUITES, Suite, SuiteId};

use super::envelope::{OFFERED_MAX, TICKET_LEN};
use zeroize::Zeroizing;

/// The suites that this side permits, best first.
///
/// [`Suites::default`] is the post-quantum ones, AES first where the processor has it. Nothing is ever negotiated that is
/// not in here, whatever a peer asks for.
#[derive(Clone, Debug)]
pub struct Suites {
    providers: Providers,
    permitted: Vec<SuiteId>,
}

impl Default for Suites {
    fn default() -> Self {
        Self::with_providers(Providers::default())
    }
}

impl Suites {
    /// The suites of this crate with a KEM, and those that a plugged provider adds, which come last.
    pub fn with_providers(providers: Providers) -> Self {
        let has_aes = providers.has_aes();
        Self::ordered(providers, has_aes)
    }

    fn ordered(providers: Providers, has_aes: bool) -> Self {
        let (first, second) = ciphers(has_aes);
        let own = |cipher| {
            BY_PREFERENCE.into_iter().filter_map(move |pattern| {
                let fits = |suite: &&Suite| {
                    suite.pattern == pattern && suite.cipher == cipher && suite.id.0 < CLASSICAL
                };
                SUITES.iter().find(fits).map(|suite| suite.id)
            })
        };
        let plugged = SUITES
            .iter()
            .filter(|suite| suite.id.0 >= PLUGGED)
            .map(|suite| suite.id);
        let mut permitted: Vec<_> = own(first).chain(own(second)).chain(plugged).collect();
        permitted.retain(|id| id.suite().is_some_and(|suite| providers.supports(suite)));
        Self { providers, permitted }
    }

    /// Permits the suites without a KEM as well, after all others. A conversation under one of them can be read by whoever records it now and
    /// breaks X25519 later.
    #[must_use]
    pub fn and_classical(mut self) -> Self {
        let (first, second) = ciphers(self.providers.has_aes());
        for cipher in [first, second] {
            for pattern in [Pattern::Ik, Pattern::Xx] {
                let classical = |suite: &&Suite| {
                    !suite.post_quantum() && suite.pattern == pattern && suite.cipher == cipher
                };
                self.permitted
                    .extend(SUITES.iter().find(classical).map(|suite| suite.id));
            }
        }
        self
    }

    /// Permits these alone, in this order; those that no provider supplies are left out.
    #[must_use]
    pub fn only(mut self, suites: &[SuiteId]) -> Self {
        let supplied = |id: &&SuiteId| id.suite().is_some_and(|suite| self.providers.supports(suite));
        self.permitted = suites.iter().filter(supplied).copied().collect();
        self
    }

    /// What supplies the primitives.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The suites, best first.
    pub fn permitted(&self) -> &[SuiteId] {
        &self.permitted
    }

    /// What a dialler offers that knows this much of the acceptor.
    pub(crate) fn offer(&self, known: Option<&Known>) -> Vec<SuiteId> {
        let can_run = |id: &&SuiteId| {
            id.suite().is_some_and(|suite| match suite.pattern {
                Pattern::Xx => true,
                Pattern::Ik => known.is_some(),
                Pattern::IkPsk0 => known.is_some_and(|known| known.ticket.is_some()),
            })
        };
        self.permitted
            .iter()
            .filter(can_run)
            .take(OFFERED_MAX)
            .copied()
            .collect()
    }

    /// The first suite of the dialler's list that this side permits and that `can_run`.
    //= protocol/security.md#which-suite
    pub(crate) fn choose(
        &self,
        offered: &[SuiteId],
        can_run: impl Fn(&Suite) -> bool,
    ) -> Option<&'static Suite> {
        let permitted = offered.iter().filter(|id| self.permitted.contains(id));
        permitted.filter_map(|id| id.suite()).find(|suite| can_run(suite))
    }
}

/// What a dialler knows of an acceptor from before.
#[derive(Clone)]
pub struct Known {
    /// Its static key.
    pub static_key: PublicKey,
    /// What it gave us to resume with. Good once.
    pub ticket: Option<Ticket>,
}

impl Known {
    /// The acceptor's key and nothing to resume with.
    pub fn key(static_key: PublicKey) -> Self {
        Self {
            static_key,
            ticket: None,
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known")
            .field("static_key", &self.static_key)
            .field("ticket", &self.ticket.is_some())
            .finish()
    }
}

/// A ticket and the key that goes with it.
#[derive(Clone)]
pub struct Ticket {
    pub(crate) id: [u8; TICKET_LEN],
    pub(crate) psk: Zeroizing<[u8; 32]>,
    /// Seconds for which the acceptor takes it.
    pub(crate) lifetime_s: u32,
}

impl Ticket {
    /// For how many seconds from when it came the acceptor takes it.
    pub fn lifetime_s(&self) -> u32 {
        self.lifetime_s
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("lifetime_s", &self.lifetime_s)
            .finish_non_exhaustive()
    }
}

/// The cipher that this machine is quicker at, and the other.
fn ciphers(has_aes: bool) -> (Cipher, Cipher) {
    if has_aes {
        (Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305)
    } else {
        (Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm)
    }
}

const BY_PREFERENCE: [Pattern; 3] = [Pattern::IkPsk0, Pattern::Ik, Pattern::Xx];

/// Suite numbers from here on have no KEM.
//= protocol/security.md#suites
const CLASSICAL: u8 = 16;
/// Suite numbers from here on need a provider of their own.
const PLUGGED: u8 = 64;

#[cfg(test)]
mod tests {
    //! What is asked for first.

    use super::*;

    #[test]
    fn aes_comes_first_where_the_processor_has_it_and_chacha_elsewhere() {
        let [aes, chacha] = [true, false].map(|has_aes| Suites::ordered(Providers::default(), has_aes));
        assert_eq!(aes.permitted, [3, 2, 1, 6, 5, 4].map(SuiteId));
        assert_eq!(chacha.permitted, [6, 5, 4, 3, 2, 1].map(SuiteId));
        let default = Suites::default().permitted;
        assert!(default == aes.permitted || default == chacha.permitted);
        assert!(default.iter().all(|id| id.suite().unwrap().post_quantum()));
    }

    #[test]
    fn classical_suites_come_last_of_all_and_only_when_asked_for() {
        let permitted = Suites::default().and_classical().permitted;
        let (hybrid, classical) = permitted.split_at(6);
        assert!(hybrid.iter().all(|id| id.suite().unwrap().post_quantum()));
        assert!(classical.iter().all(|id| !id.suite().unwrap().post_quantum()));
        assert_eq!(classical.len(), 4);
    }
}
