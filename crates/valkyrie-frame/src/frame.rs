//! A whole frame, and the way from bytes to frames.

use core::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::{ExtensionError, Extensions, FrameRef, Header, HeaderError};

#[cfg(test)]
mod tests;

/// A decoded frame. Extensions and payload share the memory they arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The checked header.
    pub header: Header,
    /// The checked extension words.
    pub extensions: Extensions,
    /// The payload, exactly `header.length` bytes.
    pub payload: Bytes,
}

impl Frame {
    /// Takes the first frame out of `buf`, or `None` while it has not wholly arrived.
    ///
    /// Nothing is copied: extensions and payload are views of `buf`'s memory. Nothing is
    /// reserved either; a caller that wants the rest of a large frame in one piece reserves
    /// [`Header::frame_len`] itself once it has checked the length against its own limit.
    /// A payload or area without bytes holds on to no memory.
    ///
    /// A caller that looks at many small frames and keeps few of them is faster with
    /// [`Frames`](crate::Frames), which counts no references.
    ///
    /// # Errors
    /// [`DecodeError`]: the peer is at fault, `buf` is unchanged and holds no usable frame.
    #[inline]
    pub fn decode(buf: &mut BytesMut, max_payload: u32) -> Result<Option<Self>, DecodeError> {
        let Some((frame, _)) = FrameRef::decode(buf, max_payload)? else {
            return Ok(None);
        };
        let header = frame.header;
        buf.advance(Header::LEN);
        let raw = take(buf, header.head_len() - Header::LEN);
        Ok(Some(Self {
            header,
            extensions: Extensions::from_checked(&header, raw),
            payload: take(buf, header.length as usize),
        }))
    }
}

/// The first `len` bytes of `buf`, which has them. None at all must not keep the memory alive.
#[inline]
fn take(buf: &mut BytesMut, len: usize) -> Bytes {
    if len == 0 {
        Bytes::new()
    } else {
        buf.split_to(len).freeze()
    }
}

/// Why bytes are no frame. The peer that sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The header is at fault.
    Header(HeaderError),
    /// The extension area is at fault.
    Extension(ExtensionError),
}

impl From<HeaderError> for DecodeError {
    #[inline]
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<ExtensionError> for DecodeError {
    #[inline]
    fn from(error: ExtensionError) -> Self {
        Self::Extension(error)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Extension(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Header(error) => Some(error),
            Self::Extension(error) => Some(error),
        }
    }
}
