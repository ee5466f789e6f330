//! What all handshakes of one acceptor share: who may begin, cookies, first messages that came before, and tickets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::HandshakeError;
pub(crate) use super::admission::Verdict;
use super::admission::{Admission, AdmissionStats, HalfOpenId, HandshakeLimits};
use super::cookie::Cookies;
use super::envelope::{COOKIE_LEN, TICKET_LEN};
pub(crate) use super::replay::Freshness;
use super::replay::ReplayCache;
use super::ticket::Tickets;
use crate::channel::Exports;
use crate::provider::PublicKey;

/// Shared by all handshakes that an endpoint accepts. No lock in it is held while anything is computed for a peer.
#[derive(Debug)]
pub struct Gate {
    admission: Mutex<Admission>,
    cookies: Mutex<Cookies>,
    replay: Mutex<ReplayCache>,
    tickets: Mutex<Tickets>,
}

/// A link that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetIn {
    /// Its place among the handshakes in progress, to be given back with [`Gate::done`].
    pub id: HalfOpenId,
    /// The handshake that made way for it: its link is to be closed.
    pub evicted: Option<HalfOpenId>,
}

impl Gate {
    /// A gate with nobody in it.
    pub fn new(limits: HandshakeLimits, now: Instant) -> Self {
        Self {
            admission: Mutex::new(Admission::new(limits)),
            cookies: Mutex::new(Cookies::new(now)),
            replay: Mutex::default(),
            tickets: Mutex::default(),
        }
    }

    /// A link was accepted and nothing has been read of it.
    ///
    /// # Errors
    /// How long its address has to wait until it is let in again: close the link unheard.
    pub fn opened(&self, now: Instant, address: Option<IpAddr>) -> Result<LetIn, Duration> {
        let opened = lock(&self.admission).opened(now, address);
        opened
            .map(|opened| LetIn {
                id: opened.id,
                evicted: opened.evicted,
            })
            .map_err(|refused| refused.retry_after)
    }

    /// The machine could not take another link. These handshakes are to make way, so that it can: their links are to be closed.
    pub fn shortage(&self) -> BTreeSet<HalfOpenId> {
        lock(&self.admission).shortage()
    }

    /// A handshake has come to its end, whichever.
    pub fn done(&self, id: HalfOpenId) {
        lock(&self.admission).done(id);
    }

    /// What has been let in and what has not.
    pub fn stats(&self) -> AdmissionStats {
        lock(&self.admission).stats()
    }

    pub(crate) fn first_message(&self, now: Instant, proved: bool) -> Verdict {
        lock(&self.admission).first_message(now, proved)
    }

    pub(crate) fn failed(&self, error: &HandshakeError) {
        lock(&self.admission).failed(error);
    }

    pub(crate) fn cookie(&self, now: Instant, address: IpAddr) -> [u8; COOKIE_LEN] {
        lock(&self.cookies).issue(now, address)
    }

    pub(crate) fn cookie_is_good(&self, now: Instant, address: IpAddr, cookie: &[u8]) -> bool {
        lock(&self.cookies).check(now, address, cookie)
    }

    pub(crate) fn freshness(&self, now: Instant, ephemeral: &[u8; 32]) -> Freshness {
        lock(&self.replay).check(now, ephemeral)
    }

    pub(crate) fn psk(&self, now: Instant, ticket: &[u8; TICKET_LEN]) -> Option<Zeroizing<[u8; 32]>> {
        lock(&self.tickets).psk(now, ticket)
    }

    pub(crate) fn redeem(&self, now: Instant, ticket: &[u8; TICKET_LEN], peer: &PublicKey) -> bool {
        lock(&self.tickets).redeem(now, ticket, peer)
    }

    /// A ticket for `peer`, and for how many seconds it is good.
    pub(crate) fn issue(&self, now: Instant, peer: PublicKey, exports: &Exports) -> ([u8; TICKET_LEN], u32) {
        let ticket = lock(&self.tickets).issue(now, peer, |id| exports.ticket_psk(id));
        (ticket, Tickets::LIFETIME.as_secs() as u32)
    }
}

/// What these tables hold stays right if somebody panicked with a lock: each change is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
