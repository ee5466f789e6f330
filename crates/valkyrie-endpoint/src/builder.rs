//! What an endpoint is made of.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use valkyrie_proto::Config;
use valkyrie_security::handshake::{Gate, HandshakeLimits};
use valkyrie_security::policy::{Policy, PolicyHandle};
use valkyrie_security::trust::{FirstUse, KnownPeer};
use valkyrie_security::{Identity, Live, Security, Trust};
use valkyrie_transport::Transport;

use crate::audit::{Audit, AuditSink};
use crate::endpoint::{Inner, OnConnection};
use crate::qos::{Base, LiveQos, Qos};
use crate::roster::Roster;
use crate::secure::{OnFirstUse, Secure};
use crate::{BuildError, Connection, Endpoint, PlainRule, Services, clock};

/// Puts an [`Endpoint`] together; mistakes are reported by [`EndpointBuilder::build`].
#[must_use = "nothing listens or dials until the endpoint is built"]
pub struct EndpointBuilder {
    transports: HashMap<&'static str, Arc<dyn Transport>>,
    config: Config,
    local_max_frame: u32,
    resume_for: Duration,
    resume_for_peers: Duration,
    qos: Qos,
    services: Services,
    connections_max: usize,
    on_connection: Option<Arc<OnConnection>>,
    security: Option<Security>,
    policy: Option<PolicyHandle>,
    plain: PlainRule,
    handshake_limits: HandshakeLimits,
    on_first_use: Option<Arc<OnFirstUse>>,
    audit: Option<Arc<dyn AuditSink>>,
}

impl EndpointBuilder {
    pub(crate) fn new() -> Self {
        Self {
            transports: HashMap::new(),
            config: Config::default(),
            local_max_frame: LOCAL_FRAME_BYTES,
            resume_for: Duration::ZERO,
            resume_for_peers: RESUME_FOR_PEERS,
            qos: Qos::default(),
            services: Services::default(),
            connections_max: CONNECTIONS_MAX,
            on_connection: None,
            security: None,
            policy: None,
            plain: PlainRule::Never,
            handshake_limits: HandshakeLimits::default(),
            on_first_use: None,
            audit: None,
        }
    }

