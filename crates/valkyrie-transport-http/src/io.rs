//! The connection as the HTTP/2 library sees it: it gives what was read ahead, reads in portions, and tells whether the
//! system takes more, and how much it should.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use valkyrie_transport::Pace;

use crate::options::{NOTSENT_LOWAT_BYTES, set_notsent_lowat};
use crate::stream::Stream;

/// What is known of the socket, for those who do not hold it. All of it is read and written by whoever is at the
/// connection, one at a time.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// The system did not take all that was to be written.
    blocked: AtomicBool,
    /// How much may be read before others get their turn.
    portion: AtomicUsize,
    /// A read stopped because the portion was eaten.
    more: AtomicBool,
    /// What may wait in the system; 0 while it has not been measured.
    bound: AtomicU32,
}

impl Gauge {
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// What may wait in the system, once it has been measured.
    pub(crate) fn bound(&self) -> Option<u32> {
        Some(self.bound.load(Relaxed)).filter(|&bytes| bytes > 0)
    }

    /// Allows `bytes` more to be read.
    pub(crate) fn allow(&self, bytes: usize) {
        self.portion.store(bytes, Relaxed);
        self.more.store(false, Relaxed);
    }

    /// Whether the last portion was eaten, so that there may be more.
    pub(crate) fn is_eaten(&self) -> bool {
        self.more.load(Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Io {
    stream: Stream,
    /// What was read to find out what the peer speaks.
    ahead: BytesMut,
    gauge: Arc<Gauge>,
    pace: Pace,
}

impl Io {
    /// Reads without portions until [`Gauge::allow`] is called.
    pub(crate) fn new(stream: Stream, ahead: BytesMut) -> (Self, Arc<Gauge>) {
        let gauge = Arc::new(Gauge {
            blocked: AtomicBool::new(false),
            portion: AtomicUsize::new(usize::MAX),
            more: AtomicBool::new(false),
            bound: AtomicU32::new(0),
        });
        let io = Self {
            stream,
            ahead,
            gauge: Arc::clone(&gauge),
            pace: Pace::default(),
        };
        (io, gauge)
    }

    /// Counts what the socket took, and when it is full bounds what it takes by what it carries.
    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.gauge.blocked.store(written.is_pending(), Relaxed);
        match &written {
            Poll::Ready(Ok(bytes)) => self.pace.took(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if let Some(bytes) = self.pace.full(Instant::now(), NOTSENT_LOWAT_BYTES) {
                    // It is no more than advice: a system that does not take it goes on with what it had.
                    let _ = set_notsent_lowat(self.stream.tcp(), bytes);
                    self.gauge.bound.store(bytes, Relaxed);
                }
            }
        }
        written
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..count).unwrap_or_default());
            this.ahead.advance(count);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let portion = this.gauge.portion.load(Relaxed);
        if portion == 0 {
            // No waker: whoever eats a portion asks whether there is more.
            this.gauge.more.store(true, Relaxed);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        this.gauge.portion.store(portion.saturating_sub(count), Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx).map_ok(|()| 0);
        this.note(flushed).map_ok(|_| ())
    }

    /// Says that no byte will come, and waits for the peer to say so too: a connection that is closed with bytes unread
    /// is reset, and the reset may take along what was on its way.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        let mut rest = [0; 1024];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
