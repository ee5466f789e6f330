//! The tickets that this side has given out, with the keys that go with them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::envelope::TICKET_LEN;
use crate::provider::PublicKey;

#[cfg(test)]
mod tests;

/// What an acceptor remembers of those whom it may meet again.
//= protocol/security.md#success
#[derive(Default)]
pub(crate) struct Tickets {
    by_id: HashMap<[u8; TICKET_LEN], Ticket>,
    /// In the order of issue, which is that of expiry.
    order: BTreeMap<u64, [u8; TICKET_LEN]>,
    next: u64,
}

struct Ticket {
    /// Boxed, so that a growing table leaves no copies behind.
    psk: Box<Zeroizing<[u8; 32]>>,
    peer: PublicKey,
    until: Instant,
    number: u64,
}

impl Tickets {
    /// How long a ticket is good.
    pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

    /// How many are kept, about 12 MiB. A further one takes the place of the oldest, whose holder then does a whole
    /// handshake.
    pub(crate) const MAX: usize = 65_536;

    /// A new ticket for the peer with this static key; `psk` derives the key that goes with it.
    pub(crate) fn issue(
        &mut self,
        now: Instant,
        peer: PublicKey,
        psk: impl FnOnce(&[u8; TICKET_LEN]) -> Zeroizing<[u8; 32]>,
    ) -> [u8; TICKET_LEN] {
        self.expire(now);
        if self.by_id.len() >= Self::MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_id.remove(&oldest);
        }
        let mut id = [0; TICKET_LEN];
        aws_lc_rs::rand::fill(&mut id).expect("the operating system has random bytes");
        let ticket = Ticket {
            psk: Box::new(psk(&id)),
            peer,
            until: now + Self::LIFETIME,
            number: self.next,
        };
        self.next += 1;
        self.order.insert(ticket.number, id);
        self.by_id.insert(id, ticket);
        id
    }

    /// The key of a ticket that is good. It stays good: who knows its number has not shown that he has its key.
    pub(crate) fn psk(&mut self, now: Instant, id: &[u8; TICKET_LEN]) -> Option<Zeroizing<[u8; 32]>> {
        self.expire(now);
        self.by_id.get(id).map(|ticket| (*ticket.psk).clone())
    }

    /// Uses up a ticket whose holder has shown that he has its key. False when it is no longer good or was given to
    /// somebody else; it is left alone then.
    pub(crate) fn redeem(&mut self, now: Instant, id: &[u8; TICKET_LEN], peer: &PublicKey) -> bool {
        self.expire(now);
        let theirs = self.by_id.get(id).is_some_and(|ticket| ticket.peer == *peer);
        if theirs && let Some(ticket) = self.by_id.remove(id) {
            self.order.remove(&ticket.number);
        }
        theirs
    }

    /// How many are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_id.len()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.order.first_entry()
            && self
                .by_id
                .get(oldest.get())
                .is_none_or(|ticket| ticket.until <= now)
        {
            self.by_id.remove(&oldest.remove());
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("kept", &self.by_id.len())
            .finish_non_exhaustive()
    }
}