    /// Adds a transport for the locators of its scheme, in place of an earlier one of the same scheme.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.insert(transport.scheme(), Arc::new(transport));
        self
    }

    /// Limits, policy, keepalive and budgets of every session.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The quality of service to begin with, over what [`config`](Self::config) says; see [`Endpoint::set_qos`].
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// The largest frame payload, in bytes, that this side takes on links within the machine (those that tell who the
    /// peer is, such as Unix sockets); [`Limits::max_frame`](crate::Limits::max_frame) where that is larger. A frame
    /// is what a critical message waits for at most, and 64 KiB pass such a link in less time than 16 KiB need at
    /// 1 Gbit/s, while a message that fits one frame is never copied together.
    pub fn local_max_frame(mut self, bytes: u32) -> Self {
        self.local_max_frame = bytes;
        self
    }

    /// How long a connection that this side dials outlives its link: when the link breaks it goes on over another one,
    /// of any transport of this endpoint, to any place that the peer listens on, and nothing is lost or done twice.
    /// While it does not, calls wait. It also moves to a cheaper link when the peer announces one. Zero, which is the
    /// default, ends a connection with its link.
    ///
    /// What is retained for it is bounded by [`Limits::resume_bytes`](crate::Limits::resume_bytes); the peer may keep
    /// it for less long.
    pub fn resume_for(mut self, duration: Duration) -> Self {
        self.resume_for = duration;
        self
    }

    /// How long connections that peers dial are kept when their link breaks, for peers that ask for it. 30 seconds by
    /// default; zero to refuse.
    pub fn resume_for_peers(mut self, duration: Duration) -> Self {
        self.resume_for_peers = duration;
        self
    }

    /// What peers may call on this side, on every connection whoever dialled it.
    pub fn services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// How many connections there may be at once, those still opening included. Further links are closed unheard.
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max;
        self
    }

    /// Called with every connection that a peer has dialled, once its session is open. It must not block: to use the
    /// connection, spawn a task or send it away.
    pub fn on_connection(mut self, hook: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        self.on_connection = Some(Arc::new(hook));
        self
    }

    /// Who this side is and whom it trusts. Without this it is somebody new that nobody knows, for as long as the
    /// endpoint lives, and trusts whom it meets within this machine and nobody else.
    pub fn security(mut self, security: Security) -> Self {
        self.security = Some(security);
        self
    }

    /// What peers may do: a [`Policy`](valkyrie_security::policy::Policy), or a handle on one that is replaced later. Without this they may do
    /// nothing, except on an endpoint that was told to take [plain](EndpointBuilder::plain) connections. With
    /// [`PlainRule::Always`] everybody may do everything, since nobody can be told apart. With
    /// [`PlainRule::PeerCredentials`] peers may do what `valkyrie serve` gives without a policy: every account of the
    /// machine may try the connection out, with [`diagnostics`](valkyrie_security::policy::Policy::diagnostics).
    pub fn policy(mut self, policy: impl Into<PolicyHandle>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Where connections are made and taken without a handshake. Both ends need to be told: a dialler that is dials
    /// plain, an acceptor that is takes whichever comes, one that is not refuses.
    pub fn plain(mut self, plain: PlainRule) -> Self {
        self.plain = plain;
        self
    }

    /// What peers may cost that have not said who they are.
    pub fn handshake_limits(mut self, limits: HandshakeLimits) -> Self {
        self.handshake_limits = limits;
        self
    }

    /// Called with every peer that trust on first use has met for the first time, for whoever keeps a file of them. It
    /// must not block for long. Without it those that were dialled are remembered as long as the endpoint's trust lives,
    /// and those that dialled are not.
    pub fn on_first_use(mut self, hook: impl Fn(&KnownPeer) + Send + Sync + 'static) -> Self {
        self.on_first_use = Some(Arc::new(hook));
        self
    }

    /// Where to record who was let in, refused and caught.
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Checks everything and builds the endpoint. Nothing is bound or dialled yet.
    ///
    /// # Errors
    /// [`BuildError`]: the caller is at fault.
    pub fn build(self) -> Result<Endpoint, BuildError> {
        let base = Base {
            config: self.config,
            local_max_frame: self.local_max_frame,
            resume_for: self.resume_for,
            resume_for_peers: self.resume_for_peers,
        };
        let qos = LiveQos::new(base, self.qos)?;
        if self.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        let anew = self.security.is_none();
        let security = match self.security {
            Some(security) => security,
            None => ephemeral()?,
        };
        let (policy, permissive) = match self.policy {
            Some(policy) => (policy, false),
            None => match self.plain {
                PlainRule::Never => (Policy::default().into(), false),
                // Whom the system names can be told apart, so to take them plain is not to let them do everything.
                PlainRule::PeerCredentials => (Policy::diagnostics().into(), false),
                PlainRule::Always => (PolicyHandle::new(Policy::allow_all()), true),
            },
        };
        let secure = Arc::new(Secure {
            // Which tokens are taken is part of what peers may do.
            security: Arc::new(security.with_policy(policy.clone())),
            plain: self.plain,
            permissive_version: if permissive { policy.version() } else { 0 },
            policy,
            audit: Audit::new(self.audit),
            // Whoever trusts nobody for longer than it lives has nobody to remember.
            on_first_use: self
                .on_first_use
                .or_else(|| anew.then(|| Arc::new(|_: &KnownPeer| {}) as Arc<OnFirstUse>)),
            gate: Arc::new(Gate::new(self.handshake_limits, clock::now())),
            acceptors: Arc::default(),
            greetings: Mutex::default(),
            greeting: AtomicUsize::default(),
            greeted_all: Notify::new(),
        });
        let roster = Roster::new(self.connections_max, Arc::clone(&secure));
        qos.begin_with(&roster);
        Ok(Endpoint::new(Inner::new(
            self.transports,
            qos,
            self.services,
            Arc::new(roster),
            self.on_connection,
            secure,
        )))
    }
}

/// Somebody new, who trusts whom it meets within this machine.
fn ephemeral() -> Result<Security, BuildError> {
    let identity = Identity::generate(EPHEMERAL_NAME, clock::unix_now());
    let identity = identity.map_err(|error| BuildError::Identity(error.to_string()))?;
    let trust = Trust::default().with_first_use(FirstUse::Local);
    Ok(Security::new(Live::new(identity), Live::new(trust)))
}

/// What somebody new calls itself.
const EPHEMERAL_NAME: &str = "ephemeral";

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("schemes", &self.transports.keys().collect::<Vec<_>>())
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// Payload bytes of a frame within the machine.
const LOCAL_FRAME_BYTES: u32 = 64 * 1024;

/// How long peers may be without a link: longer than a proxy or a switch takes to restart.
const RESUME_FOR_PEERS: Duration = Duration::from_secs(30);

/// Connections at once unless told otherwise: more than the descriptors that a process is commonly allowed.
const CONNECTIONS_MAX: usize = 65_536;
