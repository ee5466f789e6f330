//! One TCP connection as a link of one lane.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use valkyrie_transport::{Capabilities, Lane, Link, Pace, READ_SPARE_BYTES_MIN, reserve_for_read};

use crate::options::{SCHEME, TcpTransport, set_notsent_lowat};

#[derive(Debug)]
pub(crate) struct TcpLink {
    stream: TcpStream,
    peer: SocketAddr,
    closed: bool,
    /// What may wait unsent in the kernel at most; `None` where that is left to it.
    notsent_bytes_max: Option<u32>,
    pace: Pace,
}

impl TcpLink {
    pub(crate) fn new(stream: TcpStream, options: &TcpTransport) -> io::Result<Self> {
        options.apply(&stream)?;
        let peer = stream.peer_addr()?;
        Ok(Self {
            stream,
            peer,
            closed: false,
            notsent_bytes_max: options.notsent_lowat_bytes,
            pace: Pace::default(),
        })
    }

    /// The socket is full: what it lets wait may be too much for what it carries, or too little.
    #[cold]
    fn pace(&mut self) {
        let Some(most) = self.notsent_bytes_max else {
            return;
        };
        if let Some(bytes) = self.pace.full(Instant::now(), most) {
            // It is no more than advice: a system that does not take it goes on with what it had.
            let _ = set_notsent_lowat(&self.stream, bytes);
        }
    }
}

impl Link for TcpLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_vectored(true)
            .with_local(self.peer.ip().to_canonical().is_loopback())
    }

    fn peer(&self) -> String {
        format!("{SCHEME} {}", self.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        // An IPv4 peer of a listener for both families is one peer, whichever family it came by.
        Some(self.peer.ip().to_canonical())
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
        let polled = match (filled.next(), filled.next()) {
            (None, _) => return Poll::Ready(Ok(0)),
            // A single buffer goes by the plain call: it is cheaper, and tokio learns from a short write that the
            // socket is full.
            (Some(only), None) => stream.poll_write(cx, only),
            _ => stream.poll_write_vectored(cx, bufs),
        };
        match &polled {
            Poll::Ready(Ok(bytes)) => self.pace.took(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pace(),
        }
        polled
    }

    fn batch_bytes(&self) -> Option<usize> {
        let bytes = self.pace.bound()?;
        Some(bytes as usize)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        // The kernel sends what it holds before the end, so there is nothing of ours to flush.
        let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
        self.closed = true;
        match shut {
            // The peer reset the connection: there is no direction left to end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}
