//! Routed streams and notifications. Both stay with the peer that was chosen; another is tried only before anything was sent.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use valkyrie_endpoint::{Connection, Method, MethodError, OpenError, RecvStream, SendStream};

use super::attempt::Tried;
use super::error::RoutedError;
use super::options::{Options, options};
use super::peer::Peer;
use super::{Route, now};

/// A stream that is opened when it is awaited.
#[must_use = "a stream is opened when it is awaited"]
#[derive(Clone, Debug)]
pub struct RoutedOpen<'a> {
    route: &'a Route,
    method: Result<Method, MethodError>,
    options: Options,
    payload: Bytes,
}

impl<'a> RoutedOpen<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>) -> Self {
        Self {
            route,
            method,
            options: Options::new(&route.service.routing()),
            payload: Bytes::new(),
        }
    }

    options!(message);
    options!(timed);

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
        let deadline = self.options.deadline(now());
        let tried = Tried::default();
        loop {
            let (connection, peer) = self.route.reach(&self.options, deadline, &tried).await?;
            let opened = self
                .options
                .open(&connection, &method, deadline, self.payload.clone());
            let opened = opened.await.map_err(|source| RoutedError::Open {
                locator: peer.locator(),
                source,
            });
            match opened {
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
    options: Options,
}

impl<'a> RoutedNotify<'a> {
    pub(super) fn new(route: &'a Route, method: Result<Method, MethodError>, payload: Bytes) -> Self {
        Self {
            route,
            method,
            payload,
            options: Options::new(&route.service.routing()),
        }
    }

    options!(message);

    /// Sends it: ready once it is queued.
    ///
    /// # Errors
    /// [`RoutedError`]; nothing was sent.
    pub async fn send(self) -> Result<(), RoutedError> {
        let method = self.method.clone()?;
        let tried = Tried::default();
        loop {
            let (connection, peer) = self.route.reach(&self.options, None, &tried).await?;
            let mut notify = connection
                .notify(&method, self.payload.clone())
                .class(self.options.needs.class());
            if let Some(priority) = self.options.priority {
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

impl Options {
    /// Opens a stream on a connection, with what is left of the time.
    pub(super) async fn open(
        &self,
        connection: &Connection,
        method: &Method,
        deadline: Option<Instant>,
        payload: Bytes,
    ) -> Result<(SendStream, RecvStream), OpenError> {
        let mut open = connection.open(method).class(self.needs.class()).payload(payload);
        if let Some(priority) = self.priority {
            open = open.priority(priority);
        }
        if let Some(trace) = &self.trace {
            open = open.trace_context(trace);
        }
        if let Some(deadline) = deadline {
            open = open.timeout(deadline.saturating_duration_since(now()));
        }
        open.await
    }
}

impl Route {
    /// A connection to a peer that is not among those tried, which it joins. Peers that cannot be reached are passed over, and nobody is
    /// waited for.
    async fn reach(
        &self,
        options: &Options,
        deadline: Option<Instant>,
        tried: &Tried,
    ) -> Result<(Connection, Arc<Peer>), RoutedError> {
        let mut failure = None;
        loop {
            let chosen = match self.choose(options, tried, now()).await {
                Ok(chosen) => chosen,
                Err(error) => return Err(failure.unwrap_or_else(|| error.into())),
            };
            match self.connect(&chosen, options, deadline).await {
                Ok(connection) => return Ok((connection, chosen.peer)),
                Err(error) => failure = Some(error),
            }
        }
    }

    /// Whether there is somebody left to try, and a budget for it.
    fn may_go_on(&self, tried: &Tried) -> bool {
        tried.len() < self.peers().min(1 + self.service.routing().retries as usize)
            && self.service.budget.may_retry(now())
    }
}
