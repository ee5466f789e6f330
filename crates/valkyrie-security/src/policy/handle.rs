//! A policy that can be replaced while connections live.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Grant, Policy, Subject};
use crate::time::UnixTime;

/// The policy in force. Clones share it; replacing it is seen by all of them.
#[derive(Clone)]
pub struct PolicyHandle {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Mutex<Policy>,
    version: AtomicU64,
}

impl PolicyHandle {
    /// A handle on `policy`, at version 1.
    pub fn new(policy: Policy) -> Self {
        Self {
            inner: Arc::new(Inner {
                policy: Mutex::new(policy),
                version: AtomicU64::new(1),
            }),
        }
    }

    /// The policy in force.
    pub fn load(&self) -> Policy {
        self.held().clone()
    }

    /// Puts another policy in force, and returns its version. Grants that were made before know nothing of it: they
    /// are asked for until their owner sees that [`version`](Self::version) has changed.
    pub fn store(&self, policy: Policy) -> u64 {
        let mut held = self.held();
        *held = policy;
        // Within the lock, so that a grant never carries a version newer than its rules.
        self.inner.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Which policy is in force: grows by one with every replacement. One relaxed load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Relaxed)
    }

    /// Whether a policy has come into force since `grant` was made.
    #[inline]
    pub fn is_stale(&self, grant: &Grant) -> bool {
        grant.version != self.version()
    }

    /// What a peer may do under the policy in force, see [`Policy::grant`]. `now` and `time` are the same moment by two clocks.
    pub fn grant<'a>(&self, subject: impl Into<Subject<'a>>, now: Instant, time: UnixTime) -> Grant {
        let (policy, version) = {
            let held = self.held();
            (held.clone(), self.version())
        };
        Grant {
            version,
            ..policy.grant(subject, now, time)
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Policy> {
        self.inner.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Policy> for PolicyHandle {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

impl fmt::Debug for PolicyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyHandle")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
