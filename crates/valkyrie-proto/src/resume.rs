//! What a session keeps so that it can go on over another link: counts of frames, and the frames themselves until the
//! peer has said that it has them.
//!
//! Nothing here decides when a session is resumed; `session/resume` does.
//!
//! Tokens are not made or checked here either: that takes a key and a hash, which are the owner's.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use valkyrie_frame::{Appended, Batch, BatchMark, COPY_THRESHOLD_BYTES, Class, Header, Kind, StreamId};

use crate::control::Credit;

/// Frames of each class, since the opening: sent, or received.
//= protocol/resume.md#counts
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; Class::COUNT]);

impl Counts {
    /// Bytes on the wire.
    pub const LEN: usize = 8 * Class::COUNT;

    fn encode(self, out: &mut BytesMut) {
        self.0.iter().for_each(|&count| out.put_u64(count));
    }

    /// The payload of RESUME_ACK.
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::LEN);
        self.encode(&mut out);
        out.freeze()
    }

    /// Reads counts; `None` when the payload is not as long as counts are.
    pub(crate) fn decode(mut payload: &[u8]) -> Option<Self> {
        (payload.len() == Self::LEN).then(|| Self(std::array::from_fn(|_| payload.get_u64())))
    }
}

/// The payload of RESUME: which session, with which right, and what has arrived of it.
//= protocol/resume.md#resuming
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The session, as its acceptor named it.
    pub session: [u8; SESSION_ID_LEN],
    /// Grows with every attempt.
    pub epoch: u64,
    /// Shows that the sender knows the session's secret.
    pub token: [u8; RESUME_TOKEN_LEN],
    /// What the dialler has received.
    pub received: Counts,
}

impl Resume {
    /// Bytes on the wire.
    pub const LEN: usize = SESSION_ID_LEN + 8 + RESUME_TOKEN_LEN + Counts::LEN;

    /// A RESUME with these parts; the session fills in its counts.
    pub fn new(session: [u8; SESSION_ID_LEN], epoch: u64, token: [u8; RESUME_TOKEN_LEN]) -> Self {
        Self {
            session,
            epoch,
            token,
            received: Counts::default(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::LEN);
        out.put_slice(&self.session);
        out.put_u64(self.epoch);
        out.put_slice(&self.token);
        self.received.encode(&mut out);
        out.freeze()
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (session, rest) = payload.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk()?;
        Some(Self {
            session: *session,
            epoch: u64::from_be_bytes(*epoch),
            token: *token,
            received: Counts::decode(rest)?,
        })
    }
}

/// The token is a secret's work and is not for logs.
impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume")
            .field("epoch", &self.epoch)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// The class that a frame is counted in, and whose lane it takes; `None` for those that are not counted.
//= protocol/resume.md#counts
#[inline]
pub(crate) fn counted_class(kind: Kind, stream: StreamId, payload: &[u8]) -> Option<Class> {
    if stream != StreamId::CONTROL {
        return Some(stream.class());
    }
    match kind {
        Kind::HELLO
        | Kind::HELLO_ACK
        | Kind::RESUME
        | Kind::RESUME_ACK
        | Kind::PING
        | Kind::PONG
        | Kind::ERROR
        | Kind::CLOSE => None,
        Kind::CREDIT => Some(credit_class(payload)),
        _ => Some(Class::Critical),
    }
}

/// The class of a CREDIT frame: that of its first entry.
pub(crate) fn credit_class(payload: &[u8]) -> Class {
    match Credit::decode_all(payload).and_then(|mut entries| entries.next()) {
        Some(Credit::Stream(stream, _)) => stream.class(),
        _ => Class::Critical,
    }
}

/// What a session that can be resumed counts and retains.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: Counts,
    /// What the peer has said that it has of it.
    acked: Counts,
    received: Counts,
    /// What we have told the peer that we have.
    told: Counts,
    /// Bytes received since then, counted frames only.
    untold_bytes: u64,
    /// Frames that the peer has not acknowledged. Put away while there are none.
    retained: Option<Box<[Retained; Class::COUNT]>>,
    retained_bytes: u64,
}

impl Ledger {
    pub(crate) const fn received(&self) -> Counts {
        self.received
    }

    pub(crate) const fn sent(&self) -> Counts {
        self.sent
    }

    pub(crate) const fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    pub(crate) const fn untold_bytes(&self) -> u64 {
        self.untold_bytes
    }

