//! Cookies: a peer that sends one back receives at its address. Making and checking one keeps nothing in memory.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

use super::envelope::COOKIE_LEN;

#[cfg(test)]
mod tests;

/// Makes and checks cookies, as a [`Gate`](super::Gate) does for all handshakes of a process.
//= protocol/security.md#challenge
pub struct Cookies {
    /// What the keys of all periods come from. It never leaves this process.
    root: hmac::Key,
    /// When the first period began.
    begun: Instant,
    /// The number of the period that `key` is of.
    period: u64,
    key: hmac::Key,
    previous: Option<hmac::Key>,
}

impl Cookies {
    /// For so long cookies are made under one key. They are accepted until the end of the next period.
    pub const PERIOD: Duration = Duration::from_secs(120);

    /// Bytes of a cookie.
    pub const LEN: usize = COOKIE_LEN;

    /// With a key of its own.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn new(now: Instant) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *secret).expect("the operating system has random bytes");
        let root = hmac::Key::new(HMAC_SHA256, &*secret);
        Self {
            key: key(&root, 0),
            root,
            begun: now,
            period: 0,
            previous: None,
        }
    }

    /// The cookie of `address` now.
    pub fn issue(&mut self, now: Instant, address: IpAddr) -> [u8; Self::LEN] {
        self.turn(now);
        let mut cookie = [0; COOKIE_LEN];
        cookie.copy_from_slice(hmac::sign(&self.key, &bytes(address)).as_ref());
        cookie
    }

    /// Whether `cookie` was made for `address`, in this period or the one before. How long that takes does not depend on where a wrong one
    /// is wrong.
    pub fn check(&mut self, now: Instant, address: IpAddr, cookie: &[u8]) -> bool {
        self.turn(now);
        let bytes = bytes(address);
        let made_by = |key| verify_slices_are_equal(hmac::sign(key, &bytes).as_ref(), cookie).is_ok();
        made_by(&self.key) || self.previous.as_ref().is_some_and(made_by)
    }

    /// Goes to the period of `now`. Time does not go back.
    fn turn(&mut self, now: Instant) {
        let periods = now.saturating_duration_since(self.begun).as_secs() / Self::PERIOD.as_secs();
        if periods > self.period {
            self.previous = Some(key(&self.root, periods - 1));
            self.key = key(&self.root, periods);
            self.period = periods;
        }
    }
}

fn key(root: &hmac::Key, period: u64) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, hmac::sign(root, &period.to_be_bytes()).as_ref())
}

/// An address as 16 bytes; one of IPv4 has one form only.
fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}
