//! What a link and its pusher share: the connection, the two bodies, and what was read ahead of the reader.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::runtime::Handle;
use valkyrie_transport::reserve_for_read;

use crate::conn::{Conn, OUT_BYTES_MAX, READ_QUANTUM_BYTES, WIDEN_AFTER_BYTES};
use crate::error::LinkFault;
use crate::io::Gauge;
use crate::relay::{Relay, Who};

/// A link's two bodies and the connection they travel on.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) conn: Conn,
    pub(crate) send: SendStream<Bytes>,
    pub(crate) recv: RecvStream,
    /// What came behind the answer's first byte.
    pub(crate) early: BytesMut,
    pub(crate) gauge: Arc<Gauge>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    relay: Arc<Relay>,
    /// The relay as the socket knows it.
    waker: Waker,
    gauge: Arc<Gauge>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(opened: Opened) -> Arc<Self> {
        let relay = Arc::new(Relay::default());
        Arc::new(Self {
            waker: Waker::from(Arc::clone(&relay)),
            relay,
            gauge: opened.gauge,
            state: Mutex::new(State {
                conn: Some(opened.conn),
                bodies: Some((opened.send, opened.recv)),
                inbox: opened.early,
                read_bytes: 0,
                widened: false,
                ended: false,
                closed: false,
                failed: None,
                pusher: false,
                dry: false,
            }),
        })
    }

    /// What may wait in the system, once it has been measured.
    pub(crate) fn bound(&self) -> Option<u32> {
        self.gauge.bound()
    }

    /// Takes the connection into one's hands.
    pub(crate) fn hold(&self) -> Held<'_> {
        // Nothing panics while it is held; if it did, the connection is still one.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.relay.hold();
        Held { shared: self, state }
    }
}

#[derive(Debug)]
struct State {
    /// Gone when it is over.
    conn: Option<Conn>,
    /// Gone when the link is.
    bodies: Option<(SendStream<Bytes>, RecvStream)>,
    /// What arrived while nobody read. The peer's window is not given back for it, so it is at most that.
    inbox: BytesMut,
    /// How much has been read, until the window is wide.
    read_bytes: usize,
    widened: bool,
    /// The peer ended its direction.
    ended: bool,
    /// We ended ours.
    closed: bool,
    failed: Option<LinkFault>,
    /// There is a pusher.
    pusher: bool,
    /// The connection was looked at until it had nothing more.
    dry: bool,
}

/// The connection in the hands of one caller. When it is let go, those who wait and can go on are woken.
pub(crate) struct Held<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
}

