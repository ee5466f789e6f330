//! Many frames on their way out, as one run of bytes to be written at once.

use alloc::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Header, HeaderError};

#[cfg(test)]
mod tests;

/// Payloads up to this many bytes are copied behind their header; longer ones are chained by
/// reference. Copying a kilobyte costs less than one more entry in a vectored write, copying two
/// costs more; the bench `codec` shows it under "copy or chain".
pub const COPY_THRESHOLD_BYTES: usize = 1024;

/// Encoded frames waiting for the wire, oldest first.
///
/// Small payloads lie behind their headers in one buffer, large ones are chained without a copy.
/// It is a [`Buf`]: write what [`Batch::chunks`] shows and then [`Buf::advance`] by what was taken.
#[derive(Debug, Default)]
pub struct Batch {
    /// Finished segments, written before `tail`.
    segments: VecDeque<Bytes>,
    /// Where the next header goes.
    tail: BytesMut,
    /// Bytes in `segments`.
    segment_bytes: usize,
}

impl Batch {
    /// An empty batch that encodes into `buffer`'s memory. What `buffer` held is gone.
    pub fn with_buffer(mut buffer: BytesMut) -> Self {
        buffer.clear();
        Self {
            segments: VecDeque::new(),
            tail: buffer,
            segment_bytes: 0,
        }
    }

    /// Gives the buffer back for use elsewhere.
    pub fn into_buffer(self) -> BytesMut {
        self.tail
    }

    /// Appends one frame. `header.length` and `header.extension_words` are set from what is given.
    ///
    /// # Errors
    /// The caller is at fault and the batch is unchanged: the payload is too long
    /// ([`HeaderError::Length`]), the extensions are no area of words
    /// ([`HeaderError::ExtensionArea`]), or the header contradicts itself.
    #[inline]
    pub fn push(&mut self, mut header: Header, extensions: &[u8], payload: Bytes) -> Result<(), HeaderError> {
        if payload.len() <= COPY_THRESHOLD_BYTES {
            return self.push_copied(header, extensions, &payload);
        }
        header.length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.push_head(header, extensions, 0)?;
        self.chain(payload);
        Ok(())
    }

    /// Appends one frame whose payload is copied in any case: for payloads that live on the stack.
    ///
    /// # Errors
    /// As [`Batch::push`].
    #[inline]
    pub fn push_copied(
        &mut self,
        mut header: Header,
        extensions: &[u8],
        payload: &[u8],
    ) -> Result<(), HeaderError> {
        header.length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.push_head(header, extensions, payload.len())?;
        self.tail.put_slice(payload);
        Ok(())
    }

    /// Appends whole frames that are encoded already.
    #[inline]
    pub fn extend_encoded(&mut self, frames: &[u8]) {
        self.tail.extend_from_slice(frames);
    }

    /// Appends header and extensions and makes room for `payload` bytes behind them.
    #[inline]
    fn push_head(
        &mut self,
        mut header: Header,
        extensions: &[u8],
        payload: usize,
    ) -> Result<(), HeaderError> {
        let (words, odd) = (extensions.len() / 4, extensions.len() % 4);
        header.extension_words = match u8::try_from(words) {
            Ok(words) if odd == 0 => words,
            _ => {
                return Err(HeaderError::ExtensionArea {
                    found: extensions.len(),
                });
            }
        };
        header.check()?;
        self.tail.reserve(Header::LEN + extensions.len() + payload);
        self.tail.put_slice(&header.encode());
        if !extensions.is_empty() {
            self.tail.put_slice(extensions);
        }
        Ok(())
    }

    /// Appends bytes of whole frames that are encoded already, without a copy where that costs less.
    pub fn extend_shared(&mut self, frames: Bytes) {
        if frames.len() <= COPY_THRESHOLD_BYTES {
            self.tail.extend_from_slice(&frames);
        } else {
            self.chain(frames);
        }
    }

    /// Where the next frame will begin, for [`Batch::since`]. Good until bytes are written, that is until
    /// [`Buf::advance`].
    #[inline]
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            segments: self.segments.len(),
            tail: self.tail.len(),
        }
    }

    /// What was appended since `mark`, in order: payloads that are chained by reference, and the bytes between.
    pub fn since(&self, mark: BatchMark) -> impl Iterator<Item = Appended<'_>> {
        let mut begin = mark.tail;
        let chained = self.segments.iter().skip(mark.segments).enumerate();
        let chained = chained.map(move |(place, segment)| {
            // The first of them is what was the tail at `mark`, heads and payloads take turns from there.
            let skipped = core::mem::take(&mut begin);
            if place % 2 == 0 {
                Appended::Copied(segment.get(skipped..).unwrap_or_default())
            } else {
                Appended::Chained(segment)
            }
        });
        let skipped = if self.segments.len() > mark.segments {
            0
        } else {
            mark.tail
        };
        let tail = Appended::Copied(self.tail.get(skipped..).unwrap_or_default());
        chained.chain(core::iter::once(tail))
    }

    fn chain(&mut self, payload: Bytes) {
        let head = self.tail.split().freeze();
        self.segment_bytes += head.len() + payload.len();
        self.segments.push_back(head);
        self.segments.push_back(payload);
    }

    /// Bytes not yet written.
    #[inline]
    pub fn len(&self) -> usize {
        self.segment_bytes + self.tail.len()
    }

    /// Whether everything has been written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unwritten bytes as slices, in order, none of them empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.segments
            .iter()
            .map(|segment| &segment[..])
            .chain(core::iter::once(&self.tail[..]))
            .filter(|chunk| !chunk.is_empty())
    }
}

/// A place in a [`Batch`], see [`Batch::mark`].
#[derive(Clone, Copy, Debug)]
pub struct BatchMark {
    segments: usize,
    tail: usize,
}

/// A part of what was appended to a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub enum Appended<'a> {
    /// Bytes in the batch's own buffer; may be empty.
    Copied(&'a [u8]),
    /// A payload that the batch refers to.
    Chained(&'a Bytes),
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.chunks().next().unwrap_or_default()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.segments.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.segment_bytes -= count;
                return;
            }
            count -= front.len();
            self.segment_bytes -= front.len();
            self.segments.pop_front();
        }
        self.tail.advance(count);
        // What was in front of `tail` comes back at the next `reserve`, which moves no byte when
        // all of it has been written.
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, out: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, chunk) in out.iter_mut().zip(self.chunks()) {
            *slot = std::io::IoSlice::new(chunk);
            count += 1;
        }
        count
    }
}
