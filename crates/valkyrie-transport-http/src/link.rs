//! One HTTP/2 request as a link of one lane.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::time::timeout;
use valkyrie_transport::{Capabilities, Lane, Link};

use crate::conn::OUT_BYTES_MAX;
use crate::state::{Opened, Shared};

/// Who is at the other end, and what the link may say of itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) scheme: &'static str,
    /// What the dialler dialled, or where the dialler is.
    pub(crate) peer: String,
    pub(crate) address: SocketAddr,
    /// The secret of the TLS connection, where its ends are the ends of the link.
    pub(crate) binding: Option<[u8; 32]>,
}

#[derive(Debug)]
pub(crate) struct HttpLink {
    about: About,
    shared: Arc<Shared>,
    /// The runtime of the socket: a caller that writes may be on another thread.
    runtime: Handle,
    /// Our close has returned.
    closed: bool,
}

impl HttpLink {
    /// A link on a request that was granted. Must be called on a runtime.
    pub(crate) fn new(opened: Opened, about: About) -> Self {
        Self {
            about,
            shared: Shared::new(opened),
            runtime: Handle::current(),
            closed: false,
        }
    }
}

impl Link for HttpLink {
    fn capabilities(&self) -> Capabilities {
        // Never `local`: behind a proxy on this machine the peer may be anywhere.
        Capabilities::default()
            .with_vectored(true)
            .with_secure(self.about.binding.is_some())
            .with_max_write(Some(OUT_BYTES_MAX))
    }

    fn peer(&self) -> String {
        format!("{} {}", self.about.scheme, self.about.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        // An IPv4 peer of a listener for both families is one peer, whichever family it came by.
        Some(self.about.address.ip().to_canonical())
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        self.about.binding
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        let mut held = self.shared.hold();
        let read = held.poll_read(cx, buf);
        held.call_pusher(&self.shared, &self.runtime);
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let total = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut held = self.shared.hold();
        let written = held.poll_write(cx, total, |count| copy(bufs, count));
        held.call_pusher(&self.shared, &self.runtime);
        written
    }

    fn batch_bytes(&self) -> Option<usize> {
        let bytes = self.shared.bound()?;
        Some(bytes as usize)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let mut held = self.shared.hold();
        let closed = held.poll_close(cx);
        held.call_pusher(&self.shared, &self.runtime);
        drop(held);
        self.closed = matches!(closed, Poll::Ready(Ok(())));
        closed
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        let abandoned = self.shared.hold().abandon();
        if let Some(mut abandoned) = abandoned {
            self.runtime.spawn(async move {
                // Whether it ends or its time is up is the same.
                let _ = timeout(LINGER_TIME_MAX, poll_fn(|cx| abandoned.poll(cx))).await;
            });
        }
    }
}

/// The first `count` bytes of `bufs`, in memory that the thread uses again once they are with the system.
fn copy(bufs: &[IoSlice<'_>], count: usize) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.reserve(count);
        for buf in bufs {
            let room = count - scratch.len();
            scratch.extend_from_slice(buf.get(..room).unwrap_or(buf));
        }
        scratch.split().freeze()
    })
}

thread_local! {
    /// Where what is written is put together; the thread's, so that idle links hold nothing.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// How long the connection of a link that ended in good order waits for its peer to say that it has everything.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
