//! A whole frame, and the way from bytes to frames.

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::{ExtensionError, Extensions, Header, HeaderError};

/// A decoded frame. Extensions and payload share the memory they arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The checked header.
    pub header: Header,
    /// The extension words, not yet looked into.
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
    ///
    /// # Errors
    /// [`DecodeError`]: the peer is at fault, `buf` is unchanged and holds no usable frame.
    pub fn decode(buf: &mut BytesMut, max_payload: u32) -> Result<Option<Self>, DecodeError> {
        let Some(header) = Header::peek(buf)? else {
            return Ok(None);
        };
        if header.length > max_payload {
            return Err(HeaderError::Length {
                found: header.length,
                max: max_payload,
            }
            .into());
        }
        let total = header.frame_len();
        let Some(frame) = buf.get(..total) else {
            return Ok(None);
        };
        Extensions::check(&header, &frame[Header::LEN..header.head_len()])?;
        let frame = buf.split_to(total).freeze();
        Ok(Some(Self {
            header,
            extensions: Extensions::from_checked(&header, frame.slice(Header::LEN..header.head_len())),
            payload: frame.slice(header.head_len()..),
        }))
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
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<ExtensionError> for DecodeError {
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

impl core::error::Error for DecodeError {}
