//! A connection that is given up when nothing moves on it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::stream::Stream;

/// The calls that are under way on one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    /// One more, until what this gives is dropped.
    pub(super) fn begin(&self) -> Call {
        self.0.fetch_add(1, Relaxed);
        Call(self.clone())
    }
}

/// One call that is under way.
#[derive(Debug)]
pub(super) struct Call(UnderWay);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A connection that fails when it has carried nothing for a while: no byte came, while no call was under way, or none
/// went that was to go.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    under_way: UnderWay,
    idle_time_max: Duration,
    /// When something moved last.
    moved: Instant,
    timer: Pin<Box<Sleep>>,
    /// The client takes nothing.
    blocked: bool,
}

impl Watched {
    pub(super) fn new(stream: Stream, under_way: UnderWay, idle_time_max: Duration) -> Self {
        Self {
            stream,
            under_way,
            idle_time_max,
            moved: Instant::now(),
            timer: Box::pin(sleep(idle_time_max)),
            blocked: false,
        }
    }

    /// Fails when nothing has moved for too long, and makes sure to be woken then.
    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.moved = Instant::now();
            return polled;
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // The timer is not moved with every byte: it looks back when it is due.
            let mut due = self.moved + self.idle_time_max;
            if due <= now {
                if self.blocked || self.under_way.0.load(Relaxed) == 0 {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                due = now + self.idle_time_max;
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn watch_write<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.blocked = polled.is_pending();
        self.watch(polled, cx)
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.blocked && read.is_ready() {
            // A client that sends and does not take is no less slow.
            return read;
        }
        this.watch(read, cx)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        match flushed {
            // Nothing moved because there was nothing to move.
            Poll::Ready(_) => flushed,
            Poll::Pending => this.watch_write(flushed, cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
