//! LOG: bytes of a job's log, and how far they have arrived. Binary, because it is nearly all data.
//!
//! ```text
//! offset  0        1       2      4     8     16        20      24       32
//!         version  stream  step   job   run   attempt   flags   offset   bytes …
//!         u8       u8      u16    u32   u64   u32       u32     u64
//! ```
//! Big-endian, like the frame around it.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::error::WireError;
use super::job::JobRef;
use crate::log::{LogRecord, Stream};
use crate::pipeline::JobIndex;
use crate::schedule::Attempt;

/// Bytes before the log bytes.
pub const LOG_HEADER_BYTES: usize = 32;
/// Log bytes in one frame: what one read of a pipe yields.
pub const LOG_PAYLOAD_BYTES_MAX: usize = 64 << 10;

const VERSION: u8 = 1;
const FLAG_END: u32 = 1;
const FLAG_ACK: u32 = 2;
const FLAG_REWIND: u32 = 4;

/// What a LOG frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFrame {
    /// Bytes. From runner to server, and from server to watcher.
    Data {
        /// Whose.
        at: JobRef,
        /// The bytes and their place. Its job is `at.job`.
        record: LogRecord,
    },
    /// The log is complete: it has `offset` bytes. In the direction of the data.
    End {
        /// Whose.
        at: JobRef,
        /// Bytes in all.
        offset: u64,
    },
    /// Every byte below `offset` is kept. Against the direction of the data.
    Ack {
        /// Whose.
        at: JobRef,
        /// Bytes kept.
        offset: u64,
    },
    /// Bytes from `offset` on are missing; send again from there. Against the direction of the data.
    Rewind {
        /// Whose.
        at: JobRef,
        /// The first missing byte.
        offset: u64,
    },
}

impl LogFrame {
    /// The payload.
    ///
    /// # Errors
    /// [`WireError::Log`] when a record has more than [`LOG_PAYLOAD_BYTES_MAX`] bytes, or none.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let (at, flags, offset, record) = match self {
            Self::Data { at, record } => (at, 0, record.offset, Some(record)),
            Self::End { at, offset } => (at, FLAG_END, *offset, None),
            Self::Ack { at, offset } => (at, FLAG_ACK, *offset, None),
            Self::Rewind { at, offset } => (at, FLAG_REWIND, *offset, None),
        };
        let bytes = record.map_or(&[][..], |record| &record.bytes);
        check_bytes(flags, bytes.len())?;
        let mut out = BytesMut::with_capacity(LOG_HEADER_BYTES + bytes.len());
        out.put_u8(VERSION);
        out.put_u8(record.map_or(0, |record| record.stream as u8));
        out.put_u16(record.map_or(0, |record| record.step));
        out.put_u32(at.job.0);
        out.put_u64(at.run);
        out.put_u32(at.attempt.0);
        out.put_u32(flags);
        out.put_u64(offset);
        out.put_slice(bytes);
        Ok(out.freeze())
    }

    /// Reads a payload. Log bytes are not copied.
    ///
    /// # Errors
    /// [`WireError::Log`]; the frame is to be ignored, and what it held will be sent again.
    pub fn decode(payload: &Bytes) -> Result<Self, WireError> {
        let header: &[u8; LOG_HEADER_BYTES] = payload
            .first_chunk()
            .ok_or(WireError::Log("shorter than its header"))?;
        if header[0] != VERSION {
            return Err(WireError::Log("unknown version"));
        }
        let number = |from: usize, to: usize| {
            header[from..to]
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        // The ranges are two and four bytes, so the numbers fit.
        let small = |from: usize, to: usize| u32::try_from(number(from, to)).unwrap_or(u32::MAX);
        let at = JobRef {
            run: number(8, 16),
            job: JobIndex(small(4, 8)),
            attempt: Attempt(small(16, 20)),
        };
        let (flags, offset) = (small(20, 24), number(24, 32));
        let bytes = payload.slice(LOG_HEADER_BYTES..);
        check_bytes(flags, bytes.len())?;
        match flags {
            0 => {
                let stream = Stream::from_code(header[1]).ok_or(WireError::Log("unknown stream"))?;
                let step = u16::from_be_bytes([header[2], header[3]]);
                if offset.checked_add(bytes.len() as u64).is_none() {
                    return Err(WireError::Log("offset beyond all numbers"));
                }
                Ok(Self::Data {
                    at,
                    record: LogRecord {
                        job: at.job,
                        step,
                        stream,
                        offset,
                        bytes,
                    },
                })
            }
            FLAG_END => Ok(Self::End { at, offset }),
            FLAG_ACK => Ok(Self::Ack { at, offset }),
            FLAG_REWIND => Ok(Self::Rewind { at, offset }),
            _ => Err(WireError::Log("unknown flags")),
        }
    }
}

fn check_bytes(flags: u32, length: usize) -> Result<(), WireError> {
    match (flags, length) {
        (0, 0) => Err(WireError::Log("data without bytes")),
        (0, 1..=LOG_PAYLOAD_BYTES_MAX) | (1.., 0) => Ok(()),
        (0, _) => Err(WireError::Log("more bytes than fit in one frame")),
        _ => Err(WireError::Log("bytes where none belong")),
    }
}
