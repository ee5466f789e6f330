//! Runs: small messages that are kept as the frames they travel in.
//!
//! Most messages are small, and most cost of a small message is bookkeeping. So a sender encodes
//! them one behind the other when they are queued, and a whole run goes out with one copy, one
//! look at the credit and one turn of the scheduler; a receiver keeps a run of one stream's
//! messages as the bytes that arrived and takes them apart when they are read.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use valkyrie_frame::{Extensions, Flags, Header, Kind};

use crate::Message;

/// Messages with payloads up to this many bytes join a run. The same size up to which a batch
/// copies payloads: a longer one is better chained by reference.
pub(crate) const RUN_PAYLOAD_MAX: usize = valkyrie_frame::COPY_THRESHOLD_BYTES;

/// A run is closed at this size, so that it is about one turn of the scheduler.
pub(crate) const RUN_BYTES_MAX: usize = 16 * 1024;

/// Encoded frames of one stream on their way out, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Run {
    bytes: BytesMut,
    frames: u32,
    /// How many of them are requests.
    requests: u32,
    /// How many of them are answers.
    answers: u32,
}

/// What left a run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: usize,
    pub(crate) frames: u32,
    pub(crate) requests: u32,
}

impl Run {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a frame of `cost` bytes still belongs into this run.
    #[inline]
    pub(crate) fn has_room(&self, cost: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + cost <= RUN_BYTES_MAX
    }

    /// Appends one frame. `hint` is how large a run is expected to become.
    #[inline]
    pub(crate) fn push(&mut self, mut header: Header, extensions: &Extensions, payload: &[u8], hint: usize) {
        let area = extensions.as_bytes();
        let cost = Header::LEN + area.len() + payload.len();
        header.length = payload.len() as u32;
        header.extension_words = (area.len() / 4) as u8;
        if self.bytes.capacity() - self.bytes.len() < cost {
            self.bytes.reserve(cost.max(hint));
        }
        self.bytes.put_slice(&header.encode());
        if !area.is_empty() {
            self.bytes.put_slice(area);
        }
        self.bytes.put_slice(payload);
        self.frames += 1;
        match header.kind {
            Kind::REQUEST => self.requests += 1,
            Kind::RESPONSE => self.answers += 1,
            _ => {}
        }
    }

    /// How many whole frames fit `budget`, stopping at the first that reaches `room`; the bytes
    /// and counts of those.
    pub(crate) fn prefix(&self, budget: usize, room: usize) -> Taken {
        if self.bytes.len() <= budget.min(room) {
            return Taken {
                bytes: self.bytes.len(),
                frames: self.frames,
                requests: self.requests,
            };
        }
        let mut taken = Taken::default();
        for header in headers(&self.bytes) {
            let len = header.frame_len();
            if taken.bytes + len > budget {
                break;
            }
            taken.bytes += len;
            taken.frames += 1;
            taken.requests += u32::from(header.kind == Kind::REQUEST);
            if taken.bytes >= room {
                break;
            }
        }
        taken
    }

    /// The frames that `prefix` found, and the correlations of the answers among them.
    pub(crate) fn front(&self, taken: Taken) -> &[u8] {
        &self.bytes[..taken.bytes]
    }

    /// Calls `each` with the correlation of every answer in the prefix.
    #[inline]
    pub(crate) fn answers(&self, taken: Taken, mut each: impl FnMut(u32)) -> u32 {
        if self.answers == 0 {
            return 0;
        }
        let mut count = 0;
        for header in headers(self.front(taken)) {
            if header.kind == Kind::RESPONSE {
                each(header.correlation);
                count += 1;
            }
        }
        count
    }

    /// Forgets a prefix that has gone out.
    #[inline]
    pub(crate) fn advance(&mut self, taken: Taken, answers: u32) {
        self.frames -= taken.frames;
        self.requests -= taken.requests;
        self.answers -= answers;
        if taken.bytes == self.bytes.len() {
            if self.bytes.capacity() > RUN_KEEP_BYTES {
                self.bytes = BytesMut::new();
            } else {
                self.bytes.clear();
            }
        } else {
            self.bytes.advance(taken.bytes);
        }
    }
}

/// The headers of encoded frames.
fn headers(mut bytes: &[u8]) -> impl Iterator<Item = Header> + '_ {
    core::iter::from_fn(move || {
        // What is in a run was encoded or checked before, so it decodes.
        let header = Header::peek(bytes).ok()??;
        bytes = bytes.get(header.frame_len()..)?;
        Some(header)
    })
}

/// How many bytes at the front of `input` are whole frames that continue a run begun by `first`:
/// small messages of the same kind on the same stream with the same flags and nothing else.
#[inline]
pub(crate) fn run_len(input: &[u8], first: &Header) -> (usize, u64) {
    let (mut end, mut frames) = (0, 0);
    let Some(pattern) = input.get(..PATTERN_BYTES) else {
        return (0, 0);
    };
    while let Some(head) = input.get(end..end + Header::LEN) {
        let (front, rest) = head.split_at(PATTERN_BYTES);
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *rest else {
            break;
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if front != pattern || length > RUN_PAYLOAD_MAX || [c0, c1, c2, c3] != [0; 4] {
            break;
        }
        let next = end + Header::LEN + length;
        if next > input.len() {
            break;
        }
        end = next;
        frames += 1;
    }
    debug_assert!(frames == 0 || is_run(first));
    (end, frames)
}

/// Whether a frame may begin a run on the receiving side.
#[inline]
pub(crate) fn is_run(header: &Header) -> bool {
    header.kind == Kind::DATA
        && header.flags == Flags::NONE
        && header.extension_words == 0
        && header.correlation == 0
        && header.length as usize <= RUN_PAYLOAD_MAX
}

/// Takes the first message off a run that arrived.
#[inline]
pub(crate) fn pop_message(run: &mut Bytes) -> Option<Message> {
    let header = Header::peek(run).ok()??;
    let mut frame = run.split_to(header.frame_len().min(run.len()));
    frame.advance(header.head_len().min(frame.len()));
    Some(Message {
        kind: header.kind,
        extensions: Extensions::EMPTY,
        payload: frame,
    })
}

/// Bytes of a header before its length: the part that is equal all through a run.
const PATTERN_BYTES: usize = 12;

/// A sent run keeps its memory up to this size; an idle stream should own next to nothing.
const RUN_KEEP_BYTES: usize = 1024;
