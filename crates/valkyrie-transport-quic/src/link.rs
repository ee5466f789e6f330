//! One QUIC connection as a link of five lanes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadError, RecvStream, WriteError};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use valkyrie_transport::tls::EXPORTER_LABEL;
use valkyrie_transport::{Capabilities, Lane, Link, READ_SPARE_BYTES_MIN, reserve_for_read};

use crate::config::Windows;
use crate::error::QuicError;
use crate::lanes::{Ended, LANES, LaneStream, LaneStreams, close_code};
use crate::options::SCHEME;

pub(crate) struct QuicLink {
    connection: Connection,
    lanes: LaneStreams,
    peer: SocketAddr,
    binding: Option<[u8; 32]>,
    ours: Ours,
    windows: Windows,
    /// How much was read while what the peer may have under way is still little, because nothing says that the link is
    /// wanted; `None` once something does.
    unproven: Option<usize>,
    /// The last write that found no room found none on the whole link.
    full: bool,
    /// That was found out by a byte, which the last write said it had taken.
    asked: bool,
    /// Acknowledgements that had come when it was found out. Without another nothing has changed.
    asked_at: u64,
}

/// Our direction, on all lanes.
enum Ours {
    Open,
    /// Finished, and waiting for the peer to acknowledge it all. Boxed once in the life of a link.
    Closing(Pin<Box<dyn Future<Output = Result<(), QuicError>> + Send>>),
    Closed(Result<(), QuicError>),
}

impl QuicLink {
    pub(crate) fn dialled(connection: Connection, lanes: LaneStreams, windows: Windows) -> Self {
        Self::new(connection, lanes, windows, None)
    }

    pub(crate) fn accepted(connection: Connection, lanes: LaneStreams, windows: Windows) -> Self {
        Self::new(connection, lanes, windows, Some(0))
    }

    fn new(connection: Connection, lanes: LaneStreams, windows: Windows, unproven: Option<usize>) -> Self {
        let mut binding = [0; 32];
        //= protocol/security.md#bound-channels
        let exported = connection.export_keying_material(&mut binding, EXPORTER_LABEL, b"");
        let remote = connection.remote_address();
        Self {
            // An IPv4 peer of a listener for both families is one peer, whichever family it came by.
            peer: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            binding: exported.is_ok().then_some(binding),
            connection,
            lanes,
            ours: Ours::Open,
            windows,
            unproven,
            full: false,
            asked: false,
            asked_at: 0,
        }
    }

    /// Somebody uses a lane beside the first, which comes after the handshake above, or has read more than one: what
    /// the peer may have under way is no longer little.
    fn used(&mut self, lane: Lane, read: usize) {
        let Some(before) = self.unproven else {
            return;
        };
        let read = before.saturating_add(read);
        if lane != Lane::FIRST || read > UNPROVEN_READ_BYTES_MAX {
            self.connection.set_receive_window(self.windows.receive);
            self.unproven = None;
        } else {
            self.unproven = Some(read);
        }
    }

    fn lane(&mut self, lane: Lane) -> io::Result<&mut LaneStream> {
        lane.check(LANES)?;
        self.lanes
            .get_mut(usize::from(lane.0))
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// A lane took nothing: is the link full, or does the peer not read this lane? The library does not say, but takes one more
    /// byte if it was for want of room that all lanes share. That byte counts as written, and the next write is not asked.
    fn ask(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<Poll<Result<usize, WriteError>>> {
        let acknowledgements = self.connection.stats().frame_rx.acks;
        if std::mem::take(&mut self.asked) || (self.full && self.asked_at == acknowledgements) {
            return Ok(Poll::Pending);
        }
        self.asked_at = acknowledgements;
        let Some(byte) = bufs.iter().find_map(|buf| buf.first_chunk::<1>()) else {
            return Ok(Poll::Pending);
        };
        let above = FIRST_LANE_RESERVE_BYTES + ASKING_BYTES;
        self.connection
            .set_send_window(self.windows.send.saturating_add(above));
        let polled = write(self.lane(lane)?, cx, &[IoSlice::new(byte)]);
        self.connection.set_send_window(self.windows.send);
        self.asked = matches!(polled, Poll::Ready(Ok(1)));
        self.full = self.asked;
        Ok(polled)
    }

    /// A lane that the peer reset or stopped: nothing on the link can be relied on after that.
    fn disputed(&self) -> io::Error {
        self.connection.close(close_code::LANES, b"");
        QuicError::WrongLanes.into()
    }
}

impl Link for QuicLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_lanes(LANES)
            .with_secure(true)
            .with_vectored(true)
            .with_local(self.peer.ip().to_canonical().is_loopback())
    }

