//! A run of captured bytes, read frame by frame as it comes.

use std::fmt;
use std::io::{self, Read};

use bytes::BytesMut;
use valkyrie::frame::{DecodeError, Frame, FrameRef, Header, MAX_PAYLOAD_BYTES};

/// Bytes of one direction of a connection. Holds one frame and one chunk at most.
pub(crate) struct Capture {
    input: Box<dyn Read>,
    pending: BytesMut,
    /// Where `pending` begins in the capture.
    offset: u64,
    ended: bool,
}

impl Capture {
    pub(crate) fn of_reader(input: Box<dyn Read>) -> Self {
        Self {
            input,
            pending: BytesMut::new(),
            offset: 0,
            ended: false,
        }
    }

    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self::of_reader(Box::new(io::Cursor::new(bytes)))
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the next frame, or the error in its place, is there without reading.
    pub(crate) fn has_whole_frame(&self) -> bool {
        !matches!(FrameRef::decode(&self.pending, MAX_PAYLOAD_BYTES), Ok(None))
    }

    /// The next frame, or `None` at the end.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        loop {
            let before = self.pending.len();
            match Frame::decode(&mut self.pending, MAX_PAYLOAD_BYTES) {
                Ok(Some(frame)) => {
                    self.offset += (before - self.pending.len()) as u64;
                    return Ok(Some(frame));
                }
                Ok(None) if !self.ended => self.read().map_err(CaptureError::Read)?,
                Ok(None) if self.pending.is_empty() => return Ok(None),
                Ok(None) => {
                    return Err(CaptureError::Incomplete {
                        offset: self.offset,
                        has: self.pending.len(),
                        header: Header::peek(&self.pending).ok().flatten(),
                    });
                }
                Err(error) => {
                    return Err(CaptureError::Refused {
                        offset: self.offset,
                        error,
                    });
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let filled = self.pending.len();
        self.pending.resize(filled + READ_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.pending[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.pending.truncate(filled + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(())
    }
}

/// Why a capture has no next frame. What was read before it stands.
#[derive(Debug)]
pub(crate) enum CaptureError {
    Read(io::Error),
    Refused {
        offset: u64,
        error: DecodeError,
    },
    Incomplete {
        offset: u64,
        has: usize,
        header: Option<Header>,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the input cannot be read: {error}"),
            Self::Refused { offset, error } => {
                write!(f, "the bytes at offset {offset} are no frame: {error}")
            }
            Self::Incomplete { offset, has, header } => {
                write!(f, "the bytes end within the frame at offset {offset}: it ")?;
                match header {
                    Some(header) => write!(f, "has {} bytes, and {has} are there", header.frame_len()),
                    None => write!(
                        f,
                        "needs {} bytes for its header, and {has} are there",
                        Header::LEN
                    ),
                }
            }
        }
    }
}

/// What a pipe holds on Linux.
const READ_BYTES: usize = 64 * 1024;
