//! Which documents' signatures were found to be good, so that a peer that comes again costs no signature check.
//!
//! Whether the signatures of a document are good depends on its bytes alone, since they name the issuer by a hash of its
//! keys. Everything else, times and revocations above all, is decided anew each time.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{self, SHA256};

#[derive(Debug, Default)]
pub(super) struct VerificationCache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    good: HashSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
}

/// The key of a document in the cache.
pub(super) fn key(document: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&SHA256, document).as_ref());
    key
}

impl VerificationCache {
    pub(super) fn contains(&self, key: &[u8; 32]) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .good
            .contains(key)
    }

    pub(super) fn insert(&self, key: [u8; 32]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.good.insert(key) {
            return;
        }
        inner.oldest_first.push_back(key);
        if inner.oldest_first.len() > CACHED_MAX
            && let Some(oldest) = inner.oldest_first.pop_front()
        {
            inner.good.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).good.len()
    }
}

/// Documents that are remembered: as many peers as come and go often at one node, 100 KiB.
pub(super) const CACHED_MAX: usize = 1024;
