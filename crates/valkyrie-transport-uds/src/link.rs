//! One Unix domain connection as a link of one lane.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::UnixStream;
use valkyrie_transport::{
    Capabilities, Lane, Link, Locator, PeerCredentials, READ_SPARE_BYTES_MIN, reserve_for_read,
};

use crate::options::SCHEME;

#[derive(Debug)]
pub(crate) struct UdsLink {
    stream: UnixStream,
    locator: Locator,
    peer: PeerCredentials,
    closed: bool,
}

impl UdsLink {
    pub(crate) fn new(stream: UnixStream, locator: &Locator) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let peer = PeerCredentials {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        };
        Ok(Self {
            stream,
            locator: locator.clone(),
            peer,
            closed: false,
        })
    }
}

impl Link for UdsLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_vectored(true)
            .with_local(true)
            .with_peer_credentials(Some(self.peer))
    }

    fn peer(&self) -> String {
        let PeerCredentials { uid, pid, .. } = self.peer;
        match pid {
            Some(pid) => format!("{SCHEME} {} (uid {uid}, pid {pid})", self.locator.rest()),
            None => format!("{SCHEME} {} (uid {uid})", self.locator.rest()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        let had_room = buf.capacity() - buf.len() >= READ_SPARE_BYTES_MIN;
        if !had_room {
            ready!(self.stream.poll_read_ready(cx))?;
            reserve_for_read(buf);
        }
        // The future keeps nothing between polls, so making one for each poll is the poll itself. Unlike
        // `try_read_buf` it takes a short read to mean that the socket is empty, which saves the read that would
        // find nothing.
        let polled = pin!(self.stream.read_buf(buf)).poll(cx);
        if polled.is_pending() && !had_room && buf.is_empty() {
            // The socket was ready and had nothing after all; what was reserved for it is given back.
            *buf = BytesMut::new();
        }
        polled
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
        let stream = Pin::new(&mut self.stream);
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Poll::Ready(Ok(0)),
            // A single buffer goes by the plain call: it is cheaper, and tokio learns from a short write that the
            // socket is full.
            (Some(only), None) => stream.poll_write(cx, only),
            _ => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        // What was written is in the peer's queue already, so there is nothing to flush.
        let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
        self.closed = true;
        match shut {
            // The peer is gone: there is no direction left to end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}
