//! An endpoint: all the places a program listens on and dials.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use valkyrie_frame::{ErrorCode, Side};
use valkyrie_proto::{Failure, Session};
use valkyrie_security::Security;
use valkyrie_security::policy::PolicyHandle;
use valkyrie_security::trust::Expect;
use valkyrie_transport::{Link, Locator, LocatorError, Transport};

use crate::accept::accept_all;
use crate::driver::Driver;
use crate::guard::Guard;
use crate::mover::{self, Origin};
use crate::qos::LiveQos;
use crate::roster::Roster;
use crate::secure::{Greeted, Secure};
use crate::shared::Shared;
use crate::{
    ConnectError, Connection, Dialer, EndpointBuilder, ListenError, Redial, SecurityStats, Services, auto,
    clock, continuity, redial,
};

/// All the places a program listens on and dials, with the transports, limits and services they share. Cloning is a
/// reference count; when the last clone is dropped listening ends, and connections live on.
///
/// ```
/// use bytes::Bytes;
/// use valkyrie_endpoint::{AccessPolicy, Endpoint, Services};
/// use valkyrie_transport::mem::MemTransport;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let services = Services::builder().unary("echo", "echo", |_, payload| async move { Ok(payload) }).build()?;
/// let endpoint = Endpoint::builder()
///     .transport(MemTransport::new())
///     .services(services)
///     .policy(AccessPolicy::allow_authenticated())
///     .build()?;
/// endpoint.listen("mem://parlour").await?;
///
/// let connection = endpoint.connect("mem://parlour").await?;
/// let answer = connection.call(("echo", "echo"), "hello").await?;
/// assert_eq!(answer, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

/// Called with connections that peers dialled.
pub(crate) type OnConnection = dyn Fn(Connection) + Send + Sync;

/// What an endpoint's clones share.
pub(crate) struct Inner {
    transports: HashMap<&'static str, Arc<dyn Transport>>,
    qos: LiveQos,
    services: Services,
    roster: Arc<Roster>,
    on_connection: Option<Arc<OnConnection>>,
    pub(crate) secure: Arc<Secure>,
    /// One a call to `listen`.
    listeners: Mutex<Vec<AbortHandle>>,
    /// Where they listen.
    places: Mutex<Vec<Locator>>,
    /// Which way `auto` has worked.
    worked: auto::Worked,
    draining: AtomicBool,
}