impl Held<'_> {
    /// Reads and writes what the socket gives and takes now. What arrives goes to `buf`, where there is one and as far as
    /// it has room, and to the inbox; `turn` says how much went to `buf`.
    fn turn(&mut self, mut buf: Option<&mut BytesMut>) -> usize {
        let state = &mut *self.state;
        let mut cx = Context::from_waker(&self.shared.waker);
        let mut taken = 0;
        for _ in 0..TURNS_MAX {
            let Some(conn) = &mut state.conn else { return taken };
            self.shared.relay.look();
            state.dry = false;
            self.shared.gauge.allow(READ_QUANTUM_BYTES);
            let over = match conn.poll(&mut cx) {
                Poll::Pending => None,
                Poll::Ready(Ok(())) => Some(LinkFault::Cut),
                Poll::Ready(Err(error)) => Some(LinkFault::from_h2(&error)),
            };
            taken += state.drain(buf.as_deref_mut());
            if let Some(fault) = over {
                state.conn = None;
                state.fail(fault);
                return taken;
            }
            if !self.shared.gauge.is_eaten() {
                state.dry = true;
                return taken;
            }
        }
        // Others get their turn; then it goes on.
        self.shared.waker.wake_by_ref();
        taken
    }

    pub(crate) fn poll_read(&mut self, cx: &Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut taken = self.state.take_inbox(buf);
        // A reader that was given something asks again, to be told that there is no more; that is known already.
        let dry = self.state.dry && !self.shared.relay.is_stirred();
        if taken == 0 && !self.state.ended && self.state.failed.is_none() && !dry {
            taken = self.turn(Some(buf));
        }
        if taken > 0 {
            self.state.taken(taken);
            if self.shared.relay.take_noted() {
                // A window was given back, and the peer may wait for it.
                self.turn(None);
            }
            return Poll::Ready(Ok(taken));
        }
        if self.state.ended {
            return Poll::Ready(Ok(0));
        }
        if let Some(fault) = &self.state.failed {
            return Poll::Ready(Err(fault.clone().into()));
        }
        self.shared.relay.wait(Who::Reader, cx);
        Poll::Pending
    }

    /// Takes at most one batch of `bufs`, whose bytes are `total`, at least 1.
    pub(crate) fn poll_write(
        &mut self,
        cx: &Context<'_>,
        total: usize,
        copy: impl Fn(usize) -> Bytes,
    ) -> Poll<io::Result<usize>> {
        for turned in [false, true] {
            if let Some(count) = self.write(total, &copy)? {
                self.turn(None);
                return Poll::Ready(Ok(count));
            }
            if !turned {
                self.turn(None);
            }
        }
        self.shared.relay.wait(Who::Writer, cx);
        Poll::Pending
    }

    /// `None`: there is no room now.
    fn write(&mut self, total: usize, copy: impl Fn(usize) -> Bytes) -> io::Result<Option<usize>> {
        self.check()?;
        if self.shared.gauge.is_blocked() {
            return Ok(None);
        }
        let Some((send, _)) = &mut self.state.bodies else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let wanted = total.min(OUT_BYTES_MAX);
        send.reserve_capacity(wanted);
        let count = send.capacity().min(wanted);
        if count == 0 {
            return Ok(None);
        }
        match send.send_data(copy(count), false) {
            Ok(()) => Ok(Some(count)),
            Err(_) => Err(self.fail(LinkFault::Gone)),
        }
    }

    /// The error of a link that cannot be written to.
    fn check(&mut self) -> io::Result<()> {
        if let Some(fault) = &self.state.failed {
            return Err(fault.clone().into());
        }
        let Some((send, _)) = &mut self.state.bodies else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match send.poll_reset(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(reason)) => {
                let reason = format!("{reason:?}");
                Err(self.fail_writing(LinkFault::Reset { reason }))
            }
            Poll::Ready(Err(error)) => Err(self.fail_writing(LinkFault::from_h2(&error))),
        }
    }

    /// The peer takes no more. What it sent is still read, so the link as such has failed only where that has ended.
    fn fail_writing(&mut self, fault: LinkFault) -> io::Error {
        if self.state.ended {
            self.state.fail(fault.clone());
        }
        fault.into()
    }

    fn fail(&mut self, fault: LinkFault) -> io::Error {
        self.state.fail(fault.clone());
        fault.into()
    }

    /// Ends our direction, and is ready when all of it is with the system.
    pub(crate) fn poll_close(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.closed {
            self.check()?;
            if let Some((send, _)) = &mut self.state.bodies {
                //= protocol/transports.md#http
                if send.send_data(Bytes::new(), true).is_err() {
                    return Poll::Ready(Err(self.fail(LinkFault::Gone)));
                }
            }
            self.state.closed = true;
            self.turn(None);
        } else if self.shared.gauge.is_blocked() {
            self.turn(None);
        }
        if !self.shared.gauge.is_blocked() {
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = &self.state.failed {
            return Poll::Ready(Err(fault.clone().into()));
        }
        self.shared.relay.wait(Who::Writer, cx);
        Poll::Pending
    }

    /// Makes sure that what the system did not take is pushed, whoever waits.
    pub(crate) fn call_pusher(&mut self, shared: &Arc<Shared>, runtime: &Handle) {
        if self.shared.gauge.is_blocked() && !self.state.pusher && self.state.conn.is_some() {
            self.state.pusher = true;
            let shared = Arc::clone(shared);
            runtime.spawn(async move { std::future::poll_fn(|cx| shared.hold().poll_push(cx)).await });
        }
    }

    /// The pusher's whole life: as long as the system does not take what there is.
    fn poll_push(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.turn(None);
        if self.shared.gauge.is_blocked() && self.state.conn.is_some() {
            self.shared.relay.wait(Who::Pusher, cx);
            return Poll::Pending;
        }
        self.state.pusher = false;
        Poll::Ready(())
    }

    /// The link is gone: gives up its bodies and hands out the connection, if there is one, for its end.
    pub(crate) fn abandon(&mut self) -> Option<Abandoned> {
        let in_order = self.state.closed && self.state.failed.is_none();
        self.state.bodies = None;
        self.state.inbox = BytesMut::new();
        self.shared.gauge.allow(usize::MAX);
        let mut conn = self.state.conn.take()?;
        if !in_order {
            //= protocol/transports.md#http
            let _ = conn.poll(&mut Context::from_waker(Waker::noop()));
            return None;
        }
        Some(Abandoned(conn))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let state = &mut *self.state;
        let relay = &self.shared.relay;
        let over = state.failed.is_some() || state.conn.is_none();
        if (over || state.ended || !state.inbox.is_empty()) && relay.waits(Who::Reader) {
            relay.wake(Who::Reader);
        }
        if relay.waits(Who::Writer) {
            let room = match &mut state.bodies {
                Some((send, _)) => !self.shared.gauge.is_blocked() && (state.closed || send.capacity() > 0),
                None => true,
            };
            if over || room {
                relay.wake(Who::Writer);
            }
        }
        relay.release();
    }
}

