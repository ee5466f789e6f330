//! A connection: the same on both sides, whoever dialled.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use valkyrie_frame::{ErrorCode, Side};
use valkyrie_proto::{CloseReason, Failure, Refusal, Settings, Stats};

use valkyrie_transport::Capabilities;

use crate::core::Line;
use crate::shared::{Shared, Urgency};
use crate::{
    Call, IncomingStream, LocalCaller, Notify, NotifyError, Open, PingError, ToMethod, Verified, clock,
};

/// One peer to call and be called by. Cloning is a reference count.
///
/// The last handle of a connection that this side dialled drains it when it is dropped; streams count as handles. A
/// connection that the peer dialled lives until one of the two sides ends it.
pub struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Calls a method and waits for its answer: `connection.call(&echo, payload).await`. Options are set on the
    /// [`Call`] before it is awaited; dropping it cancels the call.
    #[inline]
    pub fn call(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> Call<'_> {
        Call::new(self, method.to_method(), payload.into())
    }

    /// What makes calls to this side's own services as the peer of this connection, without going through it: for an adapter
    /// that authenticates its clients by connections and serves them from the same process.
    pub fn local_caller(&self) -> LocalCaller {
        LocalCaller::new(self)
    }

    /// Sends a message that has no answer. Ready once the message is queued, in order after what was sent before it;
    /// options are set on the [`Notify`] before it is awaited.
    pub fn notify(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> Notify<'_> {
        Notify::new(self, method.to_method(), payload.into())
    }

    /// Sends a message that has no answer, if there is room for it now.
    ///
    /// # Errors
    /// [`NotifyError`] with [`Refusal::Blocked`](valkyrie_proto::Refusal::Blocked) when there is none; nothing was
    /// sent.
    pub fn try_notify(&self, method: impl ToMethod, payload: impl Into<Bytes>) -> Result<(), NotifyError> {
        self.notify(method, payload).try_now()
    }

    /// Opens a stream: `let (send, recv) = connection.open(&method).await?`. Options are set on the [`Open`] before it
    /// is awaited. It waits only when the peer grants no further stream.
    pub fn open(&self, method: impl ToMethod) -> Open<'_> {
        Open::new(self, method.to_method())
    }

    /// The next stream of the peer that no handler takes; `None` once the connection is closed. Such streams are kept
    /// only if the services say so, see
    /// [`ServicesBuilder::keep_unrouted_streams`](crate::ServicesBuilder::keep_unrouted_streams).
    pub async fn accept(&self) -> Option<IncomingStream> {
        let mut wait = InLine {
            shared: &self.shared,
            line: Line::Accept,
            ticket: None,
        };
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            if let Some(opened) = core.take_offered() {
                return Poll::Ready(Some(IncomingStream::new(Arc::clone(&self.shared), opened)));
            }
            if core.closed.is_some() {
                return Poll::Ready(None);
            }
            core.join(Line::Accept, &mut wait.ticket, cx.waker());
            Poll::Pending
        })
        .await
    }

    /// How long a PING takes to come back. It overtakes everything that is queued.
    ///
    /// # Errors
    /// [`PingError`]: it was not sent, or the connection ended first.
    pub async fn ping(&self) -> Result<Duration, PingError> {
        /// Forgets the ping, answered or not.
        struct Forget<'a>(&'a Shared, u64);
        impl Drop for Forget<'_> {
            fn drop(&mut self) {
                self.0.lock().end_ping(self.1);
            }
        }
        let (token, sent) = self.begin_ping();
        let _forget = Forget(&self.shared, token);
        sent.map_err(PingError::NotSent)?;
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            match (core.poll_ping(token, cx.waker()), &core.closed) {
                (Some(rtt), _) => Poll::Ready(Ok(rtt)),
                (None, Some(reason)) => Poll::Ready(Err(PingError::Lost((**reason).clone()))),
                (None, None) => Poll::Pending,
            }
        })
        .await
    }

    fn begin_ping(&self) -> (u64, Result<(), Refusal>) {
        let mut core = self.shared.lock();
        let token = core.begin_ping();
        let sent = core.session.ping(clock::now(), token);
        self.shared.commit(core, Urgency::Now);
        (token, sent)
    }

    /// Who is at the other end, for people: `tcp 127.0.0.1:41234`.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Who the peer is, as it has proved; see [`Verified::how`] for how far that goes on a plain connection.
    pub fn identity(&self) -> &Verified {
        self.shared.guard.identity()
    }

    /// What the peer announced of itself when the session opened: its limits, and the node id it claims.
    pub fn peer_settings(&self) -> Option<Settings> {
        let core = self.shared.lock();
        core.session.peer_settings().filter(|_| core.opened).cloned()
    }

    /// The link that it has now, and how often it went on over another one.
    pub fn link(&self) -> LinkInfo {
        let (peer, capabilities) = self.shared.describe_link();
        let core = self.shared.lock();
        LinkInfo {
            peer,
            capabilities,
            lanes: core.session.lanes(),
            detached: core.session.is_detached(),
            resumes: core.session.resumes(),
            rtt: core.session.rtt(),
        }
    }

    /// A number that no other connection of this endpoint has or had.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Which side this is: the one that dialled or the one that accepted.
    pub fn side(&self) -> Side {
        self.shared.side
    }

    /// What it has carried so far.
    pub fn stats(&self) -> ConnectionStats {
        let core = self.shared.lock();
        ConnectionStats {
            session: core.session.stats(),
            rtt: core.session.rtt(),
            outstanding: core.session.outstanding(),
            unrouted: self.shared.counters.unrouted.load(Ordering::Relaxed),
            panics: self.shared.counters.panics.load(Ordering::Relaxed),
            refused: self.shared.guard.refused(),
        }
    }

    /// Ends the connection gently: both sides begin nothing new, what is running ends, then it closes. It is bounded
    /// by the limits' `drain_timeout`. Ready when everything is over; dropping the future does not stop the drain.
    pub async fn drain(&self) -> CloseReason {
        self.begin_drain(0);
        self.closed().await
    }

    /// Begins to drain, telling the peer when to come back.
    pub(crate) fn begin_drain(&self, retry_after_ms: u32) {
        let mut core = self.shared.lock();
        core.session.drain(clock::now(), retry_after_ms);
        self.shared.commit(core, Urgency::Now);
    }

    /// Ends the connection at once. What is running on either side is lost; see [`Connection::drain`].
    pub fn close(&self) {
        self.close_with(Failure::new(ErrorCode::OK, ""));
    }

    /// Ends the connection at once and tells the peer why.
    pub fn close_with(&self, failure: Failure) {
        let mut core = self.shared.lock();
        core.session.close(clock::now(), failure);
        self.shared.commit(core, Urgency::Now);
    }

    /// Waits until the connection is over and its last frame has gone out, and says how it ended.
    pub async fn closed(&self) -> CloseReason {
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            match &core.closed {
                Some(reason) if core.ended => Poll::Ready((**reason).clone()),
                _ => {
                    core.watch_life(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether it is over. One that is not may still end at any moment.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed.is_some()
    }

    /// Waits until the peer drains (and says when to come back, in milliseconds) or the connection is over (`None`).
    pub async fn peer_draining(&self) -> Option<u32> {
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            if let Some(retry_after_ms) = core.retry_after_ms() {
                return Poll::Ready(Some(retry_after_ms));
            }
            if core.closed.is_some() {
                return Poll::Ready(None);
            }
            core.watch_life(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Waits until the session is open.
    pub(crate) async fn opened(&self) -> Result<(), CloseReason> {
        poll_fn(|cx| {
            let mut core = self.shared.lock();
            match (&core.closed, core.opened) {
                (Some(reason), _) => Poll::Ready(Err((**reason).clone())),
                (None, true) => Poll::Ready(Ok(())),
                (None, false) => {
                    core.watch_life(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    #[cold]
    fn last_dropped(&self) {
        let mut core = self.shared.lock();
        if core.closed.is_none() {
            core.session.drain(clock::now(), 0);
        }
        self.shared.commit(core, Urgency::Now);
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Acquire and release, so that what other handles did comes before the drain.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 && self.shared.side == Side::Dialer {
            self.last_dropped();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.shared.id)
            .field("peer", &self.shared.peer)
            .field("side", &self.shared.side)
            .finish()
    }
}

/// What carries a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Who is at its other end, for people; of the last link while there is none.
    pub peer: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How many lanes the session uses on it.
    pub lanes: u8,
    /// There is none, or none yet that carries the session.
    pub detached: bool,
    /// How often the session went on over another link.
    pub resumes: u32,
    /// The smoothed round trip, once there is one.
    pub rtt: Option<Duration>,
}

/// What a connection has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// The session's counters.
    pub session: Stats,
    /// The smoothed round trip, once there is one.
    pub rtt: Option<Duration>,
    /// Exchanges begun here and not ended.
    pub outstanding: usize,
    /// Notifications that no handler took.
    pub unrouted: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// What the policy refused the peer.
    pub refused: u64,
}

/// A place in a line that is left when the waiting future is dropped.
pub(crate) struct InLine<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) line: Line,
    pub(crate) ticket: crate::wait::Ticket,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let next = self.shared.lock().leave(self.line, &mut self.ticket);
            if let Some(next) = next {
                next.wake();
            }
        }
    }
}
