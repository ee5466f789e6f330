//! One WebSocket as a link of one lane.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use valkyrie_transport::{Capabilities, Lane, Link, READ_SPARE_BYTES_MIN, reserve_for_read};

use crate::error::LinkFault;
use crate::frame::{Close, Decoder, Event, Header, MessageKind, Opcode, Side, apply_mask, close_code};
use crate::stream::Stream;
use crate::wire::{End, Shared, Wire};

/// Who is at the other end, and what the link may say of itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) scheme: &'static str,
    /// What the dialler dialled, or where the dialler is.
    pub(crate) peer: String,
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
    /// Whether the ends of TLS are the ends of the link, as far as the options say.
    pub(crate) bind: bool,
}

#[derive(Debug)]
pub(crate) struct WsLink {
    about: About,
    binding: Option<[u8; 32]>,
    shared: Shared,
    /// The runtime of the socket: a caller that writes may be on another thread.
    runtime: Handle,
    decoder: Decoder,
    /// Bytes that came together with the end of the opening. Gone once they are read.
    early: BytesMut,
    /// The peer ended its direction.
    ended: bool,
    /// Our close has returned.
    closed: bool,
}

impl WsLink {
    /// A link on a connection whose opening is done. Must be called on a runtime.
    pub(crate) fn new(stream: Stream, early: BytesMut, about: About) -> Self {
        let binding = if about.bind {
            stream.channel_binding()
        } else {
            None
        };
        Self {
            binding,
            shared: Shared::new(stream, about.side),
            runtime: Handle::current(),
            decoder: Decoder::new(about.side),
            about,
            early,
            ended: false,
            closed: false,
        }
    }

    /// Sends what was queued.
    fn push(&self, wire: &mut Wire) {
        if wire.push_now() {
            self.shared.call_pusher(wire, &self.runtime);
        }
    }

    /// Makes sense of the bytes of `buf` from `start` on: payload stays, everything else goes. What goes wrong is left
    /// for the next read, so that bytes before it are delivered.
    fn digest(&mut self, wire: &mut Wire, buf: &mut BytesMut, start: usize) {
        let (mut at, mut kept) = (start, start);
        while at < buf.len() {
            let step = match self.decoder.decode(buf.get_mut(at..).unwrap_or_default()) {
                Ok(step) => step,
                Err(violation) => {
                    wire.fail_with(violation.into());
                    break;
                }
            };
            match step.event {
                Some(Event::Data {
                    kind: MessageKind::Text,
                    ..
                }) => {
                    wire.fail_with(LinkFault::Text);
                    break;
                }
                Some(Event::Data { .. }) if self.ended => {
                    wire.fail_with(LinkFault::AfterEnd);
                    break;
                }
                Some(Event::Data {
                    at: place,
                    ended,
                    message_bytes,
                    ..
                }) => {
                    let length = place.len();
                    if kept != at + place.start {
                        buf.copy_within(at + place.start..at + place.end, kept);
                    }
                    kept += length;
                    //= protocol/transports.md#end-of-a-direction
                    self.ended = ended && message_bytes == 0;
                    if self.ended && wire.end() == End::Ended {
                        wire.queue_close(close_code::NORMAL);
                    }
                }
                Some(Event::Ping(payload)) => wire.queue_pong(payload),
                Some(Event::Close(close)) => {
                    self.close_came(wire, close);
                    break;
                }
                Some(Event::Pong(_)) | None => {}
            }
            at += step.consumed;
        }
        buf.truncate(kept);
        self.push(wire);
    }

    /// The peer sends no more, whether it said so before or not.
    //= protocol/transports.md#close
    fn close_came(&mut self, wire: &mut Wire, close: Close) {
        let normal = matches!(
            close.code,
            None | Some(close_code::NORMAL | close_code::GOING_AWAY)
        );
        match close.code {
            Some(code) if !normal => wire.fail_with(LinkFault::Closed {
                code,
                reason: close.reason,
            }),
            _ => {
                self.ended = true;
                wire.queue_close(close_code::NORMAL);
            }
        }
    }

    /// One read of the connection into the room of `buf`.
    fn poll_receive(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            reserve_for_read(buf);
            let count = self.early.len().min(buf.capacity() - buf.len());
            buf.extend_from_slice(self.early.get(..count).unwrap_or_default());
            self.early.advance(count);
            if self.early.is_empty() {
                self.early = BytesMut::new();
            }
            return Poll::Ready(Ok(count));
        }
        let Some(stream) = &mut wire.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if buf.capacity() - buf.len() < READ_SPARE_BYTES_MIN {
            ready!(stream.poll_read_ready(cx))?;
            reserve_for_read(buf);
        }
        // The future keeps nothing between polls, so making one for each poll is the poll itself.
        pin!(stream.read_buf(buf)).poll(cx)
    }
}

impl Link for WsLink {
    fn capabilities(&self) -> Capabilities {
        // Never `local`: behind a proxy on this machine the peer may be anywhere.
        Capabilities::default()
            .with_vectored(true)
            .with_secure(self.binding.is_some())
            .with_max_write(Some(OUT_FRAME_BYTES_MAX))
    }

