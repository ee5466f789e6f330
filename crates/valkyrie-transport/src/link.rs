//! The contract of a link: bytes between exactly two peers.
//!
//! A link knows nothing of frames, sessions or classes. It is polled once for a batch, so being `dyn` costs nothing
//! that a message could feel.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::Capabilities;

/// One ordered byte stream within a [`Link`], counted from zero.
///
/// Most links have one lane. A link with more promises that a lane whose reader is slow, or whose packets were lost,
/// does not hold up the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

impl Lane {
    /// The lane that every link has.
    pub const FIRST: Lane = Lane(0);

    /// Refuses a lane that a link of `lanes` lanes does not have.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`]; the caller is at fault and the link is unchanged.
    pub fn check(self, lanes: u8) -> io::Result<()> {
        if self.0 < lanes {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            NoSuchLane { lane: self, lanes },
        ))
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// The caller named a lane that the link does not have. The link is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link has {lanes} lanes, counted from 0, and the caller asked for {lane}; the link is unchanged")]
pub struct NoSuchLane {
    /// The lane that was asked for.
    pub lane: Lane,
    /// How many lanes there are.
    pub lanes: u8,
}

/// Bytes between exactly two peers, in order, on one or more lanes.
///
/// Reading and writing are independent: a link must remember the waker of the last pending `poll_read` of each lane
/// and the waker of the last pending `poll_write` (or `poll_close`) of each lane separately, because a reader and a
/// writer task may hold the two ends of one link.
///
/// A lane that the link does not have is the caller's mistake and yields [`io::ErrorKind::InvalidInput`].
///
/// Dropping a link without [`Link::poll_close`] is an abrupt close: the peer sees the bytes that were already on their
/// way or not, and then an error or the end of input, but it never waits for ever.
pub trait Link: Send + 'static {
    /// What this link can do; constant for the life of the link.
    fn capabilities(&self) -> Capabilities;

    /// Who is at the other end, for people: `tcp 127.0.0.1:41234`.
    fn peer(&self) -> String;

    /// The address of the machine at the other end, where links of this kind have one. Bounds against abuse are kept
    /// by it; `None` for links within the machine.
    fn peer_address(&self) -> Option<IpAddr> {
        None
    }

    /// A secret that only the two ends of this very link have, for links that are encrypted themselves: the TLS
    /// exporter with label `EXPORTER-valkyrie-2` and no context. `None` where there is none.
    ///
    /// A link that gives one declares [`Capabilities::secure`], and gives the same bytes on both ends.
    //= protocol/security.md#bound-channels
    fn channel_binding(&self) -> Option<[u8; 32]> {
        None
    }

    /// Reads what is waiting, at most once, into the spare capacity of `buf`.
    ///
    /// Bytes are appended; what `buf` holds is untouched. A link reserves space (see [`reserve_for_read`]) only once
    /// bytes are known to be waiting, so an idle link holds no buffer. `Ok(n)` is the number of bytes appended and is
    /// at least 1; `Ok(0)` is the end of input on this lane, now and for every later call.
    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Writes as much of `bufs` as the link takes at once and says how many bytes that was.
    ///
    /// `Ok(n)` may be less than what was offered, and is at least 1 unless `bufs` holds no bytes. `Pending` means
    /// that nothing was taken. A link whose [`Capabilities::vectored`] is false may take the first non-empty buffer
    /// only. After [`Link::poll_close`] was called a write fails with [`io::ErrorKind::BrokenPipe`].
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Whether the last write that was `Pending` found the whole link full and not its lane alone, so that a write on another
    /// lane would have been as well, unless that lane has room of its own.
    ///
    /// Whoever divides a link among lanes needs to know: what it prepares for other lanes of a full link only waits there,
    /// and when there is room again each lane has something and its share is nobody's to decide.
    fn is_full(&self) -> bool {
        false
    }

    /// How many bytes a writer should prepare at a time when the last write found no room, where the link knows. Whatever comes next waits
    /// for them, and for as many again in the link, so it is what goes out in a moment.
    fn batch_bytes(&self) -> Option<usize> {
        None
    }

    /// Ends our direction on every lane: flushes what was written, then tells the peer that no more will come.
    ///
    /// Reading goes on until the peer ends its own direction. `Ready(Ok(()))` on every call after the first success.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Makes room in `buf` for one read, if there is not enough already.
///
/// Links call this when bytes are known to be waiting, and not before.
pub fn reserve_for_read(buf: &mut BytesMut) {
    if buf.capacity() - buf.len() < READ_SPARE_BYTES_MIN {
        buf.reserve(READ_CHUNK_BYTES);
    }
}

/// How much room a link makes for one read.
///
/// 64 KiB hold four of the largest default frames and hundreds of small messages, so a system call is shared by many.
/// A caller that sees larger frames makes more room itself.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// The spare room at which a buffer is good enough for a read as it is.
///
/// Below this a read would be cut so short that a burst of small messages costs more system calls than the one
/// reservation does.
pub const READ_SPARE_BYTES_MIN: usize = 4 * 1024;
