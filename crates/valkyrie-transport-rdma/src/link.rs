//! One connection as a link of one lane: waiting, waking and closing.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::runtime::Handle;
use valkyrie_transport::{Capabilities, Lane, Link};

use crate::conn::Conn;
use crate::device::{Event, Ready};
use crate::error::RdmaError;
use crate::options::SCHEME;
use crate::relay::{Relay, Who};

pub(crate) struct RdmaLink {
    /// There until the link is dropped.
    conn: Option<Conn>,
    waits: Option<Waits>,
    relay: Arc<Relay>,
    relay_waker: Waker,
    /// Whether the next completion is told by a notice.
    armed: bool,
    busy_polls: u32,
    closing: bool,
    peer: SocketAddr,
    /// Where the link is taken apart.
    runtime: Handle,
}

/// What a link waits on.
struct Waits {
    completions: Ready,
    events: Ready,
}

impl RdmaLink {
    pub(crate) fn new(conn: Conn, peer: SocketAddr, busy_polls: u32) -> io::Result<Self> {
        let waits = Waits {
            completions: conn.pair.ready()?,
            events: conn.pair.id.channel().ready()?,
        };
        let relay = Arc::new(Relay::default());
        Ok(Self {
            conn: Some(conn),
            waits: Some(waits),
            relay_waker: Waker::from(Arc::clone(&relay)),
            relay,
            armed: false,
            busy_polls,
            closing: false,
            peer,
            runtime: Handle::current(),
        })
    }

    fn parts(&mut self) -> io::Result<(&mut Conn, &Waits)> {
        match (&mut self.conn, &self.waits) {
            (Some(conn), Some(waits)) => Ok((conn, waits)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ready when something has happened on the connection, whoever it is for.
    fn poll_something(&mut self, cx: &mut Context<'_>, who: Who) -> Poll<io::Result<()>> {
        self.relay.wait(who, cx);
        let waker = self.relay_waker.clone();
        let mut relayed = Context::from_waker(&waker);
        let (mut armed, mut looks_left) = (self.armed, self.busy_polls);
        let (conn, waits) = self.parts()?;
        let polled = loop {
            // Events first: all that came before the peer went is among the completions then.
            let mut happened = take_events(conn, waits, &mut relayed)?;
            happened |= conn.reap();
            if happened {
                break Poll::Ready(());
            }
            if !armed {
                // An answer is often there in less time than it takes to be woken.
                if looks_left > 0 {
                    looks_left -= 1;
                    std::hint::spin_loop();
                    continue;
                }
                conn.pair.arm()?;
                // What is done between the last look and this is not told, so there is one more look.
                armed = true;
                continue;
            }
            let Poll::Ready(guard) = waits.completions.poll_read_ready(&mut relayed) else {
                break Poll::Pending;
            };
            let mut guard = guard?;
            match conn.pair.take_notice()? {
                true => armed = false,
                false => guard.clear_ready(),
            }
        };
        self.armed = armed;
        if polled.is_ready() {
            self.relay.wake_other(who);
        }
        polled.map(Ok)
    }
}

/// Takes what the connection manager has to say, and waits for more.
fn take_events(conn: &mut Conn, waits: &Waits, cx: &mut Context<'_>) -> io::Result<bool> {
    let mut any = false;
    while let Poll::Ready(guard) = waits.events.poll_read_ready(cx) {
        let mut guard = guard?;
        let error = match conn.pair.id.channel().next()? {
            None => {
                guard.clear_ready();
                continue;
            }
            Some(Event::Disconnected) => RdmaError::Dropped,
            Some(Event::DeviceGone) => RdmaError::DeviceGone,
            Some(_) => continue,
        };
        conn.fail(error);
        any = true;
    }
    Ok(any)
}

fn failed(conn: &Conn) -> Option<io::Error> {
    conn.failure().cloned().map(io::Error::from)
}

impl Link for RdmaLink {
    fn capabilities(&self) -> Capabilities {
        // Whether the peer is on this machine cannot be told: a device may say of a peer what it likes.
        Capabilities::default().with_vectored(true)
    }

    fn peer(&self) -> String {
        format!("{SCHEME} {}", self.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        Some(self.peer.ip().to_canonical())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        loop {
            let (conn, _) = self.parts()?;
            let mut count = conn.read(buf);
            if count == 0 {
                conn.reap();
                count = conn.read(buf);
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if conn.at_the_end() {
                return Poll::Ready(Ok(0));
            }
            if let Some(error) = failed(conn) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_something(cx, Who::Reader))?;
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            let (conn, _) = self.parts()?;
            conn.reap();
            let count = conn.write(bufs);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if let Some(error) = failed(conn) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_something(cx, Who::Writer))?;
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closing = true;
        loop {
            let (conn, _) = self.parts()?;
            conn.reap();
            if conn.end() && conn.end_has_arrived() {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = failed(conn) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_something(cx, Who::Writer))?;
        }
    }
}

impl Drop for RdmaLink {
    fn drop(&mut self) {
        self.waits = None;
        if let Some(conn) = self.conn.take() {
            // The peer hears of it at once. What the kernel then takes apart may keep it busy for a while.
            let _ = conn.pair.id.disconnect();
            drop(self.runtime.spawn_blocking(move || drop(conn)));
        }
    }
}

impl fmt::Debug for RdmaLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdmaLink")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
