//! A policy that can be replaced while it is in use.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::QosPolicy;

/// The policy in force. Clones share it; replacing it is seen by all of them.
///
/// It tells nobody: who reads it sees by [`version`](Self::version) that there is a newer one, and an endpoint is told by
/// [`set_qos`](valkyrie_endpoint::Endpoint::set_qos).
#[derive(Clone)]
pub struct QosHandle {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Mutex<QosPolicy>,
    version: AtomicU64,
}

impl QosHandle {
    /// A handle on `policy`, at version 1.
    pub fn new(policy: QosPolicy) -> Self {
        Self {
            inner: Arc::new(Inner {
                policy: Mutex::new(policy),
                version: AtomicU64::new(1),
            }),
        }
    }

    /// The policy in force and its version.
    pub fn load(&self) -> (QosPolicy, u64) {
        let held = self.held();
        (held.clone(), self.version())
    }

    /// Puts another policy in force, and returns its version.
    pub fn store(&self, policy: QosPolicy) -> u64 {
        let mut held = self.held();
        *held = policy;
        // Within the lock, so that nobody loads a policy with the version of another.
        self.inner.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Which policy is in force: grows by one with every replacement. One relaxed load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Relaxed)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, QosPolicy> {
        self.inner.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for QosHandle {
    /// A handle on the policy that says nothing.
    fn default() -> Self {
        Self::new(QosPolicy::default())
    }
}

impl From<QosPolicy> for QosHandle {
    fn from(policy: QosPolicy) -> Self {
        Self::new(policy)
    }
}

impl fmt::Debug for QosHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QosHandle")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
