//! Who the peer of a connection is, and what it may do here.
//!
//! The driver asks before it looks for a handler, with a grant that was compiled when the connection began. Whether
//! the policy has changed since is one load of an atomic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use valkyrie_frame::{Class, ErrorCode, Extensions};
use valkyrie_proto::Failure;
use valkyrie_security::policy::{Denied, DeniedReason, Grant};
use valkyrie_security::trust::Trust;
use valkyrie_security::{UnixTime, Verified};

use crate::channel::Fault;
use crate::clock;
use crate::secure::Secure;

/// Who the peer of a connection is, and who says what it may do.
pub(crate) struct Guard {
    identity: Verified,
    secure: Arc<Secure>,
    refused: AtomicU64,
    /// When the connection began, by both clocks.
    since: (Instant, UnixTime),
    /// Until when the peer's rights last, in milliseconds since 1970.
    until_ms: AtomicU64,
}

/// Proof that a peer is known and may do what it asks for. No handler is started without one, and only
/// [`Guard::permit`] makes one.
pub(crate) struct Permit(());

impl Guard {
    pub(crate) fn new(identity: Verified, secure: Arc<Secure>) -> Self {
        Self {
            until_ms: AtomicU64::new(identity.not_after().millis()),
            since: (clock::now(), clock::unix_now()),
            identity,
            secure,
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn identity(&self) -> &Verified {
        &self.identity
    }

    /// What the policy has refused on this connection.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What the peer may do as the policy is now.
    pub(crate) fn grant(&self, now: Instant) -> Grant {
        let grant = self.secure.policy.grant(&self.identity, now, clock::unix_now());
        let until = grant.not_after().unwrap_or(UnixTime::MAX);
        let until = until.min(self.identity.not_after());
        self.until_ms.store(until.millis(), Ordering::Relaxed);
        grant
    }

    /// Whether the policy is another than `grant` was made from.
    #[inline]
    pub(crate) fn is_stale(&self, grant: &Grant) -> bool {
        self.secure.policy.is_stale(grant)
    }

    /// Whether the peer may have a message of this route and class served.
    ///
    /// # Errors
    /// What the peer is told, the same whether such a service exists or not. The refusal is counted.
    #[inline]
    pub(crate) fn permit(
        &self,
        grant: &Grant,
        extensions: &Extensions,
        class: Class,
        now: Instant,
    ) -> Result<Permit, Failure> {
        if grant.version() == self.secure.permissive_version {
            return Ok(Permit(()));
        }
        // What names nothing is asked about as such: there may be somebody who takes it.
        let (service, method) = extensions.route().unwrap_or_default();
        match grant.check(service, method, class, now) {
            Ok(()) => Ok(Permit(())),
            Err(denied) => Err(self.refuse(service, method, &denied)),
        }
    }

    /// Why a stream that was permitted when it was opened is not any more; `None` when it is.
    pub(crate) fn reconsider(
        &self,
        grant: &Grant,
        extensions: &Extensions,
        class: Class,
        now: Instant,
    ) -> Option<Failure> {
        let (service, method) = extensions.route().unwrap_or_default();
        match grant.check(service, method, class, now) {
            Ok(()) => None,
            // How often streams may be opened says nothing about one that is open.
            Err(denied) if matches!(denied.reason, DeniedReason::Rate { .. }) => None,
            // The peer has tried nothing: it is the policy that has changed.
            Err(denied) => Some(failure(&denied)),
        }
    }

    #[cold]
    fn refuse(&self, service: &str, method: &str, denied: &Denied) -> Failure {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.secure.audit.denied(&self.identity, service, method, denied);
        failure(denied)
    }

    /// Notes why nothing more is read from the link.
    #[cold]
    pub(crate) fn note_fault(&self, fault: &Fault) {
        if let Fault::Broken(failure) = fault {
            self.secure.audit.broken(&self.identity, failure);
        }
    }

    /// Whether what the peer proved, or what it was granted, has come to its end. A clock that was set back does not
    /// make it longer, and a machine that slept not either.
    pub(crate) fn is_over(&self, now: Instant, unix: UnixTime) -> bool {
        let until = UnixTime::from_millis(self.until_ms.load(Ordering::Relaxed));
        let (begun, begun_unix) = self.since;
        until <= unix.max(begun_unix.saturating_add(now.saturating_duration_since(begun)))
    }

    /// Why the connection has to end: what its peer proved is over, or withdrawn. `None` when it may go on.
    pub(crate) fn dismissal(&self, trust: &Trust, now: Instant, unix: UnixTime) -> Option<Failure> {
        let failure = match trust.recheck(unix, &self.identity) {
            Err(error) => Failure::new(error.code(), error.told_to_peer()),
            Ok(()) if self.is_over(now, unix) => {
                Failure::new(ErrorCode::CREDENTIALS_EXPIRED, "the credentials have expired")
            }
            Ok(()) => return None,
        };
        self.secure.audit.dismissed(&self.identity, &failure);
        Some(failure)
    }
}

/// What a peer is told that may not do something.
fn failure(denied: &Denied) -> Failure {
    let mut failure = Failure::new(denied.code(), denied.to_string());
    failure.retry_after_ms = denied.retry_after_ms();
    failure
}