    fn peer(&self) -> String {
        format!("{SCHEME} {}", self.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        Some(self.peer.ip())
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        self.binding
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(LANES)?;
        self.used(lane, 0);
        let stream = self.lane(lane)?;
        match stream.ended {
            Some(Ended::Finished) => return Poll::Ready(Ok(0)),
            Some(Ended::Reset) => return Poll::Ready(Err(QuicError::WrongLanes.into())),
            None => {}
        }
        let LaneStream { recv, waiter, .. } = stream;
        match ready!(waiter.poll(cx, |cx| read(recv, cx, buf))) {
            Ok(0) => {
                stream.ended = Some(Ended::Finished);
                Poll::Ready(Ok(0))
            }
            Ok(count) => {
                self.used(lane, count);
                Poll::Ready(Ok(count))
            }
            Err(ReadError::Reset(_)) => {
                stream.ended = Some(Ended::Reset);
                Poll::Ready(Err(self.disputed()))
            }
            Err(error) => Poll::Ready(Err(QuicError::from(error).into())),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(LANES)?;
        if !matches!(self.ours, Ours::Open) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.used(lane, 0);
        let polled = write(self.lane(lane)?, cx, bufs);
        let polled = match polled {
            // Critical frames and credit must not wait until the peer has acknowledged what other lanes took: they
            // have some room that nobody else gets.
            Poll::Pending if lane == Lane::FIRST => {
                self.connection
                    .set_send_window(self.windows.send.saturating_add(FIRST_LANE_RESERVE_BYTES));
                let polled = write(self.lane(lane)?, cx, bufs);
                self.connection.set_send_window(self.windows.send);
                polled
            }
            Poll::Pending => self.ask(cx, lane, bufs)?,
            Poll::Ready(written) => {
                (self.full, self.asked) = (false, false);
                Poll::Ready(written)
            }
        };
        match ready!(polled) {
            Ok(count) => Poll::Ready(Ok(count)),
            Err(WriteError::Stopped(_)) => Poll::Ready(Err(self.disputed())),
            Err(error) => Poll::Ready(Err(QuicError::from(error).into())),
        }
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Ours::Open = self.ours {
            self.lanes.iter_mut().for_each(LaneStream::finish);
            let acknowledged = self.lanes.each_ref().map(|lane| lane.send.stopped());
            self.ours = Ours::Closing(Box::pin(async move {
                let all = async {
                    for acknowledged in acknowledged {
                        match acknowledged.await.map_err(QuicError::from) {
                            // Having read everything to its end is more than having acknowledged it.
                            Ok(None) | Err(QuicError::Done) => {}
                            Ok(Some(_)) => return Err(QuicError::WrongLanes),
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(())
                };
                timeout(CLOSE_TIMEOUT, all)
                    .await
                    .unwrap_or(Err(QuicError::Silent))
            }));
        }
        if let Ours::Closing(acknowledged) = &mut self.ours {
            self.ours = Ours::Closed(ready!(acknowledged.as_mut().poll(cx)));
        }
        Poll::Ready(match &self.ours {
            Ours::Closed(Err(error)) => Err(error.clone().into()),
            _ => Ok(()),
        })
    }
}

impl Drop for QuicLink {
    fn drop(&mut self) {
        let all_read = self.lanes.iter().all(|lane| lane.ended == Some(Ended::Finished));
        let code = match all_read {
            true => close_code::DONE,
            false => close_code::DROPPED,
        };
        self.connection.close(code, b"");
    }
}

/// Writes as much of `bufs` as there is room for, in as few pieces as the library should look through.
fn write(
    stream: &mut LaneStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<Result<usize, WriteError>> {
    let mut pieces = Pieces::new(bufs);
    let mut taken = 0;
    while let Some(piece) = pieces.next() {
        let offered = piece.len();
        let mut piece = [piece];
        let polled = pin!(stream.send.write_chunks(&mut piece)).poll(cx);
        match polled {
            Poll::Ready(Ok(written)) => {
                taken += written.bytes;
                if written.bytes < offered {
                    break;
                }
            }
            // Whatever it is, it will be said again.
            _ if taken > 0 => break,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(taken))
}

/// Reads what is waiting into the spare room of `buf`, and makes room only when something is.
fn read(recv: &mut RecvStream, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<Result<usize, ReadError>> {
    let mut count = 0;
    if buf.capacity() - buf.len() < READ_SPARE_BYTES_MIN {
        // The library holds what has arrived already, and hands its first piece over without a buffer of ours.
        let first = ready!(pin!(recv.read_chunk(READ_SPARE_BYTES_MIN, true)).poll(cx))?;
        let Some(first) = first else {
            return Poll::Ready(Ok(0));
        };
        reserve_for_read(buf);
        buf.extend_from_slice(&first.bytes);
        count = first.bytes.len();
    }
    let rest = pin!(recv.read_buf(buf)).poll(cx);
    match rest {
        Poll::Ready(Ok(more)) => Poll::Ready(Ok(count + more)),
        // Whatever it is, it will be said again.
        _ if count > 0 => Poll::Ready(Ok(count)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(read_error(error))),
        Poll::Pending => Poll::Pending,
    }
}

/// The library's error, out of the one it is wrapped in.
fn read_error(error: io::Error) -> ReadError {
    error
        .into_inner()
        .and_then(|inner| inner.downcast::<ReadError>().ok())
        .map_or(ReadError::ClosedStream, |error| *error)
}

/// What is offered, as pieces that the library can keep until they are acknowledged.
///
/// It keeps what it is given, so bytes that are only lent must be copied: many small ones into one piece, which is one
/// allocation, however many messages there are, and few pieces for the library to look through.
struct Pieces<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Where in the first of `bufs` the next piece begins.
    at: usize,
    left: usize,
}

impl<'a, 'b> Pieces<'a, 'b> {
    fn new(bufs: &'a [IoSlice<'b>]) -> Self {
        let left = bufs.iter().map(|buf| buf.len()).sum();
        Self { bufs, at: 0, left }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut piece = Vec::with_capacity(self.left.min(PIECE_BYTES_MAX));
        while let [buf, rest @ ..] = self.bufs {
            let room = PIECE_BYTES_MAX - piece.len();
            let fresh = buf.get(self.at..).unwrap_or_default();
            match fresh.get(..room) {
                Some(fits) if fresh.len() > room => {
                    piece.extend_from_slice(fits);
                    self.at += room;
                    break;
                }
                _ => {
                    piece.extend_from_slice(fresh);
                    (self.bufs, self.at) = (rest, 0);
                }
            }
        }
        self.left -= piece.len();
        Some(Bytes::from(piece))
    }
}

/// The largest piece: 16 KiB. What does not fit the send window was copied for nothing, so a piece should be small
/// beside it; and the library gives the room of a piece back when all of it is acknowledged.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// How much the first lane may have under way when the other lanes have filled the send window: 64 KiB, a dozen of the
/// largest critical frames and the credit of hundreds of streams.
pub const FIRST_LANE_RESERVE_BYTES: u64 = 64 * 1024;

/// Bytes that may be taken beyond that to find out whether the link is full: one each time, and there are acknowledgements in
/// between.
const ASKING_BYTES: u64 = 1024;

/// What the peer of an accepted link may have under way, over all lanes, before the link is used: 64 KiB.
///
/// Links whose peer has not said yet who it is are held by the thousand under attack, and each may fill its window.
/// A link counts as used when a lane beside the first is read or written, or more than a handshake was read.
pub const FIRST_RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// More than any handshake of the protocol above has, all its messages together, and little beside the first window.
const UNPROVEN_READ_BYTES_MAX: usize = 16 * 1024;

/// How long closing waits for the peer to acknowledge what was written: as long as a peer may be silent by default. A full
/// send window passes in this time at 300 kbit/s.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
