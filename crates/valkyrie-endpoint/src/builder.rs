//! What an endpoint is made of.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use valkyrie_proto::Config;
use valkyrie_transport::Transport;

use crate::endpoint::{Inner, OnConnection};
use crate::roster::Roster;
use crate::{BuildError, Connection, Endpoint, Services};

/// Puts an [`Endpoint`] together; mistakes are reported by [`EndpointBuilder::build`].
#[must_use = "nothing listens or dials until the endpoint is built"]
pub struct EndpointBuilder {
    transports: HashMap<&'static str, Arc<dyn Transport>>,
    config: Config,
    local_max_frame: u32,
    services: Services,
    connections_max: usize,
    on_connection: Option<Arc<OnConnection>>,
}

impl EndpointBuilder {
    pub(crate) fn new() -> Self {
        Self {
            transports: HashMap::new(),
            config: Config::default(),
            local_max_frame: LOCAL_FRAME_BYTES,
            services: Services::default(),
            connections_max: CONNECTIONS_MAX,
            on_connection: None,
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

    /// The largest frame payload, in bytes, that this side takes on links within the machine (those that tell who the
    /// peer is, such as Unix sockets); [`Limits::max_frame`](crate::Limits::max_frame) where that is larger. A frame
    /// is what a critical message waits for at most, and 64 KiB pass such a link in less time than 16 KiB need at
    /// 1 Gbit/s, while a message that fits one frame is never copied together.
    pub fn local_max_frame(mut self, bytes: u32) -> Self {
        self.local_max_frame = bytes;
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

    /// Checks everything and builds the endpoint. Nothing is bound or dialled yet.
    ///
    /// # Errors
    /// [`BuildError`]: the caller is at fault.
    pub fn build(self) -> Result<Endpoint, BuildError> {
        self.config.check()?;
        let mut local = self.config.clone();
        local.limits.max_frame = local.limits.max_frame.max(self.local_max_frame);
        local.limits.max_message = local.limits.max_message.max(local.limits.max_frame);
        // Windows that were made small for the ordinary frame stay what they are, and so does the frame.
        let local = if local.check().is_ok() {
            local
        } else {
            self.config.clone()
        };
        if self.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        Ok(Endpoint::new(Inner::new(
            self.transports,
            Arc::new(self.config),
            Arc::new(local),
            self.services,
            Arc::new(Roster::new(self.connections_max)),
            self.on_connection,
        )))
    }
}

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

/// Connections at once unless told otherwise: more than the descriptors that a process is commonly allowed.
const CONNECTIONS_MAX: usize = 65_536;
