//! The tickets that this side has given out, with the keys that go with them.

use std::collections::{HashMap, VecDeque};
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
    /// Boxed, so that a growing table leaves no copies behind and its free places are small.
    by_id: HashMap<[u8; TICKET_LEN], Box<Ticket>>,
    /// In the order of issue, which is that of expiry. Tickets that were used up stay in it for a while.
    order: VecDeque<[u8; TICKET_LEN]>,
}

struct Ticket {
    psk: Zeroizing<[u8; 32]>,
    peer: PublicKey,
    until: Instant,
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
        while self.by_id.len() >= Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        let mut id = [0; TICKET_LEN];
        aws_lc_rs::rand::fill(&mut id).expect("the operating system has random bytes");
        let ticket = Ticket {
            psk: psk(&id),
            peer,
            until: now + Self::LIFETIME,
        };
        self.order.push_back(id);
        self.by_id.insert(id, Box::new(ticket));
        id
    }

    /// The key of a ticket that is good. It stays good: who knows its number has not shown that he has its key.
    pub(crate) fn psk(&mut self, now: Instant, id: &[u8; TICKET_LEN]) -> Option<Zeroizing<[u8; 32]>> {
        self.expire(now);
        self.by_id.get(id).map(|ticket| ticket.psk.clone())
    }

    /// Uses up a ticket whose holder has shown that he has its key. False when it is no longer good or was given to
    /// somebody else; it is left alone then.
    pub(crate) fn redeem(&mut self, now: Instant, id: &[u8; TICKET_LEN], peer: &PublicKey) -> bool {
        self.expire(now);
        let theirs = self.by_id.get(id).is_some_and(|ticket| ticket.peer == *peer);
        if theirs {
            self.by_id.remove(id);
            self.tidy();
        }
        theirs
    }

    /// How many are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_id.len()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front()
            && self.by_id.get(oldest).is_none_or(|ticket| ticket.until <= now)
        {
            self.by_id.remove(oldest);
            self.order.pop_front();
        }
    }

    /// Takes the used up out of the order once they are more than half of it, so that each costs a step or two.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.by_id.len() {
            self.order.retain(|id| self.by_id.contains_key(id));
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
