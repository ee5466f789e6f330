//! A connection that is kept up. The one place that reconnects: no transport does, and no session is carried over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use valkyrie_security::trust::Expect;
use valkyrie_transport::Locator;

use crate::{
    CallError, ConnectError, Connection, DialerError, Endpoint, NotifyError, Redial, Refusal, ToMethod,
    WhileDown, clock,
};

/// Keeps a connection to one place up, by the policy it was given. Cloning is a reference count; when the last clone is
/// dropped dialling ends and the connection drains.
///
/// Calls that were under way when a connection was lost fail with an error that says whether the peer may have run
/// them ([`CallError::processed`]); sending them again is the caller's decision.
#[derive(Clone)]
pub struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    locator: Locator,
    while_down: WhileDown,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

#[derive(Clone, Debug)]
enum State {
    Down,
    Up(Connection),
    GaveUp(DialerError),
}

impl Dialer {
    pub(crate) fn start(endpoint: Endpoint, locator: Locator, expect: Expect, redial: Redial) -> Self {
        let (publish, state) = watch::channel(State::Down);
        let while_down = redial.while_down;
        let keeper = Keeper {
            endpoint,
            locator: locator.clone(),
            expect,
            redial,
            publish,
        };
        let task = tokio::spawn(keeper.run()).abort_handle();
        Self {
            inner: Arc::new(Inner {
                locator,
                while_down,
                state,
                task,
            }),
        }
    }

    /// The place that is dialled.
    pub fn locator(&self) -> &Locator {
        &self.inner.locator
    }

    /// The connection, waited for as the policy says.
    ///
    /// # Errors
    /// [`DialerError`]: there is none.
    pub async fn connection(&self) -> Result<Connection, DialerError> {
        match self.inner.while_down {
            WhileDown::Fail => self.current().unwrap_or(Err(DialerError::Down)),
            WhileDown::Wait(longest) => {
                if let Some(current) = self.current() {
                    return current;
                }
                let inherited = clock::allowance(Some(longest), clock::now()).1.unwrap_or(longest);
                tokio::time::timeout(inherited, self.wait_up())
                    .await
                    .unwrap_or(Err(DialerError::WaitedTooLong))
            }
        }
    }

    /// The connection if there is one now; `Some(Err(_))` says that there never will be one again.
    fn current(&self) -> Option<Result<Connection, DialerError>> {
        match &*self.inner.state.borrow() {
            State::Up(connection) if !connection.is_closed() => Some(Ok(connection.clone())),
            State::GaveUp(error) => Some(Err(error.clone())),
            _ => None,
        }
    }

    async fn wait_up(&self) -> Result<Connection, DialerError> {
        let mut state = self.inner.state.clone();
        loop {
            // Marked as seen before it is looked at, so that a change in between is not missed.
            state.borrow_and_update();
            if let Some(current) = self.current() {
                return current;
            }
            if state.changed().await.is_err() {
                return self.current().unwrap_or(Err(DialerError::Down));
            }
        }
    }

    /// Calls a method on the connection, see [`Connection::call`].
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::NoConnection`] when there is no connection to call on.
    pub async fn call(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> Result<Bytes, CallError> {
        let method = method.to_method()?;
        let connection = self.connection().await.map_err(CallError::NoConnection)?;
        connection.call(method, payload).await
    }

    /// Sends a notification on the connection, see [`Connection::notify`].
    ///
    /// # Errors
    /// [`NotifyError`]; without a connection it is as one that is closed.
    pub async fn notify(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> Result<(), NotifyError> {
        let method = method.to_method()?;
        let connection = self
            .connection()
            .await
            .map_err(|_| NotifyError::NotSent(Refusal::Closed))?;
        connection.notify(method, payload).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("locator", &self.inner.locator)
            .field("state", &*self.inner.state.borrow())
            .finish()
    }
}

/// The task that dials.
struct Keeper {
    endpoint: Endpoint,
    locator: Locator,
    expect: Expect,
    redial: Redial,
    publish: watch::Sender<State>,
}

impl Keeper {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let retry_after = match self
                .endpoint
                .connect_expecting(&self.locator, self.expect.clone())
                .await
            {
                Ok(connection) => {
                    let since = clock::now();
                    let retry_after = self.keep(connection).await;
                    if clock::now().duration_since(since) >= STEADY {
                        failures = 0;
                    } else {
                        failures += 1;
                    }
                    retry_after
                }
                Err(error) => {
                    failures += 1;
                    if !error.is_transient() || self.redial.attempts_max.is_some_and(|max| failures >= max) {
                        self.give_up(&error);
                        return;
                    }
                    Duration::ZERO
                }
            };
            let wait = self
                .redial
                .wait(failures.saturating_sub(1), retry_after, fastrand::f64());
            tokio::time::sleep(wait).await;
        }
    }

    /// Publishes a connection for as long as it takes new work, and says how long the peer wants to be left alone.
    async fn keep(&self, connection: Connection) -> Duration {
        self.publish.send_replace(State::Up(connection.clone()));
        let retry_after = connection.peer_draining().await;
        self.publish.send_replace(State::Down);
        // Calls that are under way hold the connection themselves, so letting go of it here ends it when they are done.
        Duration::from_millis(retry_after.unwrap_or(0).into())
    }

    fn give_up(&self, error: &ConnectError) {
        let gave_up = DialerError::GaveUp {
            text: error.to_string(),
            culprit: error.culprit(),
            code: error.code(),
        };
        self.publish.send_replace(State::GaveUp(gave_up));
    }
}

/// How long a connection has to live before the next loss counts as the first again: a peer that accepts and dies at
/// once is not dialled in a tight loop.
const STEADY: Duration = Duration::from_secs(10);