    fn peer(&self) -> String {
        format!("{} {}", self.about.scheme, self.about.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        // An IPv4 peer of a listener for both families is one peer, whichever family it came by.
        Some(self.about.address.ip().to_canonical())
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        self.binding
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        let shared = self.shared.clone();
        let mut wire = shared.lock();
        let (start, had_room) = (buf.len(), buf.capacity());
        for _ in 0..BARREN_READS_MAX {
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            wire.check()?;
            match self.poll_receive(&mut wire, cx, buf) {
                Poll::Ready(Ok(0)) => {
                    wire.fail_with(LinkFault::Cut);
                    return Poll::Ready(Err(LinkFault::Cut.into()));
                }
                Poll::Ready(Ok(_)) => self.digest(&mut wire, buf, start),
                Poll::Ready(Err(error)) => {
                    wire.fail(&error);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    if buf.is_empty() && buf.capacity() > had_room {
                        // Nothing of what came was for the caller; what was reserved for it is given back.
                        *buf = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
            if buf.len() > start {
                return Poll::Ready(Ok(buf.len() - start));
            }
        }
        // A peer that sends nothing but pings is not to keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
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
        let mut wire = self.shared.lock();
        wire.check()?;
        match wire.end() {
            End::Open => {}
            End::Ended => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            End::Closed => return Poll::Ready(Err(LinkFault::Gone.into())),
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        ready!(wire.poll_clear(cx));
        let written = match self.about.side {
            Side::Acceptor => write_plain(&mut wire, cx, bufs),
            Side::Dialler => write_masked(&mut wire, cx, bufs),
        };
        match ready!(written) {
            Ok(Written { taken, left }) => {
                if left {
                    self.shared.call_pusher(&mut wire, &self.runtime);
                }
                Poll::Ready(Ok(taken))
            }
            Err(error) => {
                wire.fail(&error);
                Poll::Ready(Err(error))
            }
        }
    }

    fn batch_bytes(&self) -> Option<usize> {
        let bytes = self.shared.lock().bound()?;
        Some(bytes as usize)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let mut wire = self.shared.lock();
        if wire.end() == End::Closed {
            // Whatever was to be said has been, by the peer or to it.
            self.closed = true;
            return Poll::Ready(Ok(()));
        }
        wire.check()?;
        if wire.end() == End::Open {
            wire.queue_end();
            if self.ended {
                wire.queue_close(close_code::NORMAL);
            }
            self.push(&mut wire);
        }
        ready!(wire.poll_clear(cx));
        wire.check()?;
        self.closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for WsLink {
    fn drop(&mut self) {
        drop(self.shared.lock().abandon());
    }
}

struct Written {
    taken: usize,
    left: bool,
}

/// One frame without a mask, from the caller's own buffers.
fn write_plain(wire: &mut Wire, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<Written>> {
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let mut taken = 0;
    let mut count = 1;
    for (piece, buf) in pieces
        .iter_mut()
        .skip(1)
        .zip(bufs.iter().filter(|buf| !buf.is_empty()))
    {
        let buf = buf.get(..OUT_FRAME_BYTES_MAX - taken).unwrap_or(buf);
        *piece = IoSlice::new(buf);
        taken += buf.len();
        count += 1;
        if taken == OUT_FRAME_BYTES_MAX {
            break;
        }
    }
    let header = Header::new(Side::Acceptor, Opcode::Binary, taken);
    if let Some(first) = pieces.first_mut() {
        *first = IoSlice::new(header.as_bytes());
    }
    let left = ready!(wire.poll_frame(cx, pieces.get_mut(..count).unwrap_or_default()))?;
    Poll::Ready(Ok(Written { taken, left }))
}

/// One frame with a mask, made in memory of the thread.
fn write_masked(wire: &mut Wire, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<Written>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let taken = total.min(OUT_FRAME_BYTES_MAX);
        let header = Header::new(Side::Dialler, Opcode::Binary, taken);
        scratch.clear();
        scratch.extend_from_slice(header.as_bytes());
        let end = scratch.len() + taken;
        let mut key = header.mask.unwrap_or_default();
        for buf in bufs {
            let buf = buf.get(..end - scratch.len()).unwrap_or(buf);
            // Masked as long as it is in the nearest cache.
            for piece in buf.chunks(MASKED_AT_ONCE_BYTES) {
                let at = scratch.len();
                scratch.extend_from_slice(piece);
                apply_mask(scratch.get_mut(at..).unwrap_or_default(), &mut key);
            }
        }
        let left = ready!(wire.poll_frame(cx, &mut [IoSlice::new(scratch)]))?;
        Poll::Ready(Ok(Written { taken, left }))
    })
}

thread_local! {
    /// Where a dialler masks, at most one frame; the thread's, so that idle links hold nothing.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The most payload of one frame that a link sends, and so of one write: one batch of an endpoint, which ends with the frame that
/// takes it past 128 KiB. What the system does not take of a frame is kept by the link, so this also bounds that.
pub const OUT_FRAME_BYTES_MAX: usize = (128 + 16 + 4) * 1024;

/// How much is copied before it is masked. A multiple of four, so that the key need not be turned.
const MASKED_AT_ONCE_BYTES: usize = 8 * 1024;

/// How many reads that bring no payload (pings, headers) one poll makes before others get their turn.
pub const BARREN_READS_MAX: usize = 16;

/// How many buffers one write takes, the header among them. Larger batches are taken in several writes.
const PIECES_MAX: usize = 64;
