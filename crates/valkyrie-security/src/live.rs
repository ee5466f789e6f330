//! A value that is replaced while others use it: identity, trust and policy, read anew without a restart.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value behind a handle that all clones share. Readers keep the value that they have loaded; whoever loads later
/// gets the newer one.
pub struct Live<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    value: Mutex<Arc<T>>,
    version: AtomicU64,
}

impl<T> Live<T> {
    /// A handle on `value`, at version 1.
    pub fn new(value: T) -> Self {
        let inner = Inner {
            value: Mutex::new(Arc::new(value)),
            version: AtomicU64::new(1),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The value now.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.inner.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value for everybody who loads after this.
    pub fn store(&self, value: T) {
        let mut held = self.inner.value.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(value);
        self.inner.version.fetch_add(1, Ordering::Release);
    }

    /// Replaces the value by what `change` makes of it, with nobody in between.
    pub fn update(&self, change: impl FnOnce(&T) -> T) {
        let mut held = self.inner.value.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(change(&held));
        self.inner.version.fetch_add(1, Ordering::Release);
    }

    /// Grows with every replacement: one load of an atomic tells whether a value that was loaded is still the newest.
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_what_it_loaded_and_sees_that_it_is_old() {
        let live = Live::new(1);
        let (held, version) = (live.load(), live.version());
        live.clone().store(2);
        assert_eq!((*held, *live.load()), (1, 2));
        assert!(live.version() > version);
        live.update(|value| value + 1);
        assert_eq!(*live.load(), 3);
    }
}
