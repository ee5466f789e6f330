//! What the payloads of registries and of members are written in and read from: numbers, lengths, counts, words and agents. Integers are
//! big-endian.
//!
//! Every length and count is compared with the most that is allowed before memory is taken for it. What the parts make up together is for whoever
//! speaks: `valkyrie-registry-remote` and `valkyrie-registry-swim`. Records have a form of their own ([`crate::record`]).

use bytes::Bytes;
use valkyrie_security::Fingerprint;

use crate::agent::{AgentId, Word};
use crate::store::TxnError;

/// What has been written so far, and what could not be.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    fault: Option<WireError>,
}

impl Writer {
    /// One byte.
    pub fn u8(&mut self, number: u8) {
        self.out.push(number);
    }

    /// Eight bytes.
    pub fn u64(&mut self, number: u64) {
        self.out.extend(number.to_be_bytes());
    }

    /// One byte, 0 or 1.
    pub fn flag(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    /// How many of something follow, in two bytes.
    pub fn count(&mut self, what: &'static str, count: usize, max: usize) {
        match u16::try_from(count) {
            Ok(short) if count <= max => self.out.extend(short.to_be_bytes()),
            _ => self.fault(WireError::TooMany { what, count, max }),
        }
    }

    /// Bytes behind a length of two.
    pub fn long(&mut self, what: &'static str, bytes: &[u8], max: usize) {
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

    /// A word behind a length of one.
    pub fn word(&mut self, word: &Word) {
        // A word is far shorter than 256 bytes.
        self.u8(u8::try_from(word.as_str().len()).unwrap_or(u8::MAX));
        self.out.extend(word.as_str().as_bytes());
    }

    /// The fingerprint of an agent's owner, and its instance.
    pub fn agent(&mut self, id: &AgentId) {
        self.out.extend(id.owner().as_bytes());
        self.word(id.instance());
    }

    fn fault(&mut self, fault: WireError) {
        self.fault.get_or_insert(fault);
    }

    /// All of it, a `what` of at most `max` bytes.
    ///
    /// # Errors
    /// [`WireError`]: it is longer, or a part of it was more than may be. Whoever put it together is at fault.
    pub fn finish(self, what: &'static str, max: usize) -> Result<Bytes, WireError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                short_enough(what, self.out.len(), max)?;
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

/// What is left to read. An error of its functions is whoever wrote the bytes' fault, and nothing more should be read after one.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A `what` of at most `max` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`].
    pub fn new(what: &'static str, bytes: &'a [u8], max: usize) -> Result<Self, WireError> {
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

    /// As [`Writer::u8`] wrote it.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// As [`Writer::u64`] wrote it.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// As [`Writer::flag`] wrote it.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, or neither 0 nor 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Field(what)),
        }
    }

    /// As [`Writer::count`] wrote it.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, or more than `max`.
    pub fn count(&mut self, what: &'static str, max: usize) -> Result<usize, WireError> {
        let count = usize::from(self.array().map(u16::from_be_bytes)?);
        match count <= max {
            true => Ok(count),
            false => Err(WireError::TooMany { what, count, max }),
        }
    }

    /// As [`Writer::long`] wrote it.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, or longer than `max`.
    pub fn long(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], WireError> {
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        short_enough(what, length, max)?;
        self.take(length)
    }

    /// The same, where it is text.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, longer than `max`, or no text.
    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.long(what, max)?).map_err(|_| WireError::Field(what))
    }

    /// As [`Writer::word`] wrote it.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, or no word.
    pub fn word(&mut self, what: &'static str) -> Result<Word, WireError> {
        let length = usize::from(self.u8()?);
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Field(what))?;
        text.parse().map_err(|_| WireError::Field(what))
    }

    /// As [`Writer::agent`] wrote it.
    ///
    /// # Errors
    /// [`WireError`]: it is cut short, or its instance is none.
    pub fn agent(&mut self) -> Result<AgentId, WireError> {
        let owner = Fingerprint::from_bytes(self.array()?);
        let instance = self.word("instance of an agent")?;
        AgentId::new(owner, instance).map_err(|_| WireError::Field("instance of an agent"))
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn end(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}

/// A payload or a packet breaks a rule. Nothing of it was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends in the middle of something.
    #[error("it ends in the middle of something")]
    Truncated,
    /// Something follows its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// It, or a part of it, is longer than any may be.
    #[error("the {what} has {length} bytes, and at most {max} are allowed")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// More of something than there may be.
    #[error("there are {count} {what}, and at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A part is not what it should be.
    #[error("the {0} is none")]
    Field(&'static str),
    /// A transaction that no store takes.
    #[error("{0}")]
    Txn(#[from] TxnError),
}