impl State {
    /// Takes what arrived out of the HTTP/2 library: to `buf` first, and the rest to the inbox.
    fn drain(&mut self, mut buf: Option<&mut BytesMut>) -> usize {
        let Some((_, recv)) = &mut self.bodies else {
            return 0;
        };
        // Everything that arrives does so in a turn, and every turn ends here: nobody needs to be woken.
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while !self.ended && self.failed.is_none() {
            match recv.poll_data(&mut cx) {
                Poll::Ready(Some(Ok(mut bytes))) => {
                    if let Some(buf) = &mut buf
                        && self.inbox.is_empty()
                    {
                        if taken == 0 {
                            reserve_for_read(buf);
                        }
                        let count = bytes.len().min(buf.capacity() - buf.len());
                        buf.extend_from_slice(&bytes.split_to(count));
                        taken += count;
                    }
                    self.inbox.extend_from_slice(&bytes);
                }
                Poll::Ready(Some(Err(error))) => self.failed = Some(LinkFault::from_h2(&error)),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        taken
    }

    /// Moves what the inbox holds to `buf`, as far as it has room.
    fn take_inbox(&mut self, buf: &mut BytesMut) -> usize {
        if self.inbox.is_empty() {
            return 0;
        }
        reserve_for_read(buf);
        let count = self.inbox.len().min(buf.capacity() - buf.len());
        buf.extend_from_slice(self.inbox.get(..count).unwrap_or_default());
        self.inbox.advance(count);
        if self.inbox.is_empty() {
            // What is idle owns no buffer.
            self.inbox = BytesMut::new();
        }
        count
    }

    /// Lets the peer send as much again as the caller took.
    fn taken(&mut self, count: usize) {
        if let Some((_, recv)) = &mut self.bodies {
            // It fails only for more than was received.
            let _ = recv.flow_control().release_capacity(count);
        }
        self.widen(count);
    }

    fn fail(&mut self, fault: LinkFault) {
        self.failed.get_or_insert(fault);
    }

    /// A peer whose bytes are read is a peer in earnest.
    fn widen(&mut self, count: usize) {
        if self.widened {
            return;
        }
        self.read_bytes = self.read_bytes.saturating_add(count);
        if self.read_bytes > WIDEN_AFTER_BYTES
            && let Some(conn) = &mut self.conn
        {
            self.widened = conn.widen().is_ok();
        }
    }
}

/// A connection whose link ended in good order. It is polled until the peer has everything.
#[derive(Debug)]
pub(crate) struct Abandoned(Conn);

impl Abandoned {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx).map(|_| ())
    }
}

/// How many portions one call reads before others get their turn.
const TURNS_MAX: usize = 4;