impl Inner {
    pub(crate) fn new(
        transports: HashMap<&'static str, Arc<dyn Transport>>,
        qos: LiveQos,
        services: Services,
        roster: Arc<Roster>,
        on_connection: Option<Arc<OnConnection>>,
        secure: Arc<Secure>,
    ) -> Self {
        Self {
            transports,
            qos,
            services,
            roster,
            on_connection,
            secure,
            listeners: Mutex::default(),
            places: Mutex::default(),
            worked: auto::Worked::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// Begins a session with a peer that is known.
    fn begin(
        &self,
        greeted: Greeted,
        side: Side,
        origin: Option<Arc<Origin>>,
    ) -> Result<Connection, ConnectError> {
        let Some(place) = self.roster.place() else {
            return Err(ConnectError::Full(self.roster.connections_max()));
        };
        let local = greeted.link.capabilities().peer_credentials.is_some();
        let (config, mut version) = self.qos.begin(side, local);
        let mut session = Session::new(side, Arc::clone(&config), clock::now());
        let offer = (side == Side::Acceptor && !config.limits.resume_for.is_zero())
            .then(|| continuity::offer(self.places()))
            .flatten();
        if let Some(offer) = offer {
            session.offer(offer);
        }
        let roster = Arc::clone(&self.roster);
        let guard = Guard::new(greeted.identity.clone(), Arc::clone(&self.secure));
        let services = self.services.clone();
        let shared = Arc::new(Shared::new(
            greeted, guard, session, services, roster, place, origin,
        ));
        let connection = Connection::new(Arc::clone(&shared));
        let driver = Driver::new(Arc::clone(&shared));
        self.roster.insert(Arc::clone(&shared));
        // What was put in force since has been handed to those on the roster, of which this one may not have been.
        while let Some((policy, newer)) = self.qos.newer(version) {
            shared.set_policy(clock::now(), policy);
            version = newer;
        }
        tokio::spawn(driver);
        Ok(connection)
    }

    /// A peer has dialled. A link too many is dropped, which its peer notices.
    pub(crate) fn arrived(self: &Arc<Self>, link: Box<dyn Link>) {
        if self.roster.has_room() {
            Secure::arrived(self, link);
        }
    }

    /// Begins a session with a peer that dialled and is known now.
    pub(crate) fn accepted(self: &Arc<Self>, greeted: Greeted) {
        let Ok(connection) = self.begin(greeted, Side::Acceptor, None) else {
            return;
        };
        if self.draining.load(Ordering::Acquire) {
            connection.begin_drain(0);
        }
        if let Some(hook) = &self.on_connection {
            let hook = Arc::clone(hook);
            tokio::spawn(async move {
                if connection.opened().await.is_ok() {
                    hook(connection);
                }
            });
        }
    }

    fn stop_listening(&self) {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        listeners.iter().for_each(AbortHandle::abort);
    }

    fn transport(&self, locator: &Locator) -> Option<&Arc<dyn Transport>> {
        self.transports.get(locator.scheme())
    }

    /// Whether places of this scheme can be dialled.
    pub(crate) fn speaks(&self, locator: &Locator) -> bool {
        self.transport(locator).is_some()
    }

    /// Dials a place and finds out who answers.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is left open.
    pub(crate) async fn greet(&self, locator: &Locator, expect: &Expect) -> Result<Greeted, ConnectError> {
        let Some(transport) = self.transport(locator) else {
            return Err(ConnectError::Scheme(locator.without_credentials()));
        };
        self.secure.dial(&**transport, locator, expect).await
    }

    /// Where this endpoint listens, as peers are told, cheapest first.
    fn places(&self) -> Bytes {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        continuity::places(places.iter())
    }

    fn listens_at(&self, place: Locator) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.push(place);
        places.sort_by_key(mover::rank);
    }

    /// The ways to a locator: itself, or what `auto` stands for here.
    ///
    /// # Errors
    /// [`ConnectError::Scheme`]: there is none.
    fn ways(&self, locator: &Locator) -> Result<Vec<Locator>, ConnectError> {
        let ways = auto::ways(locator);
        let ways: Vec<Locator> = ways.into_iter().filter(|way| self.speaks(way)).collect();
        if ways.is_empty() {
            return Err(ConnectError::Scheme(locator.without_credentials()));
        }
        Ok(ways)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

impl Endpoint {
    /// Starts building an endpoint.
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::new()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Listens on a place and serves every peer that dials it, until the endpoint drains or is dropped. Says the
    /// locator to dial, with what the transport chose filled in. May be called for any number of places.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is bound.
    pub async fn listen(&self, locator: impl ToLocator) -> Result<Locator, ListenError> {
        let locator = locator.to_locator()?;
        if self.inner.draining.load(Ordering::Acquire) {
            return Err(ListenError::Draining);
        }
        let Some(transport) = self.inner.transport(&locator) else {
            return Err(ListenError::Scheme(locator.without_credentials()));
        };
        let listener = transport.listen(&locator).await?;
        let bound = listener.locator().without_credentials();
        self.inner.listens_at(bound.clone());
        let task = tokio::spawn(accept_all(listener, Arc::downgrade(&self.inner)));
        self.inner
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task.abort_handle());
        Ok(bound)
    }

    /// Dials a place once and waits until the session is open. It never retries: see [`Endpoint::dialer`]. Dropping
    /// the future abandons the attempt.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is left open.
    pub async fn connect(&self, locator: impl ToLocator) -> Result<Connection, ConnectError> {
        self.connect_expecting(locator, Expect::Anybody).await
    }

    /// [`Endpoint::connect`] where only one peer will do: whom this side trusts may still not be whom it wants to talk
    /// to.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is left open. It is a [`ConnectError::Handshake`] when somebody else answers.
    pub async fn connect_expecting(
        &self,
        locator: impl ToLocator,
        expect: Expect,
    ) -> Result<Connection, ConnectError> {
        let locator = locator.to_locator()?;
        if self.inner.draining.load(Ordering::Acquire) {
            return Err(ConnectError::Draining);
        }
        let ways = self.inner.ways(&locator)?;
        let greeted = match &ways[..] {
            [way] => self.inner.greet(way, &expect).await?,
            _ => auto::race(&self.inner, &self.inner.worked, &locator, ways.clone(), &expect).await?,
        };
        let origin = self.inner.qos.outlives_links().then(|| {
            let endpoint = Arc::downgrade(&self.inner);
            Arc::new(Origin::new(endpoint, expect, ways))
        });
        let connection = self.inner.begin(greeted, Side::Dialer, origin)?;
        match connection.opened().await {
            Ok(()) => Ok(connection),
            Err(reason) => Err(ConnectError::Session {
                locator: locator.without_credentials(),
                reason,
            }),
        }
    }

    /// The places among these that this endpoint has a transport for, cheapest first; equals stay in the order given.
    pub fn usable(&self, places: impl IntoIterator<Item = Locator>) -> Vec<Locator> {
        let places = places.into_iter();
        let mut usable: Vec<Locator> = places.filter(|place| self.inner.ways(place).is_ok()).collect();
        usable.sort_by_key(mover::rank);
        usable
    }

    /// Keeps a connection to a place up: dials it, and dials it again whenever it is lost.
    ///
    /// # Errors
    /// [`ConnectError`] when the locator or its scheme can never work; everything else is the policy's business.
    pub fn dialer(&self, locator: impl ToLocator, redial: Redial) -> Result<Dialer, ConnectError> {
        self.dialer_expecting(locator, Expect::Anybody, redial)
    }

    /// [`Endpoint::dialer`] where only one peer will do.
    ///
    /// # Errors
    /// As [`Endpoint::dialer`].
    pub fn dialer_expecting(
        &self,
        locator: impl ToLocator,
        expect: Expect,
        redial: Redial,
    ) -> Result<Dialer, ConnectError> {
        let locator = locator.to_locator()?;
        self.inner.ways(&locator)?;
        Ok(Dialer::start(self.clone(), locator, expect, redial))
    }

    /// The connections there are now, dialled and accepted, those that are still opening left out.
    pub fn connections(&self) -> Vec<Connection> {
        let live = self.inner.roster.snapshot();
        live.into_iter()
            .filter(|shared| {
                let core = shared.lock();
                core.opened && core.closed.is_none()
            })
            .map(Connection::new)
            .collect()
    }

    /// Ends the endpoint gently. Every peer is told to begin nothing new, then listening stops; what is running ends,
    /// and each connection closes when it is done. What is still running after `timeout` is closed.
    ///
    /// Peers that are in the middle of their handshake are waited for and told the same. Says how many connections had to
    /// be closed; handshakes that are not over by then are ended and not counted.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.drain_and_return(timeout, Duration::ZERO).await
    }

    /// [`Endpoint::drain`] by one that will be back in a while, such as a restart takes: peers are asked not to dial before.
    pub async fn drain_and_return(&self, timeout: Duration, back_in: Duration) -> usize {
        self.inner.draining.store(true, Ordering::Release);
        let tell = || {
            let live = self
                .inner
                .roster
                .snapshot()
                .into_iter()
                .map(Connection::new)
                .collect::<Vec<_>>();
            for (place, connection) in live.iter().enumerate() {
                let wait = redial::return_after(place, live.len(), back_in, fastrand::f64());
                connection.begin_drain(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
            }
            live
        };
        tell();
        self.inner.stop_listening();
        let over = async {
            // Those that were accepted between the two, and those whose handshakes end meanwhile.
            self.inner.secure.no_greetings().await;
            for connection in tell() {
                connection.closed().await;
            }
        };
        if tokio::time::timeout(timeout, over).await.is_ok() {
            return 0;
        }
        self.inner.secure.end_greetings();
        let live = tell();
        let mut closed = 0;
        for connection in live.iter().filter(|connection| !connection.is_closed()) {
            let text = "the endpoint went down before this connection had drained";
            connection.close_with(Failure::new(ErrorCode::UNAVAILABLE, text));
            closed += 1;
        }
        for connection in &live {
            connection.closed().await;
        }
        closed
    }

    /// Our identity, whom we trust and what we agree to. Identity and trust can be replaced through it while
    /// connections live.
    pub fn security(&self) -> &Security {
        &self.inner.secure.security
    }

    /// What peers may do, to be replaced while connections live.
    pub fn policy(&self) -> &PolicyHandle {
        &self.inner.secure.policy
    }

    /// What has been let in and refused, on all connections together.
    pub fn security_stats(&self) -> SecurityStats {
        self.inner.secure.stats()
    }

    pub(crate) fn live_qos(&self) -> &LiveQos {
        &self.inner.qos
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.inner.roster
    }

    /// The services that peers may call.
    pub fn services(&self) -> &Services {
        &self.inner.services
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("schemes", &self.inner.transports.keys().collect::<Vec<_>>())
            .field("services", &self.inner.services)
            .finish_non_exhaustive()
    }
}

/// What names a place: a [`Locator`], or its text.
pub trait ToLocator {
    /// The locator.
    ///
    /// # Errors
    /// [`LocatorError`]: the text is no locator.
    fn to_locator(self) -> Result<Locator, LocatorError>;
}

impl ToLocator for Locator {
    fn to_locator(self) -> Result<Locator, LocatorError> {
        Ok(self)
    }
}

impl ToLocator for &Locator {
    fn to_locator(self) -> Result<Locator, LocatorError> {
        Ok(self.clone())
    }
}

impl ToLocator for &str {
    fn to_locator(self) -> Result<Locator, LocatorError> {
        self.parse()
    }
}

impl ToLocator for &String {
    fn to_locator(self) -> Result<Locator, LocatorError> {
        self.parse()
    }
}
