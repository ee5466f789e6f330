//! From a link to a peer that is known: what every connection of an endpoint goes through before its session begins.
//!
//! A link comes in as it was dialled or accepted. What goes out is [`Greeted`]: the link, what seals on it, and a
//! [`Verified`] peer. There is no other way to a session. The handshake itself is `valkyrie-security`'s, and so is who may
//! cost this side what; here it meets links, tasks and time.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use valkyrie_frame::ErrorCode;
use valkyrie_security::handshake::{
    AcceptorHandshake, Arrival, Dial, DiallerHandshake, Established, Gate, HalfOpenId, HandshakeError, Known,
    Wire,
};
use valkyrie_security::policy::PolicyHandle;
use valkyrie_security::trust::{Expect, KnownPeer, Place};
use valkyrie_security::verified::PlainAllowed;
use valkyrie_security::{Security, Verified};
use valkyrie_transport::{Link, Locator, Transport};

use crate::audit::Audit;
use crate::channel::Channel;
use crate::endpoint::Inner;
use crate::greeting::{greet, say_last};
use crate::resume::{Acceptors, Remember};
use crate::{ConnectError, SecurityStats, clock};

/// Where an endpoint makes and takes connections without a handshake: nothing on them is encrypted. Both ends have to
/// be told so by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainRule {
    /// Nowhere.
    #[default]
    Never,
    /// On links whose peer the operating system names, such as Unix sockets; that name is then who the peer is.
    PeerCredentials,
    /// Everywhere. Where the operating system does not name the peer, it is nobody in particular.
    Always,
}

impl PlainRule {
    /// Who the peer of a plain connection over `link` is; `None` when it must not be plain.
    fn peer(self, link: &dyn Link) -> Option<Verified> {
        match (self, link.capabilities().peer_credentials) {
            (Self::Never, _) | (Self::PeerCredentials, None) => None,
            (_, Some(named)) => {
                let allowed = PlainAllowed::by_name();
                Some(Verified::peer_credentials(
                    named.uid, named.gid, named.pid, allowed,
                ))
            }
            (Self::Always, None) => Some(Verified::plain(PlainAllowed::by_name())),
        }
    }
}

/// A link whose peer is known.
pub(crate) struct Greeted {
    pub(crate) link: Box<dyn Link>,
    /// What seals and opens; nothing does on plain and bound links.
    pub(crate) channel: Option<Box<Channel>>,
    /// What the peer has sent already, as the session takes it.
    pub(crate) input: BytesMut,
    pub(crate) identity: Verified,
}

impl Greeted {
    fn plain(link: Box<dyn Link>, identity: Verified) -> Self {
        Self {
            link,
            channel: None,
            input: BytesMut::new(),
            identity,
        }
    }

    fn new(
        link: Box<dyn Link>,
        established: Established,
        arrived: BytesMut,
        remember: Option<Remember>,
    ) -> Self {
        let Established {
            verified,
            wire,
            aftermath,
            ..
        } = established;
        let (channel, input) = match wire {
            Wire::Sealed(sealer, opener) => {
                let channel = Channel::new(sealer, opener, aftermath, remember, arrived);
                (Some(Box::new(channel)), BytesMut::new())
            }
            Wire::Bound | Wire::Plain => (None, arrived),
        };
        Self {
            link,
            channel,
            input,
            identity: verified,
        }
    }
}

/// Called with a peer that trust on first use has met for the first time.
pub(crate) type OnFirstUse = dyn Fn(&KnownPeer) + Send + Sync;

/// What all connections of an endpoint share.
pub(crate) struct Secure {
    pub(crate) security: Arc<Security>,
    pub(crate) plain: PlainRule,
    pub(crate) policy: PolicyHandle,
    /// The version of the policy that permits everything to everybody, where that was nobody's choice but plain's; 0
    /// where there is none. Grants of that version need not be asked.
    pub(crate) permissive_version: u64,
    pub(crate) audit: Audit,
    pub(crate) on_first_use: Option<Arc<OnFirstUse>>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) acceptors: Arc<Acceptors>,
    /// The tasks of handshakes in progress, so that one that has to make way can be ended.
    pub(crate) greetings: Mutex<Greetings>,
    /// How many of them hold a link, those among them that had to make way and have not been dropped yet.
    pub(crate) greeting: AtomicUsize,
    /// Told when the last of them is over.
    pub(crate) greeted_all: Notify,
}

