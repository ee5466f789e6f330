//! The writing half of a link, and who pushes when the system's buffer is full.
//!
//! A frame cannot be taken back once its header is out, so what the system did not take of one is kept here and
//! pushed out by a task of the link's own. The task exists from the first time there is something to push, which on most
//! links is never. While it has work nobody else writes; that is all the order there is.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use valkyrie_transport::Pace;

use crate::error::LinkFault;
use crate::frame::{Control, Opcode, Side, append_frame};
use crate::options::{NOTSENT_LOWAT_BYTES, set_notsent_lowat};
use crate::stream::Stream;

/// What the link and its pusher share.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Wire>>);

impl Shared {
    pub(crate) fn new(stream: Stream, side: Side) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            stream: Some(stream),
            side,
            out: BytesMut::new(),
            pong: None,
            unflushed: false,
            end: End::Open,
            failed: None,
            writer: None,
            pusher: Pusher::None,
            pusher_waker: None,
            pace: Pace::default(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Wire> {
        // Nothing panics while it is held; if it did, what is in it is still whole frames.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that what is left to push is pushed.
    pub(crate) fn call_pusher(&self, wire: &mut Wire, runtime: &Handle) {
        match std::mem::replace(&mut wire.pusher, Pusher::Working) {
            Pusher::Parked => {
                if let Some(waker) = &wire.pusher_waker {
                    waker.wake_by_ref();
                }
            }
            Pusher::Working => {}
            Pusher::None => {
                let shared = self.clone();
                runtime.spawn(async move { poll_fn(|cx| shared.lock().poll_pusher(cx)).await });
            }
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Gone when the link is.
    pub(crate) stream: Option<Stream>,
    side: Side,
    /// What the system did not take of the last frame, and control frames behind it.
    out: BytesMut,
    /// The payload of the last ping that has not been answered. RFC 6455, section 5.5.3 lets the ones before it go.
    pong: Option<Control>,
    /// TLS holds bytes that the system did not take.
    unflushed: bool,
    end: End,
    failed: Option<Failed>,
    /// Who waits for room.
    writer: Option<Waker>,
    pusher: Pusher,
    /// How to wake the pusher, whatever it waits for: a socket that is closed wakes nobody.
    pusher_waker: Option<Waker>,
    pace: Pace,
}

/// How far our direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// It is open.
    Open,
    /// The empty message is on its way.
    Ended,
    /// The close frame is on its way; no frame follows.
    Closed,
}

/// An [`io::Error`] that can be told more than once.
#[derive(Clone, Debug)]
enum Failed {
    Fault(LinkFault),
    System(io::ErrorKind, Option<i32>),
}

#[derive(Debug)]
enum Pusher {
    /// Not spawned.
    None,
    /// It has work.
    Working,
    /// It waits for work.
    Parked,
}

impl Wire {
    /// Whether everything is with the system, so that the next frame can go.
    fn is_clear(&self) -> bool {
        self.out.is_empty() && self.pong.is_none() && !self.unflushed
    }

    /// What may wait in the system, once it has been measured.
    pub(crate) fn bound(&self) -> Option<u32> {
        self.pace.bound()
    }

    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The error of a link that failed.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(Failed::Fault(fault)) => Err(fault.clone().into()),
            Some(Failed::System(_, Some(code))) => Err(io::Error::from_raw_os_error(*code)),
            Some(Failed::System(kind, None)) => Err((*kind).into()),
        }
    }

    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.failed
            .get_or_insert_with(|| Failed::System(error.kind(), error.raw_os_error()));
        self.wake_writer();
    }

