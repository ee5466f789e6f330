//! Frames read in place: the fastest way to look at many of them.
//!
//! [`Frame`] owns a share of the memory it arrived in, which costs a reference count up and down
//! for each. A [`FrameRef`] only points; what turns out to be worth keeping is shared or copied
//! by the one that keeps it.

use bytes::Bytes;

use crate::{DecodeError, Extensions, ExtensionsRef, Frame, Header, HeaderError};

#[cfg(test)]
mod tests;

/// A decoded frame that borrows the bytes it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// The checked header.
    pub header: Header,
    /// The checked extension words.
    pub extensions: ExtensionsRef<'a>,
    /// The payload, exactly `header.length` bytes.
    pub payload: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// Reads the frame at the front of `bytes` and what follows it, or `None` while the frame has
    /// not wholly arrived. A length over `max_payload` is refused as soon as the header is there.
    ///
    /// # Errors
    /// [`DecodeError`]: the peer is at fault and the bytes hold no usable frame.
    #[inline]
    pub fn decode(bytes: &'a [u8], max_payload: u32) -> Result<Option<(Self, &'a [u8])>, DecodeError> {
        let Some(header) = Header::peek(bytes)? else {
            return Ok(None);
        };
        if header.length > max_payload {
            return Err(HeaderError::Length {
                found: header.length,
                max: max_payload,
            }
            .into());
        }
        let Some((frame, rest)) = bytes.split_at_checked(header.frame_len()) else {
            return Ok(None);
        };
        let (head, payload) = frame.split_at(header.head_len());
        let extensions = ExtensionsRef::new(&header, &head[Header::LEN..])?;
        Ok(Some((
            Self {
                header,
                extensions,
                payload,
            },
            rest,
        )))
    }

    /// Turns the view into a frame of its own that shares the memory of `owner`.
    ///
    /// # Panics
    /// When the frame was not decoded from `owner`'s bytes; see [`Bytes::slice_ref`].
    #[inline]
    pub fn to_frame(&self, owner: &Bytes) -> Frame {
        Frame {
            header: self.header,
            extensions: Extensions::from_checked(&self.header, owner.slice_ref(self.extensions.as_bytes())),
            payload: owner.slice_ref(self.payload),
        }
    }
}

/// The frames at the front of a run of bytes, one after the other.
///
/// The iterator ends at the first frame that has not wholly arrived; [`Frames::rest`] are then the
/// bytes to keep for later. After an error it yields nothing more and `rest` begins with the
/// frame at fault, since a byte stream is never searched for the next frame.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    max_payload: u32,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// Reads frames with payloads of at most `max_payload` bytes from the front of `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8], max_payload: u32) -> Self {
        Self {
            rest: bytes,
            max_payload,
            failed: false,
        }
    }

    /// The bytes behind the frames yielded so far.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<FrameRef<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match FrameRef::decode(self.rest, self.max_payload) {
            Ok(Some((frame, rest))) => {
                self.rest = rest;
                Some(Ok(frame))
            }
            Ok(None) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl core::iter::FusedIterator for Frames<'_> {}