impl Secure {
    /// Dials a place and finds out who answers.
    ///
    /// # Errors
    /// [`ConnectError`]; the link is closed.
    pub(crate) async fn dial(
        &self,
        transport: &dyn Transport,
        whole: &Locator,
        expect: &Expect,
    ) -> Result<Greeted, ConnectError> {
        let link = transport.dial(whole).await?;
        // A password in it is the transport's, and for no log, file or error.
        let locator = &whole.without_credentials();
        // Whoever expects somebody has to be shown who answers, which only a handshake does.
        if *expect == Expect::Anybody
            && let Some(identity) = self.plain.peer(&*link)
        {
            self.audit.accepted(&identity, locator.as_str());
            return Ok(Greeted::plain(link, identity));
        }
        let known = self.acceptors.take(clock::now(), locator);
        let knew = known.is_some();
        let mut outcome = self.greet_dialled(link, locator, expect, known).await;
        if let Err(error) = &outcome
            && knew
            && may_be_out_of_date(error)
        {
            // What was known of the acceptor may be what it did not like: once more as if nothing were. It is offered
            // nothing weaker for that.
            self.acceptors.forget(locator);
            let link = transport.dial(whole).await?;
            outcome = self.greet_dialled(link, locator, expect, None).await;
        }
        outcome.map_err(|source| {
            self.audit.refused(locator.as_str(), &source);
            ConnectError::Handshake {
                locator: locator.clone(),
                source: Box::new(source),
            }
        })
    }

    async fn greet_dialled(
        &self,
        mut link: Box<dyn Link>,
        locator: &Locator,
        expect: &Expect,
        known: Option<Known>,
    ) -> Result<Greeted, HandshakeError> {
        let place = Place::dialled(locator.as_str(), link.capabilities().local);
        let dial = Dial {
            place: place.expecting(expect.clone()),
            known,
            binding: link.channel_binding(),
        };
        let security = Arc::clone(&self.security);
        let mut machine = DiallerHandshake::new(security, dial, clock::now(), clock::unix_now())?;
        let (mut established, arrived) = match greet(&mut *link, &mut machine).await {
            Ok(greeted) => greeted,
            Err(error) => {
                say_last(&mut *link, &mut machine).await;
                return Err(error);
            }
        };
        self.met(&mut established.verified, locator.as_str(), true);
        if let Some(known) = &established.known {
            self.acceptors.keep(clock::now(), locator, known.clone());
        }
        let remember = Remember::new(&self.acceptors, locator);
        Ok(Greeted::new(link, established, arrived, Some(remember)))
    }

    /// Finds out in a task of its own who has dialled, and hands the peer to the endpoint. Whoever accepts links waits
    /// for nobody.
    pub(crate) fn arrived(endpoint: &Arc<Inner>, link: Box<dyn Link>) {
        let secure = &endpoint.secure;
        let Ok(let_in) = secure.gate.opened(clock::now(), link.peer_address()) else {
            // Its address opens too many. It is not told: that would cost more than it does.
            return;
        };
        let greeting = Greeting::new(secure, let_in.id);
        let evicted = {
            let mut greetings = secure.greetings();
            greetings.insert(let_in.id, None);
            let_in.evicted.and_then(|evicted| greetings.remove(&evicted))
        };
        if let Some(Some(evicted)) = evicted {
            evicted.abort();
        }
        let task = tokio::spawn(greeting.run(link, Arc::downgrade(endpoint)));
        match secure.greetings().get_mut(&let_in.id) {
            Some(place) => *place = Some(task.abort_handle()),
            // It is over already, or had to make way before it could be told.
            None => task.abort(),
        }
    }

