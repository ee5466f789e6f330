//! What an endpoint counts and records of those who were let in, refused or caught.

use std::sync::atomic::{AtomicU64, Ordering};

use valkyrie_proto::Failure;
use valkyrie_security::Verified;
use valkyrie_security::handshake::{AdmissionStats, HandshakeError};
use valkyrie_security::policy::Denied;

/// The counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    handshakes_failed: AtomicU64,
    refused: AtomicU64,
    violations: AtomicU64,
}

/// What an endpoint has let in and refused, on all its connections together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecurityStats {
    /// What became of the links that peers dialled, before anything was proved on them.
    pub admission: AdmissionStats,
    /// Handshakes that came to nothing, dialled and accepted.
    pub handshakes_failed: u64,
    /// Calls, notifications and streams that the policy refused, those for coming too often among them.
    pub refused: u64,
    /// What no honest peer does: handshakes that do not verify or show nobody who is trusted, records that were forged,
    /// calls that are not permitted.
    pub security_violations: u64,
}

impl Audit {
    /// A handshake came to nothing.
    pub(crate) fn handshake_failed(&self, peer: &str, error: &HandshakeError) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        if error.is_violation() {
            self.violations.fetch_add(1, Ordering::Relaxed);
        }
        let _ = peer;
    }

    /// The policy refused something.
    pub(crate) fn denied(&self, peer: &Verified, service: &str, method: &str, denied: &Denied) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if denied.is_violation() {
            self.violations.fetch_add(1, Ordering::Relaxed);
        }
        let _ = (peer, service, method);
    }

    /// A link carried what the peer did not send.
    pub(crate) fn broken(&self, peer: &Verified, failure: &Failure) {
        self.violations.fetch_add(1, Ordering::Relaxed);
        let _ = (peer, failure);
    }

    /// A connection ended because its peer is not to be believed any more.
    pub(crate) fn dismissed(&self, peer: &Verified, failure: &Failure) {
        let _ = (peer, failure);
    }

    pub(crate) fn stats(&self, admission: AdmissionStats) -> SecurityStats {
        SecurityStats {
            admission,
            handshakes_failed: self.handshakes_failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            security_violations: self.violations.load(Ordering::Relaxed),
        }
    }
}
