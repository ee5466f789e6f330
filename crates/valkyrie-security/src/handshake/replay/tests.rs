//! The cache at its bounds.

use super::*;

fn key(number: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
fn a_key_is_fresh_once_within_the_window() {
    let mut cache = ReplayCache::default();
    let now = Instant::now();
    assert_eq!(cache.check(now, &key(1)), Freshness::Fresh);
    assert_eq!(cache.check(now, &key(1)), Freshness::Seen);
    assert_eq!(cache.check(now + ReplayCache::WINDOW, &key(1)), Freshness::Seen);
    assert_eq!(cache.check(now, &key(2)), Freshness::Fresh);
    let after = now + ReplayCache::WINDOW + Duration::from_millis(1);
    assert_eq!(
        cache.check(after, &key(1)),
        Freshness::Fresh,
        "its clock is no longer accepted by now"
    );
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_full_cache_says_so_and_still_knows_what_it_has_seen() {
    let mut cache = ReplayCache::default();
    let now = Instant::now();
    for number in 0..ReplayCache::MAX as u32 {
        assert_eq!(cache.check(now, &key(number)), Freshness::Fresh);
    }
    for number in 0..10 {
        assert_eq!(cache.check(now, &key(1_000_000 + number)), Freshness::Full);
        assert_eq!(cache.check(now, &key(number)), Freshness::Seen);
    }
    assert_eq!(cache.len(), ReplayCache::MAX);
    let after = now + ReplayCache::WINDOW + Duration::from_millis(1);
    assert_eq!(cache.check(after, &key(1_000_000)), Freshness::Fresh);
    assert_eq!(cache.len(), 1);
}
