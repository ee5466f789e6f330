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
    services: Services,
    connections_max: usize,
    on_connection: Option<Arc<OnConnection>>,
}

impl EndpointBuilder {
    pub(crate) fn new() -> Self {
        Self {
            transports: HashMap::new(),
            config: Config::default(),
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
        if self.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        Ok(Endpoint::new(Inner::new(
            self.transports,
            Arc::new(self.config),
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

/// Connections at once unless told otherwise: more than the descriptors that a process is commonly allowed.
const CONNECTIONS_MAX: usize = 65_536;