    /// The peer is at fault, or gone: tells it why, as far as it listens, and writes no more.
    pub(crate) fn fail_with(&mut self, fault: LinkFault) {
        if self.end < End::Closed {
            self.queue_close(fault.close_code());
        }
        self.failed.get_or_insert(Failed::Fault(fault));
        self.wake_writer();
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Answers a ping when there is room.
    pub(crate) fn queue_pong(&mut self, payload: Control) {
        if self.end < End::Closed {
            self.pong = Some(payload);
        }
    }

    /// Says that our direction has ended.
    //= protocol/transports.md#end-of-a-direction
    pub(crate) fn queue_end(&mut self) {
        if self.end == End::Open {
            append_frame(&mut self.out, self.side, Opcode::Binary, &[]);
            self.end = End::Ended;
        }
    }

    /// Says that no frame follows.
    pub(crate) fn queue_close(&mut self, code: u16) {
        if self.end < End::Closed {
            append_frame(&mut self.out, self.side, Opcode::Close, &code.to_be_bytes());
            self.pong = None;
            self.end = End::Closed;
        }
    }

    /// Ready when a frame may be written. Otherwise the pusher has work and wakes the caller when it is done.
    pub(crate) fn poll_clear(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_clear() {
            self.writer = None;
            return Poll::Ready(());
        }
        self.wait(cx);
        Poll::Pending
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.writer {
            Some(known) => known.clone_from(cx.waker()),
            unknown => *unknown = Some(cx.waker().clone()),
        }
    }

    /// Writes one frame, given in pieces, on a wire that is clear. `Pending`: nothing was taken. `true`: part of it is
    /// left to the pusher, who is to be called.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        mut pieces: &mut [IoSlice<'_>],
    ) -> Poll<io::Result<bool>> {
        debug_assert!(self.is_clear());
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let mut begun = false;
        while !pieces.is_empty() {
            let taken = match &*pieces {
                [only] => Pin::new(&mut *stream).poll_write(cx, only),
                pieces => Pin::new(&mut *stream).poll_write_vectored(cx, pieces),
            };
            note(&mut self.pace, stream, &taken);
            match taken {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(taken)) => IoSlice::advance_slices(&mut pieces, taken),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if begun => break,
                Poll::Pending => {
                    // The waker is with the socket; the pusher, should it be called meanwhile, takes that place.
                    self.wait(cx);
                    return Poll::Pending;
                }
            }
            begun = true;
        }
        for piece in &*pieces {
            self.out.extend_from_slice(piece);
        }
        let flushed = stream.poll_flushed(cx).map_ok(|()| 0);
        note(&mut self.pace, stream, &flushed);
        match flushed {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => self.unflushed = true,
        }
        Poll::Ready(Ok(!self.is_clear()))
    }

    /// Pushes what there is. Only for the pusher, and for a caller that found nobody waiting and calls it otherwise.
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(()));
            };
            while !self.out.is_empty() {
                let taken = Pin::new(&mut *stream).poll_write(cx, &self.out);
                note(&mut self.pace, stream, &taken);
                let taken = ready!(taken)?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.out.advance(taken);
                self.unflushed = true;
            }
            if let Some(pong) = self.pong.take() {
                append_frame(&mut self.out, self.side, Opcode::Pong, pong.as_bytes());
                continue;
            }
            // What is idle owns no buffer.
            self.out = BytesMut::new();
            let flushed = stream.poll_flushed(cx).map_ok(|()| 0);
            note(&mut self.pace, stream, &flushed);
            ready!(flushed)?;
            self.unflushed = false;
            return Poll::Ready(Ok(()));
        }
    }

    /// Pushes what was queued, if nobody waits to write; what cannot go at once is left to the pusher. `true`: call it.
    pub(crate) fn push_now(&mut self) -> bool {
        if self.is_clear() {
            return false;
        }
        if self.writer.is_some() || !matches!(self.pusher, Pusher::None | Pusher::Parked) {
            return true;
        }
        match self.poll_push(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                self.fail(&error);
                false
            }
            Poll::Pending => true,
        }
    }

    /// The pusher's whole life.
    fn poll_pusher(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.pusher_waker {
            Some(known) => known.clone_from(cx.waker()),
            unknown => *unknown = Some(cx.waker().clone()),
        }
        let pushed = ready!(self.poll_push(cx));
        match pushed {
            Ok(()) if self.stream.is_some() => {
                self.pusher = Pusher::Parked;
                self.wake_writer();
                Poll::Pending
            }
            Ok(()) => Poll::Ready(()),
            Err(error) => {
                self.out = BytesMut::new();
                self.pong = None;
                self.unflushed = false;
                self.fail(&error);
                // It is not spawned again: whoever comes finds the failure first.
                Poll::Ready(())
            }
        }
    }

    /// The link is gone: gives the connection back, and lets the pusher end.
    pub(crate) fn abandon(&mut self) -> Option<Stream> {
        let stream = self.stream.take();
        if let Some(waker) = self.pusher_waker.take() {
            waker.wake();
        }
        stream
    }
}

/// Counts what the socket took of a write, and when it is full bounds what it takes by what it carries.
fn note(pace: &mut Pace, stream: &Stream, written: &Poll<io::Result<usize>>) {
    match written {
        Poll::Ready(Ok(bytes)) => pace.took(*bytes),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => {
            if let Some(bytes) = pace.full(Instant::now(), NOTSENT_LOWAT_BYTES) {
                // It is no more than advice: a system that does not take it goes on with what it had.
                let _ = set_notsent_lowat(stream.tcp(), bytes);
            }
        }
    }
}
