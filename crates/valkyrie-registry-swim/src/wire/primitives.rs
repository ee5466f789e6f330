//! Numbers, lengths, counts and agents as they travel. Integers are big-endian.

use bytes::Bytes;
use valkyrie_registry::agent::{AgentId, Incarnation, Word};
use valkyrie_security::Fingerprint;

use super::{PACKET_BYTES_MAX, WireError};
use crate::Life;

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

    pub(super) fn word(&mut self, word: &Word) {
        // A word is far shorter than 256 bytes.
        self.u8(u8::try_from(word.as_str().len()).unwrap_or(u8::MAX));
        self.out.extend(word.as_str().as_bytes());
    }

    pub(super) fn agent(&mut self, id: &AgentId) {
        self.out.extend(id.owner().as_bytes());
        self.word(id.instance());
    }

    pub(super) fn life(&mut self, life: &Life) {
        self.agent(&life.id);
        self.u64(life.incarnation.number());
    }

    fn fault(&mut self, fault: WireError) {
        self.fault.get_or_insert(fault);
    }

    pub(super) fn finish(self) -> Result<Bytes, WireError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                short_enough("packet", self.out.len(), PACKET_BYTES_MAX)?;
                Ok(self.out.into())
            }
        }
    }
}

fn short_enough(what: &'static str, length: usize, max: usize) -> Result<(), WireError> {
    match length <= max {
        true => Ok(()),
        false => Err(WireError::TooLong { what, length, max }),
    }
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        short_enough("packet", bytes.len(), PACKET_BYTES_MAX)?;
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

    pub(super) fn word(&mut self, what: &'static str) -> Result<Word, WireError> {
        let length = usize::from(self.u8()?);
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Field(what))?;
        text.parse().map_err(|_| WireError::Field(what))
    }

    pub(super) fn agent(&mut self) -> Result<AgentId, WireError> {
        let owner = Fingerprint::from_bytes(self.array()?);
        let instance = self.word("instance of an agent")?;
        AgentId::new(owner, instance).map_err(|_| WireError::Field("instance of an agent"))
    }

    pub(super) fn life(&mut self) -> Result<Life, WireError> {
        Ok(Life {
            id: self.agent()?,
            incarnation: Incarnation::new(self.u64()?),
        })
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}
