//! A registry elsewhere, as the [`Store`] that it serves.
//!
//! Calls are made once. What surely was not looked at (the registry drains, the connection closed before) is sent again on the next
//! connection; of everything else the caller is told what is known: that nothing was done ([`StoreError::Unavailable`]), or that nobody knows
//! ([`StoreError::Unknown`]). A watch whose connection is lost goes on over the next, after the last change that it gave.
//!
//! Read [`RemoteStore::dial`] first.

mod listing;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use valkyrie_endpoint::{
    CallError, ConnectError, Connection, Dialer, Endpoint, ErrorCode, Expect, Method as Route, RecvStream,
    Redial, Refusal, SendStream, ToLocator, WhileDown,
};
use valkyrie_registry::store::{
    Answer, Caps, Entry, KeepAlive, Lease, LeaseId, Listing, Outcome, Revision, Store, StoreError, Txn,
    Watch, WatchError,
};
use valkyrie_registry::{Key, Prefix};

use self::listing::RemoteListing;
use self::watch::RemoteWatch;
use crate::fault::{Effect, of_call, of_dialer, of_open, unreadable};
use crate::wire::{KEEP_ALIVE_IDS_MAX, Method, OPERATOR_SERVICE, Reply, Request, SERVICE};

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Times of a [`RemoteStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// How long a call may take, and the next message of a listing, the wait for a connection included.
    pub call_timeout: Duration,
    /// When to dial again, for a store that [dials](RemoteStore::dial). How long calls and watches wait for a connection is said here too.
    pub redial: Redial,
}

impl Default for RemoteConfig {
    /// Ten seconds for a call, of which five may be spent waiting for a connection; a registry that is back is found within two.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            redial: Redial {
                wait_max: Duration::from_secs(2),
                while_down: WhileDown::Wait(Duration::from_secs(5)),
                ..Redial::default()
            },
        }
    }
}

/// A [`Store`] at the other end of a connection. Cloning is a few reference counts.
#[derive(Clone)]
pub struct RemoteStore {
    link: Link,
    service: &'static str,
    caps: Caps,
    call_timeout: Duration,
}

/// What calls travel on.
#[derive(Clone, Debug)]
enum Link {
    Kept(Dialer),
    Once(Connection),
}

impl RemoteStore {
    /// Keeps a connection to a registry up, and asks what its store can do.
    ///
    /// # Errors
    /// [`StoreError`]: the place cannot be dialled, or did not answer in time.
    pub async fn dial(
        endpoint: &Endpoint,
        locator: impl ToLocator,
        expect: Expect,
        config: RemoteConfig,
    ) -> Result<Self, StoreError> {
        let cannot = |error: ConnectError| StoreError::Unavailable(error.to_string());
        let locator = locator.to_locator().map_err(|error| cannot(error.into()))?;
        let dialer = endpoint.dialer_expecting(locator, expect, config.redial.clone());
        let dialer = dialer.map_err(cannot)?;
        Self::begin(Link::Kept(dialer), config.call_timeout).await
    }

    /// Over a connection that is there already. When it is over, so is the store.
    ///
    /// # Errors
    /// [`StoreError`]: the peer did not answer, or not as a registry.
    pub async fn over(connection: Connection, config: RemoteConfig) -> Result<Self, StoreError> {
        Self::begin(Link::Once(connection), config.call_timeout).await
    }

    async fn begin(link: Link, call_timeout: Duration) -> Result<Self, StoreError> {
        let mut store = Self {
            link,
            service: SERVICE,
            caps: Caps::new(Duration::ZERO, Duration::ZERO, Duration::ZERO),
            call_timeout,
        };
        match store.call(&Request::Caps, Effect::Reads).await? {
            Reply::Caps(caps) => store.caps = caps,
            _ => return Err(out_of_turn()),
        }
        Ok(store)
    }

    /// The same store with everything open to be written, to whom its registry allows that.
    #[must_use]
    pub fn as_operator(mut self) -> Self {
        self.service = OPERATOR_SERVICE;
        self
    }

    async fn connection(&self) -> Result<Connection, StoreError> {
        match &self.link {
            Link::Kept(dialer) => dialer.connection().await.map_err(|error| of_dialer(&error)),
            Link::Once(connection) => Ok(connection.clone()),
        }
    }

    fn route(&self, method: Method) -> Result<Route, StoreError> {
        let service = if method.writes() { self.service } else { SERVICE };
        Route::new(service, method.name()).map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// One request and its answer.
    async fn call(&self, request: &Request, effect: Effect) -> Result<Reply, StoreError> {
        let method = request.method();
        let route = self.route(method)?;
        let payload = encode(request)?;
        let deadline = Instant::now() + self.call_timeout;
        for _ in 0..ATTEMPTS {
            let connecting = timeout_at(deadline, self.connection());
            let connection = connecting.await.unwrap_or_else(|_| Err(no_connection()))?;
            let left = deadline.saturating_duration_since(Instant::now());
            match connection.call(&route, payload.clone()).timeout(left).await {
                Ok(answer) => {
                    let answer = Reply::decode(method, &answer).map_err(|error| unreadable(&error))?;
                    return answer.map_err(|refused| StoreError::Refused(refused.into()));
                }
                Err(error) if was_not_looked_at(&error) && self.has_another() => {
                    // The dialer learns of it by itself, a moment later.
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(of_call(error, effect)),
            }
        }
        Err(no_connection())
    }

    fn has_another(&self) -> bool {
        matches!(self.link, Link::Kept(_))
    }

    /// Opens the stream of a listing or a watch.
    async fn open(&self, request: &Request) -> Result<(SendStream, RecvStream), StoreError> {
        let route = self.route(request.method())?;
        let payload = encode(request)?;
        let opening = async {
            for _ in 0..ATTEMPTS {
                let connection = self.connection().await?;
                match connection.open(&route).payload(payload.clone()).await {
                    Ok(halves) => return Ok(halves),
                    Err(valkyrie_endpoint::OpenError::Refused(Refusal::Closed | Refusal::Draining))
                        if self.has_another() =>
                    {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => return Err(of_open(&error)),
                }
            }
            Err(no_connection())
        };
        let opened = tokio::time::timeout(self.call_timeout, opening).await;
        opened.unwrap_or_else(|_| Err(no_connection()))
    }
}

fn encode(request: &Request) -> Result<Bytes, StoreError> {
    request.encode().map_err(|error| match error {
        // Every store says so, and in the same way.
        crate::wire::WireError::Txn(error) => StoreError::Refused(error.into()),
        other => StoreError::Unavailable(format!("the request cannot be sent: {other}")),
    })
}

/// The peer has surely not begun with it, and there will be another connection.
fn was_not_looked_at(error: &CallError) -> bool {
    match error {
        CallError::NotProcessed => true,
        CallError::NotSent(refusal) => matches!(refusal, Refusal::Draining | Refusal::Closed),
        CallError::Failed(failure) => failure.code == ErrorCode::DRAINING,
        _ => false,
    }
}

fn no_connection() -> StoreError {
    StoreError::Unavailable("there was no connection to the registry in time".to_owned())
}

fn out_of_turn() -> StoreError {
    StoreError::Broken("the registry answered another question".to_owned())
}

impl Store for RemoteStore {
    /// As they were when this store was made.
    fn caps(&self) -> Caps {
        self.caps
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Answer<Option<Arc<Entry>>>, StoreError>> {
        Box::pin(async move {
            match self.call(&Request::Get(key.clone()), Effect::Reads).await? {
                Reply::Got(answer) if answer.value.as_ref().is_none_or(|entry| entry.key == *key) => {
                    Ok(answer)
                }
                _ => Err(out_of_turn()),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<Answer<Box<dyn Listing>>, StoreError>> {
        Box::pin(async move {
            let (send, recv) = self.open(&Request::List(prefix.clone())).await?;
            // All that there is to say was said with the opening.
            send.finish();
            RemoteListing::begin(recv, prefix.clone(), self.call_timeout).await
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Answer<Outcome>, StoreError>> {
        Box::pin(async move {
            match self.call(&Request::Commit(txn), Effect::Writes).await? {
                Reply::Committed(answer) => Ok(answer),
                _ => Err(out_of_turn()),
            }
        })
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Answer<Lease>, StoreError>> {
        Box::pin(async move {
            match self.call(&Request::Grant(ttl), Effect::Writes).await? {
                Reply::Granted(answer) => Ok(answer),
                _ => Err(out_of_turn()),
            }
        })
    }

    fn keep_alive<'a>(&'a self, ids: &'a [LeaseId]) -> BoxFuture<'a, Result<Vec<KeepAlive>, StoreError>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(ids.len());
            for ids in ids.chunks(KEEP_ALIVE_IDS_MAX) {
                match self
                    .call(&Request::KeepAlive(ids.to_vec()), Effect::Writes)
                    .await?
                {
                    Reply::Renewed(renewed) if renewed.len() == ids.len() => all.extend(renewed),
                    _ => return Err(out_of_turn()),
                }
            }
            Ok(all)
        })
    }

    fn revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<Answer<bool>, StoreError>> {
        Box::pin(async move {
            match self.call(&Request::Revoke(id), Effect::Writes).await? {
                Reply::Revoked(answer) => Ok(answer),
                _ => Err(out_of_turn()),
            }
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, WatchError>> {
        Box::pin(async move {
            let watch = RemoteWatch::begin(self.clone(), prefix.clone(), after).await?;
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore")
            .field("link", &self.link)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// How often something is sent that was not looked at: a registry that drains is left once, and what comes after it may drain too.
const ATTEMPTS: usize = 3;