    /// Whether frames have come that the peer does not know to have arrived.
    pub(crate) fn owes(&self) -> bool {
        self.received != self.told
    }

    #[inline]
    pub(crate) fn note_received(&mut self, class: Class, frames: u64, bytes: u64) {
        self.received.0[class.index()] += frames;
        self.untold_bytes += bytes;
    }

    /// What to tell the peer now.
    pub(crate) fn tell(&mut self) -> Counts {
        self.told = self.received;
        self.untold_bytes = 0;
        self.received
    }

    /// Retains the frames of one class that were appended to `batch` since `mark`.
    #[inline]
    pub(crate) fn retain(&mut self, class: Class, frames: u32, batch: &Batch, mark: BatchMark) {
        if frames == 0 {
            return;
        }
        self.sent.0[class.index()] += u64::from(frames);
        let acked = self.acked;
        let retained = self.retained.get_or_insert_with(|| Retained::behind(acked));
        self.retained_bytes += retained[class.index()].keep(frames, batch, mark);
    }

    /// The peer has received so much. `false` when that cannot be.
    pub(crate) fn acknowledge(&mut self, counts: Counts) -> bool {
        let possible = |place: usize| (self.acked.0[place]..=self.sent.0[place]).contains(&counts.0[place]);
        if !(0..Class::COUNT).all(possible) {
            return false;
        }
        self.acked = counts;
        if let Some(retained) = &mut self.retained {
            for (retained, &count) in retained.iter_mut().zip(&counts.0) {
                self.retained_bytes -= retained.release(count);
            }
        }
        true
    }

    /// Gives back the memory of frames that have been let go of.
    pub(crate) fn shrink(&mut self) {
        if self.retained_bytes == 0 {
            self.retained = None;
        }
    }

    /// Appends retained frames of `class` from number `next` on, until `batch` holds `max_bytes`. Says which number
    /// comes next.
    pub(crate) fn replay(&self, class: Class, next: u64, batch: &mut Batch, max_bytes: usize) -> u64 {
        match &self.retained {
            Some(retained) => retained[class.index()].replay(next, batch, max_bytes),
            None => next,
        }
    }

    /// # Errors
    /// Words for people: what does not add up.
    pub(crate) fn invariants(&self) -> Result<(), String> {
        let mut bytes = 0;
        for place in 0..Class::COUNT {
            let Some(retained) = self.retained.as_ref().map(|retained| &retained[place]) else {
                continue;
            };
            bytes += retained.bytes();
            if retained.first + retained.frames() != self.sent.0[place] {
                return Err(format!(
                    "class {place} sent {} and retains from {}",
                    self.sent.0[place], retained.first
                ));
            }
            if retained.first > self.acked.0[place] {
                return Err(format!(
                    "class {place} let go of frames that were not acknowledged"
                ));
            }
            if self.acked.0[place] == self.sent.0[place] && retained.frames() > 0 {
                return Err(format!("class {place} retains what was acknowledged"));
            }
        }
        if self.retained.is_some() && bytes != self.retained_bytes {
            return Err(format!(
                "{} bytes are counted as retained and {bytes} are",
                self.retained_bytes
            ));
        }
        if self.retained.is_none() && self.acked != self.sent {
            return Err("frames that were not acknowledged are gone".into());
        }
        Ok(())
    }
}

/// Frames of one class, oldest first.
#[derive(Debug, Default)]
struct Retained {
    /// How many frames of the class came before those here.
    first: u64,
    chunks: VecDeque<Chunk>,
    /// The newest frames, behind those of `chunks`.
    open: BytesMut,
    open_frames: u64,
}

/// Whole frames.
#[derive(Debug)]
struct Chunk {
    frames: u64,
    bytes: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// In one piece.
    One(Bytes),
    /// Heads and large payloads by turns, as they were written.
    Parts(Box<[Bytes]>),
}

impl Retained {
    /// Nothing, where the peer has all that was sent.
    fn behind(acked: Counts) -> Box<[Self; Class::COUNT]> {
        Box::new(acked.0.map(|first| Self {
            first,
            ..Self::default()
        }))
    }