    /// Ends the older handshakes in progress: this machine has run out of what links are made of.
    pub(crate) fn make_room(&self) {
        let ended = self.gate.shortage();
        // Each takes itself out of the map when it is dropped, for which the lock has to be free.
        let tasks: Vec<AbortHandle> = {
            let mut greetings = self.greetings();
            ended.iter().filter_map(|id| greetings.remove(id)?).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Whether more handshakes that had to make way still hold their links than may.
    pub(crate) fn are_too_many_ending(&self) -> bool {
        let greeting = self.greeting.load(Ordering::Relaxed);
        greeting > self.greetings().len() + ENDING_MAX
    }

    async fn greet_accepted(&self, mut link: Box<dyn Link>) -> Result<Greeted, HandshakeError> {
        let arrival = Arrival {
            place: Place::arrived(link.capabilities().local),
            address: link.peer_address(),
            binding: link.channel_binding(),
            plain: self.plain.peer(&*link),
        };
        let (security, gate) = (Arc::clone(&self.security), Arc::clone(&self.gate));
        let mut machine = AcceptorHandshake::new(security, gate, arrival, clock::now());
        match greet(&mut *link, &mut machine).await {
            Ok((mut established, arrived)) => {
                self.met(&mut established.verified, &link.peer(), false);
                Ok(Greeted::new(link, established, arrived, None))
            }
            Err(error) => {
                self.audit.refused(&link.peer(), &error);
                say_last(&mut *link, &mut machine).await;
                Err(error)
            }
        }
    }

    /// Records a peer, and sees that one that was met for the first time is known the next time.
    fn met(&self, verified: &mut Verified, place: &str, dialled: bool) {
        self.audit.accepted(verified, place);
        let Some(peer) = verified.take_newly_seen() else {
            return;
        };
        match &self.on_first_use {
            Some(hook) => hook(&peer),
            // In memory only what was dialled: whoever comes by itself could fill it.
            None if dialled => self.security.trust().update(|trust| {
                let mut trust = trust.clone();
                // Full, or taken by somebody else a moment ago, whom the next handshake will find there.
                let _ = trust.remember(peer.clone());
                trust
            }),
            None => {}
        }
    }

    /// The versions of trust and policy.
    pub(crate) fn versions(&self) -> (u64, u64) {
        (self.security.trust().version(), self.policy.version())
    }

    /// What has been let in and refused.
    pub(crate) fn stats(&self) -> SecurityStats {
        self.audit.stats(self.gate.stats())
    }

    /// Waits until no handshake of a peer that dialled is in progress. Those that succeeded are connections by then.
    pub(crate) async fn no_greetings(&self) {
        loop {
            let told = self.greeted_all.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.greetings().is_empty() {
                return;
            }
            told.await;
        }
    }

    /// Ends the handshakes in progress.
    pub(crate) fn end_greetings(&self) {
        // Each takes itself out of the map when it is dropped, for which the lock has to be free.
        let tasks: Vec<AbortHandle> = self.greetings().values().flatten().cloned().collect();
        tasks.iter().for_each(AbortHandle::abort);
    }

    fn greetings(&self) -> MutexGuard<'_, Greetings> {
        // Every change under this lock is one insertion or removal.
        self.greetings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handshakes in progress, with their tasks as soon as those have begun.
pub(crate) type Greetings = HashMap<HalfOpenId, Option<AbortHandle>>;

/// Whether an attempt may have failed because what was known of the acceptor is not so any more.
fn may_be_out_of_date(error: &HandshakeError) -> bool {
    match error {
        HandshakeError::Noise(_) | HandshakeError::LinkLost => true,
        // In clear it may be anybody's word. Believing it costs one more attempt of the same strength.
        HandshakeError::RefusedInClear(refusal) => matches!(
            refusal.code,
            ErrorCode::UNAUTHENTICATED | ErrorCode::INTEGRITY | ErrorCode::REPLAY | ErrorCode::DOWNGRADE
        ),
        _ => false,
    }
}

/// A handshake with a peer that has dialled. Dropping it gives its place back.
struct Greeting {
    secure: Arc<Secure>,
    id: HalfOpenId,
}

impl Greeting {
    fn new(secure: &Arc<Secure>, id: HalfOpenId) -> Self {
        secure.greeting.fetch_add(1, Ordering::Relaxed);
        Self {
            secure: Arc::clone(secure),
            id,
        }
    }

    async fn run(self, link: Box<dyn Link>, endpoint: Weak<Inner>) {
        let greeted = self.secure.greet_accepted(link).await;
        if let (Ok(greeted), Some(endpoint)) = (greeted, endpoint.upgrade()) {
            endpoint.accepted(greeted);
        }
        // Its place is given back when the connection is there, so that whoever waits for one or the other sees it.
        drop(self);
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.secure.greeting.fetch_sub(1, Ordering::Relaxed);
        self.secure.gate.done(self.id);
        let mut greetings = self.secure.greetings();
        greetings.remove(&self.id);
        if greetings.is_empty() {
            drop(greetings);
            self.secure.greeted_all.notify_waiters();
        }
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure")
            .field("plain", &self.plain)
            .field("policy", &self.policy)
            .field("gate", &self.gate.stats())
            .finish_non_exhaustive()
    }
}

/// Handshakes that had to make way and still hold their links: no link is accepted above that.
const ENDING_MAX: usize = 512;
