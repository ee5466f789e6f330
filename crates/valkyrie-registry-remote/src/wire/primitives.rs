//! Numbers, lengths and counts as they travel. Integers are big-endian.

use bytes::Bytes;

use super::{MESSAGE_BYTES_MAX, WireError};

/// What has been written so far, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    fault: Option<WireError>,
}

impl Writer {
    pub(super) fn u8(&mut self, number: u8) {
        self.out.push(number);
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.out.extend(number.to_be_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    /// How many of something follow, in two bytes.
    pub(super) fn count(&mut self, what: &'static str, count: usize, max: usize) {
        match u16::try_from(count) {
            Ok(short) if count <= max => self.out.extend(short.to_be_bytes()),
            _ => self.fault(WireError::TooMany { what, count, max }),
        }
    }

    /// Bytes behind a length of two.
    pub(super) fn long(&mut self, what: &'static str, bytes: &[u8], max: usize) {
        match u16::try_from(bytes.len()) {
            Ok(short) if bytes.len() <= max => {
                self.out.extend(short.to_be_bytes());
                self.out.extend(bytes);
            }
            _ => self.fault(WireError::TooLong {
                what,
                length: bytes.len(),
                max,
            }),
        }
    }

    fn fault(&mut self, fault: WireError) {
        self.fault.get_or_insert(fault);
    }

    /// The bytes, if all could be written and they are no more than a message may have.
    pub(super) fn finish(self) -> Result<Bytes, WireError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                short_enough("message", self.out.len(), MESSAGE_BYTES_MAX)?;
                Ok(self.out.into())
            }
        }
    }
}

pub(super) fn short_enough(what: &'static str, length: usize, max: usize) -> Result<(), WireError> {
    match length <= max {
        true => Ok(()),
        false => Err(WireError::TooLong { what, length, max }),
    }
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8], max: usize) -> Result<Self, WireError> {
        short_enough(what, bytes.len(), max)?;
        Ok(Self(bytes))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Truncated)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Field(what)),
        }
    }

    pub(super) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, WireError> {
        let count = usize::from(self.array().map(u16::from_be_bytes)?);
        match count <= max {
            true => Ok(count),
            false => Err(WireError::TooMany { what, count, max }),
        }
    }

    pub(super) fn long(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], WireError> {
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        short_enough(what, length, max)?;
        self.take(length)
    }

    pub(super) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.long(what, max)?).map_err(|_| WireError::Field(what))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}