    fn frames(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.frames).sum::<u64>() + self.open_frames
    }

    fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>() + self.open.len() as u64
    }

    fn close_open(&mut self) {
        if self.open_frames > 0 {
            let bytes = self.open.split().freeze();
            self.chunks.push_back(Chunk {
                frames: self.open_frames,
                bytes: bytes.len() as u64,
                data: Data::One(bytes),
            });
            self.open_frames = 0;
        }
    }

    /// Says how many bytes were added.
    #[inline]
    fn keep(&mut self, frames: u32, batch: &Batch, mark: BatchMark) -> u64 {
        let mut parts = batch.since(mark);
        let Some(Appended::Copied(first)) = parts.next() else {
            return 0;
        };
        let Some(second) = parts.next() else {
            if self.open.len() + first.len() > CHUNK_BYTES {
                self.close_open();
            }
            self.open.extend_from_slice(first);
            self.open_frames += u64::from(frames);
            return first.len() as u64;
        };
        self.close_open();
        let all = [Appended::Copied(first), second].into_iter().chain(parts);
        let parts: Box<[Bytes]> = all
            .filter_map(|part| match part {
                Appended::Copied([]) => None,
                Appended::Copied(bytes) => Some(Bytes::copy_from_slice(bytes)),
                Appended::Chained(bytes) => Some(bytes.clone()),
            })
            .collect();
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.chunks.push_back(Chunk {
            frames: u64::from(frames),
            bytes,
            data: Data::Parts(parts),
        });
        bytes
    }

    /// Lets go of frames below `acked`; of a chunk only as a whole. Says how many bytes that were.
    fn release(&mut self, acked: u64) -> u64 {
        let mut bytes = 0;
        while let Some(chunk) = self.chunks.front()
            && self.first + chunk.frames <= acked
        {
            self.first += chunk.frames;
            bytes += chunk.bytes;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() && self.open_frames > 0 && self.first + self.open_frames <= acked {
            self.first += self.open_frames;
            bytes += self.open.len() as u64;
            self.open.clear();
            self.open_frames = 0;
        }
        bytes
    }

    fn replay(&self, mut next: u64, batch: &mut Batch, max_bytes: usize) -> u64 {
        let mut first = self.first;
        for chunk in &self.chunks {
            let end = first + chunk.frames;
            if next < end {
                if batch.len() >= max_bytes {
                    return next;
                }
                match &chunk.data {
                    Data::One(bytes) => {
                        batch.extend_shared(bytes.slice(skip_frames(bytes, next - first)..));
                    }
                    Data::Parts(parts) => replay_parts(parts, next - first, batch),
                }
                next = end;
            }
            first = end;
        }
        let end = first + self.open_frames;
        if next < end && batch.len() < max_bytes {
            batch.extend_encoded(&self.open[skip_frames(&self.open, next - first)..]);
            next = end;
        }
        next
    }
}

/// Appends a chunk in parts without its first `skipped` frames. Parts alternate, so that each frame's head lies in one
/// part and its payload there too or in the next.
fn replay_parts(parts: &[Bytes], mut skipped: u64, batch: &mut Batch) {
    let mut payload_left = 0;
    for part in parts {
        let mut begin = 0;
        if payload_left > 0 {
            // The payload of a skipped frame.
            begin = payload_left.min(part.len());
            payload_left -= begin;
        }
        while skipped > 0
            && let Ok(Some(header)) = Header::peek(part.get(begin..).unwrap_or_default())
        {
            let end = begin + header.frame_len();
            payload_left = end.saturating_sub(part.len());
            begin = end.min(part.len());
            skipped -= 1;
        }
        let rest = part.slice(begin..);
        if rest.len() > COPY_THRESHOLD_BYTES {
            batch.extend_shared(rest);
        } else {
            batch.extend_encoded(&rest);
        }
    }
}

/// How many bytes the first `frames` frames of `bytes` are.
fn skip_frames(bytes: &[u8], frames: u64) -> usize {
    let mut begin = 0;
    for _ in 0..frames {
        match Header::peek(bytes.get(begin..).unwrap_or_default()) {
            Ok(Some(header)) => begin += header.frame_len(),
            // We wrote them ourselves.
            _ => break,
        }
    }
    begin.min(bytes.len())
}

/// Bytes of a session's id.
pub const SESSION_ID_LEN: usize = 16;

/// Bytes of the token in RESUME.
pub const RESUME_TOKEN_LEN: usize = 32;

/// Small frames are gathered in chunks of this size: large enough that a chunk serves hundreds of them, small enough
/// that an acknowledgement lets go of most of what it covers.
const CHUNK_BYTES: usize = 16 * 1024;
