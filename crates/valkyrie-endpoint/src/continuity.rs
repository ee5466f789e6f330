//! Sessions that outlive their link: which there are at an acceptor, who may continue one, and how a connection gets
//! another link.
//!
//! The dialler's part, finding that link, is in [`mover`](crate::mover).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use valkyrie_frame::ErrorCode;
use valkyrie_proto::{
    Failure, Offer, PLACES_BYTES_MAX, Resume, ResumeError, ResumeKey, SESSION_ID_LEN, Session,
};
use valkyrie_security::{Verified, continuation};
use valkyrie_transport::{Link, Locator};

use crate::channel::Channel;
use crate::clock;
use crate::lanes::Lanes;
use crate::mover::Origin;
use crate::shared::Shared;

/// A link on which a session is to go on, with what protects it.
pub(crate) struct Carrier {
    pub(crate) link: Box<dyn Link>,
    pub(crate) channel: Option<Box<Channel>>,
    /// What the peer has sent on it already.
    pub(crate) input: BytesMut,
}

impl Carrier {
    /// How many lanes a session uses on it. What is sealed is in one order, and so on one lane.
    pub(crate) fn lanes(&self) -> u8 {
        if self.channel.is_some() {
            1
        } else {
            self.link.capabilities().lanes
        }
    }
}

/// The sessions of an acceptor that can be continued.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<[u8; SESSION_ID_LEN], Weak<Shared>>>,
}

impl Sessions {
    pub(crate) fn insert(&self, id: [u8; SESSION_ID_LEN], shared: &Arc<Shared>) {
        self.lock().insert(id, Arc::downgrade(shared));
    }

    pub(crate) fn remove(&self, id: &[u8; SESSION_ID_LEN]) {
        self.lock().remove(id);
    }

    fn find(&self, id: &[u8; SESSION_ID_LEN]) -> Option<Arc<Shared>> {
        self.lock().get(id)?.upgrade()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; SESSION_ID_LEN], Weak<Shared>>> {
        // Every change under this lock is one insertion or removal.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Continues a session on a link whose peer asked for it.
    ///
    /// # Errors
    /// The carrier, which is to be told and closed; no session was touched.
    //= protocol/resume.md#resuming
    pub(crate) fn resume(
        &self,
        now: Instant,
        resume: &Resume,
        peer: &Verified,
        carrier: Carrier,
    ) -> Result<(), Carrier> {
        let Some(shared) = self.find(&resume.session) else {
            return Err(carrier);
        };
        if !shared.may_continue(resume, peer) {
            return Err(carrier);
        }
        let (received, epoch) = (resume.received, resume.epoch);
        let Some(passage) = shared.passage.get() else {
            return Err(carrier);
        };
        shared.attach(carrier, |session, lanes| {
            // Where the order of links is decided, so that of two at once the lower is not the later.
            if !passage.epoch.rise(epoch) {
                return Err(ResumeError::NotOpen);
            }
            session.accept_resume(now, received, lanes)
        })
    }
}

/// What an acceptor offers to a new session; nothing where the system has no random bytes.
pub(crate) fn offer(places: Bytes) -> Option<Offer> {
    let key = ResumeKey {
        session: continuation::random()?,
        secret: continuation::random()?,
    };
    Some(Offer::new(key, places))
}

/// Where an endpoint listens, as its peers are told; what does not fit is left out.
//= protocol/resume.md#offer
pub(crate) fn places<'a>(locators: impl Iterator<Item = &'a Locator>) -> Bytes {
    let mut places = BytesMut::new();
    for locator in locators {
        if places.len() + locator.as_str().len() < PLACES_BYTES_MAX {
            places.put_slice(locator.as_str().as_bytes());
            places.put_u8(b'\n');
        }
    }
    places.freeze()
}

/// What tells this machine, since it was last started, from all others; `None` where the system does not say.
pub(crate) fn machine() -> Option<[u8; continuation::MACHINE_LEN]> {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    Some(continuation::machine_name(&boot))
}

/// What is said to a peer whose RESUME is not taken, whatever the reason.
pub(crate) fn refusal() -> Failure {
    Failure::new(ErrorCode::RESUME_REFUSED, "the session cannot be continued here")
}

/// The numbers of the attempts to continue a session: at a dialler the last that was made, at an acceptor the highest
/// that came with a right token.
#[derive(Debug, Default)]
struct Epoch(AtomicU64);

