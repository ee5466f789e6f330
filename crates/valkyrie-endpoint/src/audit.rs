//! What an endpoint counts and records of those who were let in, refused or caught.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use valkyrie_proto::Failure;
use valkyrie_security::Verified;
use valkyrie_security::audit::AuditEvent;
use valkyrie_security::handshake::{AdmissionStats, HandshakeError};
use valkyrie_security::policy::Denied;
use valkyrie_security::verified::TrustedBy;

/// Where the events of an endpoint's audit log go. A function that takes one is a sink.
pub trait AuditSink: Send + Sync + 'static {
    /// Records an event. It is called where the event happens, on a thread that serves connections, so it must not wait
    /// for anything slow: one that does hands on what it was given, within a bound, and counts what it drops.
    fn record(&self, event: &AuditEvent<'_>);
}

impl<F> AuditSink for F
where
    F: Fn(&AuditEvent<'_>) + Send + Sync + 'static,
{
    fn record(&self, event: &AuditEvent<'_>) {
        self(event);
    }
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
    /// Connections that were closed because their peers were revoked or had expired.
    pub dismissed: u64,
    /// What no honest peer does: handshakes that do not verify or show nobody who is trusted, records that were forged,
    /// calls that are not permitted.
    pub security_violations: u64,
}

/// The counters of an endpoint, and its sink if it has one.
#[derive(Default)]
pub(crate) struct Audit {
    sink: Option<Arc<dyn AuditSink>>,
    handshakes_failed: AtomicU64,
    refused: AtomicU64,
    dismissed: AtomicU64,
    violations: AtomicU64,
}

impl Audit {
    pub(crate) fn new(sink: Option<Arc<dyn AuditSink>>) -> Self {
        Self {
            sink,
            ..Self::default()
        }
    }

    /// A peer was let in.
    pub(crate) fn accepted(&self, peer: &Verified, place: &str) {
        match peer.how() {
            TrustedBy::Plain => self.record(&AuditEvent::Plain { place }),
            _ => self.record(&AuditEvent::Accepted { peer, place }),
        }
    }

    /// A handshake came to nothing.
    pub(crate) fn refused(&self, place: &str, error: &HandshakeError) {
        Self::count(&self.handshakes_failed);
        if error.is_violation() {
            Self::count(&self.violations);
        }
        if self.sink.is_some() {
            self.record(&AuditEvent::Refused {
                place,
                code: error.code(),
                reason: &error.to_string(),
            });
        }
    }

    /// The policy refused something.
    pub(crate) fn denied(&self, peer: &Verified, service: &str, method: &str, denied: &Denied) {
        Self::count(&self.refused);
        if denied.is_violation() {
            Self::count(&self.violations);
            self.record(&AuditEvent::Denied {
                peer,
                service,
                method,
                denied,
            });
        }
    }

    /// A link carried what the peer did not send.
    pub(crate) fn broken(&self, peer: &Verified, failure: &Failure) {
        Self::count(&self.violations);
        self.record(&AuditEvent::Broken {
            peer,
            code: failure.code,
            reason: &failure.text,
        });
    }

    /// A connection ended because its peer is not to be believed any more.
    pub(crate) fn dismissed(&self, peer: &Verified, failure: &Failure) {
        Self::count(&self.dismissed);
        self.record(&AuditEvent::Dismissed {
            peer,
            code: failure.code,
            reason: &failure.text,
        });
    }

    pub(crate) fn stats(&self, admission: AdmissionStats) -> SecurityStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SecurityStats {
            admission,
            handshakes_failed: load(&self.handshakes_failed),
            refused: load(&self.refused),
            dismissed: load(&self.dismissed),
            security_violations: load(&self.violations),
        }
    }

    fn record(&self, event: &AuditEvent<'_>) {
        if let Some(sink) = &self.sink {
            sink.record(event);
        }
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("sink", &self.sink.is_some())
            .field("stats", &self.stats(AdmissionStats::default()))
            .finish()
    }
}
