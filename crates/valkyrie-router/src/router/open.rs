//! Routed streams and notifications. Both stay with the peer that was chosen; another is tried only before anything was sent.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_endpoint::{Connection, Method, MethodError, Priority, RecvStream, SendStream};
use valkyrie_frame::Class;

use super::error::RoutedError;
use super::peer::Peer;
use super::service::Counters;
use super::{Route, now};
use crate::{Needs, RouteError};

/// A stream that is opened when it is awaited.
#[must_use = "a stream is opened when it is awaited"]
#[derive(Clone, Debug)]
pub struct RoutedOpen<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    needs: Needs,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    key: Option<Bytes>,
    payload: Bytes,
}

impl<'a> RoutedOpen<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>) -> Self {
        Self {
            route,
            method,
            needs: Needs::of(route.service.routing().class),
            priority: None,
            timeout: None,
            key: None,
            payload: Bytes::new(),
        }
    }

    /// The class of service of the stream. The critical class has none.
    pub fn class(mut self, class: Class) -> Self {
        self.needs = Needs::of(class);
        self
    }

    /// What the link has to be able to do, the class included.
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Its priority within the class.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How long the whole stream may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What it is about; see [`RoutedCall::key`](super::RoutedCall::key).
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Bytes that go with the opening itself, at most 4 KiB.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Opens the stream.
    ///
    /// # Errors
    /// [`RoutedError`]; nothing was sent.
    pub async fn send(self) -> Result<(SendStream, RecvStream), RoutedError> {
        let method = self.method.clone()?;
        let open = async |connection: Connection, peer: &Peer| {
            let mut open = connection
                .open(&method)
                .class(self.needs.class())
                .payload(self.payload.clone());
            if let Some(priority) = self.priority {
                open = open.priority(priority);
            }
            if let Some(timeout) = self.timeout {
                open = open.timeout(timeout);
            }
            open.await.map_err(|source| RoutedError::Open {
                locator: peer.locator(),
                source,
            })
        };
        let mut tried = Vec::new();
        loop {
            let (connection, peer) = self
                .route
                .connection(self.key.as_deref(), &self.needs, &mut tried)
                .await?;
            match open(connection, &peer).await {
                Err(error) if error.is_for_another_peer() && self.route.may_go_on(&tried) => {}
                done => return done,
            }
        }
    }
}

impl<'a> IntoFuture for RoutedOpen<'a> {
    type Output = Result<(SendStream, RecvStream), RoutedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A notification that is sent when it is awaited.
#[must_use = "a notification is sent when it is awaited"]
#[derive(Clone, Debug)]
pub struct RoutedNotify<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    payload: Bytes,
    needs: Needs,
    priority: Option<Priority>,
    key: Option<Bytes>,
}

impl<'a> RoutedNotify<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>, payload: Bytes) -> Self {
        Self {
            route,
            method,
            payload,
            needs: Needs::of(route.service.routing().class),
            priority: None,
            key: None,
        }
    }

    /// The class of service it travels in.
    pub fn class(mut self, class: Class) -> Self {
        self.needs = Needs::of(class);
        self
    }

    /// Its priority within the class.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// What it is about; see [`RoutedCall::key`](super::RoutedCall::key).
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sends it: ready once it is queued.
    ///
    /// # Errors
    /// [`RoutedError`]; nothing was sent.
    pub async fn send(self) -> Result<(), RoutedError> {
        let method = self.method.clone()?;
        let mut tried = Vec::new();
        loop {
            let (connection, peer) = self
                .route
                .connection(self.key.as_deref(), &self.needs, &mut tried)
                .await?;
            let mut notify = connection
                .notify(&method, self.payload.clone())
                .class(self.needs.class());
            if let Some(priority) = self.priority {
                notify = notify.priority(priority);
            }
            let sent = notify.await.map_err(|source| RoutedError::Notify {
                locator: peer.locator(),
                source,
            });
            match sent {
                Err(error) if error.is_for_another_peer() && self.route.may_go_on(&tried) => {}
                done => return done,
            }
        }
    }
}

impl<'a> IntoFuture for RoutedNotify<'a> {
    type Output = Result<(), RoutedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Route {
    /// A connection to a peer that is not among those tried, which it joins. Peers that cannot be reached are passed over.
    async fn connection(
        &self,
        key: Option<&[u8]>,
        needs: &Needs,
        tried: &mut Vec<Arc<Peer>>,
    ) -> Result<(Connection, Arc<Peer>), RoutedError> {
        let service = &*self.service;
        let mut failure = None;
        loop {
            let (table, id, peer) = match service.choose(key, needs, now(), tried) {
                Ok(chosen) => chosen,
                Err(RouteError::AllTried) => {
                    return Err(failure.unwrap_or_else(|| RouteError::AllTried.into()));
                }
                Err(error) => return Err(failure.unwrap_or_else(|| error.into())),
            };
            tried.push(Arc::clone(&peer));
            let age = service.routing().connection_age;
            match peer.connection(&self.router.inner.endpoint, needs, age).await {
                Ok(connection) => return Ok((connection, peer)),
                Err(error) => {
                    match &error {
                        RoutedError::Unfit { .. } => Counters::add(&service.counters.unfit, 1),
                        RoutedError::Connect { .. } => {
                            table.failed(id, now());
                        }
                        _ => {}
                    }
                    failure = Some(error);
                }
            }
        }
    }

    /// Whether there is somebody left to try, and a budget for it.
    fn may_go_on(&self, tried: &[Arc<Peer>]) -> bool {
        tried.len() < self.peers().min(1 + self.service.routing().retries as usize)
            && self.service.budget.may_retry(now())
    }
}