impl Epoch {
    /// The next attempt's.
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// `false` for one that is not above all before.
    fn rise(&self, epoch: u64) -> bool {
        self.0.fetch_max(epoch, Ordering::Relaxed) < epoch
    }
}

/// Why somebody has made another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// There is none.
    Any,
    /// There is one, and this is cheaper.
    Better,
}

/// What a connection has more than others when it may outlive its link.
pub(crate) struct Passage {
    epoch: Epoch,
    /// Where it was dialled, if it was.
    pub(crate) origin: Option<Arc<Origin>>,
    /// What its peer calls the session, if it was not.
    pub(crate) session: Option<[u8; SESSION_ID_LEN]>,
}

impl Passage {
    pub(crate) fn dialled(origin: Arc<Origin>) -> Self {
        Self {
            epoch: Epoch::default(),
            origin: Some(origin),
            session: None,
        }
    }

    pub(crate) fn accepted(session: [u8; SESSION_ID_LEN]) -> Self {
        Self {
            epoch: Epoch::default(),
            origin: None,
            session: Some(session),
        }
    }
}

impl Shared {
    /// Whether a peer has the right to continue this session, but for the number of its attempt.
    fn may_continue(&self, resume: &Resume, peer: &Verified) -> bool {
        let key = self.lock().session.resume_key().copied();
        let Some(key) = key else {
            return false;
        };
        continuation::verify(&key.secret, &key.session, resume.epoch, &resume.token)
            && self.guard.identity().is_same_peer(peer)
    }

    /// Gives the session another link. `begin` tells the session, and may refuse.
    ///
    /// # Errors
    /// The carrier; the session and its link are as they were.
    pub(crate) fn attach(
        &self,
        carrier: Carrier,
        begin: impl FnOnce(&mut Session, u8) -> Result<(), ResumeError>,
    ) -> Result<(), Carrier> {
        let lanes = carrier.lanes();
        let mut link = self.lock_link();
        let mut core = self.lock();
        if begin(&mut core.session, lanes).is_err() {
            return Err(carrier);
        }
        core.lost = false;
        core.flush_pending = false;
        core.wire_blocked = false;
        self.is_carried_by(&*carrier.link);
        link.replace(carrier, Lanes::new(lanes));
        let driver = core.driver.clone();
        let mut wakers = Vec::new();
        if let Some(event) = core.session.poll_event() {
            self.pump_strays(&mut core, event, &mut wakers);
        }
        drop(core);
        drop(link);
        wakers.extend(driver);
        wakers.into_iter().for_each(std::task::Waker::wake);
        Ok(())
    }

    /// At a dialler: continues on a link that it has made, if the session is still in `want` of one.
    ///
    /// # Errors
    /// The carrier; the session is as it was, or over.
    pub(crate) fn go_on(&self, carrier: Carrier, want: Want) -> Result<(), Carrier> {
        let Some(passage) = self.passage.get() else {
            return Err(carrier);
        };
        let now = clock::now();
        self.attach(carrier, |session, lanes| {
            let wanted = match want {
                Want::Any => session.is_detached() && !session.is_resuming(),
                Want::Better => !session.is_detached(),
            };
            let key = session.resume_key().copied().filter(|_| wanted);
            let key = key.ok_or(ResumeError::NotOpen)?;
            // Numbered where the order of links is decided: the acceptor takes no lower number after a higher one.
            let epoch = passage.epoch.next();
            let token = continuation::token(&key.secret, &key.session, epoch);
            session.begin_resume(now, Resume::new(key.session, epoch, token), lanes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_good_once_and_only_above_all_before() {
        let epoch = Epoch::default();
        assert!(!epoch.rise(0));
        assert!(epoch.rise(3));
        assert!(!epoch.rise(3));
        assert!(!epoch.rise(2));
        assert!(epoch.rise(4));
    }

    #[test]
    fn places_are_cut_at_a_whole_locator() {
        let locator: Locator = format!("tcp://{}:1", "h".repeat(300)).parse().unwrap();
        let many = [locator.clone(), locator.clone(), locator.clone(), locator];
        let places = places(many.iter());
        assert!(places.len() <= PLACES_BYTES_MAX);
        assert_eq!(places.iter().filter(|&&byte| byte == b'\n').count(), 3);
        assert_eq!(places.last(), Some(&b'\n'));
    }
}
