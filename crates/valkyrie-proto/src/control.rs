//! Payloads of the small frames that steer a session: CREDIT, DRAIN, RESET and their like.

use bytes::{BufMut, Bytes, BytesMut};
use valkyrie_frame::{Class, ErrorCode, StreamId};

use crate::Failure;

/// One entry of a CREDIT frame: `stream u32 | limit u64`.
//= protocol/session.md#credit
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credit {
    /// All streams together, in bytes since the opening. Stream number 0.
    Connection(u64),
    /// How many streams may have been opened since the opening. Stream number 0xFFFFFFFF.
    Streams(u64),
    /// One stream, in bytes since it opened.
    Stream(StreamId, u64),
}

impl Credit {
    pub(crate) const LEN: usize = 12;

    pub(crate) fn encode(self, out: &mut BytesMut) {
        let (stream, limit) = match self {
            Self::Connection(limit) => (0, limit),
            Self::Streams(limit) => (u32::MAX, limit),
            Self::Stream(stream, limit) => (stream.value(), limit),
        };
        out.put_u32(stream);
        out.put_u64(limit);
    }

    /// The entries of a payload, or `None` when it is no whole number of them, or none at all.
    pub(crate) fn decode_all(payload: &[u8]) -> Option<impl Iterator<Item = Self> + '_> {
        let (entries, rest) = payload.as_chunks::<{ Self::LEN }>();
        (rest.is_empty() && !entries.is_empty()).then(|| {
            entries.iter().map(|&[a, b, c, d, limit @ ..]| {
                let limit = u64::from_be_bytes(limit);
                match u32::from_be_bytes([a, b, c, d]) {
                    0 => Self::Connection(limit),
                    u32::MAX => Self::Streams(limit),
                    stream => Self::Stream(StreamId::new(stream), limit),
                }
            })
        })
    }
}

/// The payload of ERROR, CLOSE and RESET of an exchange: `code u32 | retry_after_ms u32 | text`.
//= protocol/session.md#failure
pub(crate) fn encode_failure(failure: &Failure) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + failure.text.len().min(Failure::MAX_TEXT_BYTES));
    put_failure(failure, &mut out);
    out.freeze()
}

fn put_failure(failure: &Failure, out: &mut BytesMut) {
    out.put_u32(failure.code.value());
    out.put_u32(failure.retry_after_ms);
    let end = failure.text.floor_char_boundary(Failure::MAX_TEXT_BYTES);
    out.put_slice(&failure.text.as_bytes()[..end]);
}

/// Reads a failure; `None` when the payload is malformed. Text that is not UTF-8 is made so.
pub(crate) fn decode_failure(payload: &[u8]) -> Option<Failure> {
    let (code, rest) = payload.split_first_chunk::<4>()?;
    let (retry, text) = rest.split_first_chunk::<4>()?;
    if text.len() > Failure::MAX_TEXT_BYTES {
        return None;
    }
    Some(Failure {
        code: ErrorCode::new(u32::from_be_bytes(*code)),
        retry_after_ms: u32::from_be_bytes(*retry),
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// The payload of RESET of a stream: `final offset u64`, then a failure.
//= protocol/session.md#reset
pub(crate) fn encode_reset(final_offset: u64, failure: &Failure) -> Bytes {
    let mut out = BytesMut::with_capacity(16 + failure.text.len().min(Failure::MAX_TEXT_BYTES));
    out.put_u64(final_offset);
    put_failure(failure, &mut out);
    out.freeze()
}

/// Reads the payload of RESET of a stream.
pub(crate) fn decode_reset(payload: &[u8]) -> Option<(u64, Failure)> {
    let (offset, failure) = payload.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*offset), decode_failure(failure)?))
}

/// Reads a payload that is one u64: PING, PONG, STREAM_ACK.
pub(crate) fn decode_u64(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

/// The payload of DRAIN.
//= protocol/session.md#drain
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// When to come back, in milliseconds.
    pub(crate) retry_after_ms: u32,
    /// In the second phase, how many requests of each class have been looked at.
    pub(crate) processed: Option<[u64; Class::COUNT]>,
}

impl Drain {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(48);
        out.put_u32(if self.processed.is_some() { 2 } else { 1 });
        out.put_u32(self.retry_after_ms);
        for count in self.processed.iter().flatten() {
            out.put_u64(*count);
        }
        out.freeze()
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (phase, rest) = payload.split_first_chunk::<4>()?;
        let (retry, counts) = rest.split_first_chunk::<4>()?;
        let processed = match u32::from_be_bytes(*phase) {
            1 if counts.is_empty() => None,
            2 => {
                let (words, rest) = counts.as_chunks::<8>();
                let words: &[[u8; 8]; Class::COUNT] = words.try_into().ok()?;
                if !rest.is_empty() {
                    return None;
                }
                Some(words.map(u64::from_be_bytes))
            }
            _ => return None,
        };
        Some(Self {
            retry_after_ms: u32::from_be_bytes(*retry),
            processed,
        })
    }
}
