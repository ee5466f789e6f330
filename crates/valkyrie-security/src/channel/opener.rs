//! The receiving half of a channel: records in, bytes out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use thiserror::Error;
use valkyrie_frame::ErrorCode;

use super::ChannelStats;
use super::control::{self, Control, Said};
use super::keys::EpochKeys;
use super::record::{Content, RECORD_HEADER_BYTES, RECORD_TAG_BYTES, RecordHeader, unpadded_len};

/// Opens what the other side sent.
///
/// The first failure ends it: every later call fails in the same way, whatever it is given.
#[derive(Debug)]
pub struct Opener {
    keys: EpochKeys,
    /// The number that the next record of the epoch must have been sealed with.
    number: u64,
    /// When the peer rekeyed, as far as it still matters. Empty most of the time.
    rekeys: VecDeque<Instant>,
    fault: Option<OpenError>,
    stats: ChannelStats,
}

/// How far a buffer has come that is opened where it lies, see [`Opener::open_within`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Bytes at the front of the buffer that are opened.
    pub plain: usize,
    /// Where in the buffer begins what is still sealed; at or behind the end of `plain`. What is between says nothing.
    pub sealed: usize,
}

impl Opener {
    /// How many rekeys within [`Opener::REKEYS_WITHIN`] a peer may ask for.
    //= protocol/security.md#rekey
    pub const REKEYS_MAX: usize = 64;

    /// See [`Opener::REKEYS_MAX`].
    pub const REKEYS_WITHIN: Duration = Duration::from_secs(10);

    pub(super) fn new(keys: EpochKeys) -> Self {
        Self {
            keys,
            number: 0,
            rekeys: VecDeque::new(),
            fault: None,
            stats: ChannelStats::default(),
        }
    }

    /// Opens the whole records at the front of `input`, takes them out of it and appends their data to `plain`.
    ///
    /// It stops behind a control record that is for the handshake and gives it; the caller calls again. `None` says
    /// that what is left in `input`, if anything, is the beginning of a record.
    ///
    /// # Errors
    /// [`OpenError`], the peer's fault or that of somebody on the path. `plain` then ends with the last record that
    /// was good, `input` begins with the one that was not, and the opener is closed.
    pub fn open(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<Option<Control>, OpenError> {
        loop {
            let (used, control) = self.open_next(now, input, plain)?;
            if used == 0 {
                return Ok(None);
            }
            input.advance(used);
            if control.is_some() {
                return Ok(control);
            }
        }
    }

    /// Opens the record at the front of `input`, whose memory is left alone, and appends its data to `plain`. Gives
    /// the length of the record, 0 when `input` has less than all of it, and what it said when it was a control
    /// record for the handshake.
    ///
    /// Each byte of the header is read once, so `input` may be memory that the peer can write to.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn open_next(
        &mut self,
        now: Instant,
        input: &[u8],
        plain: &mut BytesMut,
    ) -> Result<(usize, Option<Control>), OpenError> {
        self.guarded(|opener| {
            let Some((&head, body)) = input.split_first_chunk::<RECORD_HEADER_BYTES>() else {
                return Ok((0, None));
            };
            let header = RecordHeader::decode(head, opener.keys.epoch_byte())?;
            let Some(sealed) = body.get(..header.length) else {
                return Ok((0, None));
            };
            let start = plain.len();
            let opened = opener.open_to(head, sealed, plain);
            let said = opened.and_then(|()| {
                let end = opener.admit(now, header, plain.get(start..).unwrap_or_default())?;
                Ok((start + end.0, end.1))
            });
            match said {
                Ok((end, control)) => {
                    plain.truncate(end);
                    Ok((RECORD_HEADER_BYTES + header.length, control))
                }
                Err(error) => {
                    plain.truncate(start);
                    Err(error)
                }
            }
        })
    }

    /// Opens the whole records of `buffer` where they lie: their data go behind the `plain` bytes at its front, in one piece, and
    /// `at` moves on. What is opened so is copied nowhere, which on many processors is worth a tenth.
    ///
    /// It stops behind a control record that is for the handshake and gives it; the caller calls again. `None` says
    /// that what is left, if anything, is the beginning of a record.
    ///
    /// # Errors
    /// As [`Opener::open`], with `at.plain` behind the last record that was good and `at.sealed` before the one that was not, whose
    /// contents are not to be used. [`OpenError::Place`] when `at` is not within `buffer`.
    pub fn open_within(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        at: &mut Within,
    ) -> Result<Option<Control>, OpenError> {
        self.guarded(|opener| {
            loop {
                let rest = buffer.get(at.sealed..).ok_or(OpenError::Place)?;
                let Some((&head, body)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
                    return Ok(None);
                };
                let header = RecordHeader::decode(head, opener.keys.epoch_byte())?;
                if body.len() < header.length {
                    return Ok(None);
                }
                if opener.number == u64::MAX {
                    return Err(OpenError::Exhausted);
                }
                let end = at.sealed + RECORD_HEADER_BYTES + header.length;
                let record = buffer.get_mut(at.plain..end).ok_or(OpenError::Place)?;
                let start = record.len().checked_sub(header.length).ok_or(OpenError::Place)?;
                opener
                    .keys
                    .open_within(opener.number, head, record, start)
                    .map_err(|_| OpenError::Tag)?;
                let plain = record.get(..header.length - RECORD_TAG_BYTES).unwrap_or_default();
                let (data, control) = opener.admit(now, header, plain)?;
                at.plain += data;
                at.sealed = end;
                if control.is_some() {
                    return Ok(control);
                }
            }
        })
    }

    /// Whether [`Opener::open_within`] saves a copy when there is as much room between the opened and the sealed as a record has data. It
    /// depends on the library that has the cipher.
    pub fn opens_far_ahead(&self) -> bool {
        self.keys.opens_far_ahead()
    }

    /// The whole length of the record that `input` begins, so that a caller can make room for it; 0 while that is
    /// not known, and when no such record can be opened.
    pub fn begun_record_len(&self, input: &[u8]) -> usize {
        RecordHeader::record_len(input).unwrap_or(0)
    }

    /// Gives back the memory of the cipher, see [`Sealer::put_away`](super::Sealer::put_away).
    pub fn put_away(&mut self) {
        self.keys.put_away();
    }

    /// Whether it holds the memory of the cipher.
    pub fn is_awake(&self) -> bool {
        self.keys.is_awake()
    }

    /// What has been opened so far.
    pub fn stats(&self) -> ChannelStats {
        self.stats
    }

    /// Runs `open` unless there was a failure before, and remembers its failure.
    fn guarded<T>(&mut self, open: impl FnOnce(&mut Self) -> Result<T, OpenError>) -> Result<T, OpenError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        open(self).inspect_err(|&error| self.fault = Some(error))
    }

    fn open_to(
        &self,
        head: [u8; RECORD_HEADER_BYTES],
        sealed: &[u8],
        plain: &mut BytesMut,
    ) -> Result<(), OpenError> {
        if self.number == u64::MAX {
            return Err(OpenError::Exhausted);
        }
        self.keys
            .open_to(self.number, &head, sealed, plain)
            .map_err(|_| OpenError::Tag)
    }

    /// Takes a record into account whose tag was good. Gives how many bytes of `plain` are data, and what the record
    /// said.
    fn admit(
        &mut self,
        now: Instant,
        header: RecordHeader,
        plain: &[u8],
    ) -> Result<(usize, Option<Control>), OpenError> {
        let len = match header.padded {
            true => unpadded_len(plain)?,
            false => plain.len(),
        };
        let said = match header.content {
            Content::Data => None,
            Content::Control => Some(control::read(plain.get(..len).unwrap_or_default())?),
        };
        self.number += 1;
        self.stats.records += 1;
        self.stats.bytes += len as u64;
        match said {
            None => Ok((len, None)),
            Some(Said::Other(control)) => Ok((0, Some(control))),
            Some(Said::Rekey(epoch)) => self.rekey(now, epoch).map(|()| (0, None)),
        }
    }

    //= protocol/security.md#rekey
    fn rekey(&mut self, now: Instant, epoch: u32) -> Result<(), OpenError> {
        let wrong = OpenError::Rekey {
            found: epoch,
            current: self.keys.epoch(),
        };
        let next = self.keys.next().ok_or(wrong)?;
        if next.epoch() != epoch {
            return Err(wrong);
        }
        while let Some(&oldest) = self.rekeys.front()
            && now.saturating_duration_since(oldest) >= Self::REKEYS_WITHIN
        {
            self.rekeys.pop_front();
        }
        if self.rekeys.len() >= Self::REKEYS_MAX {
            return Err(OpenError::TooManyRekeys);
        }
        self.rekeys.push_back(now);
        self.keys = next;
        self.number = 0;
        self.stats.rekeys += 1;
        Ok(())
    }
}

#[cfg(test)]
impl Opener {
    /// As if so much had gone by: nobody can wait for the end of these counters.
    pub(super) fn skip_to(&mut self, epoch: u32, number: u64) {
        self.keys.rename(epoch);
        self.number = number;
    }

    pub(super) fn epoch(&self) -> u32 {
        self.keys.epoch()
    }
}

/// Why a record was not opened. Nothing of it was used, and the opener opens no further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The type byte is none that a record has here.
    #[error(
        "the peer sent something that is not a record of this channel (type {found:#04x}); the channel is closed"
    )]
    Kind {
        /// The type byte.
        found: u8,
    },
    /// The record belongs to keys that are over or have not begun.
    #[error(
        "the peer's record is of epoch {found} where {expected} was due (lowest bits); the channel is closed"
    )]
    Epoch {
        /// The epoch byte.
        found: u8,
        /// The lowest bits of the current epoch.
        expected: u8,
    },
    /// The announced length is out of range.
    #[error(
        "the peer announced a record of {found} bytes, where 17 to 65,552 are possible; the channel is closed"
    )]
    Length {
        /// The announced length.
        found: u32,
    },
    /// The [`Within`] given to [`Opener::open_within`] is not within the buffer.
    #[error(
        "the caller gave a place outside its buffer, or what is sealed before what is opened; the channel is closed"
    )]
    Place,
    /// The tag does not verify.
    #[error(
        "a record was changed, repeated, left out or made up on its way; nothing of it was used and the channel is closed"
    )]
    Tag,
    /// The padding is not as it must be.
    #[error("the peer's record has no end of its padding; nothing of it was used and the channel is closed")]
    Padding,
    /// A control record holds something else than one frame of the auth group.
    #[error(
        "the peer's control record is not one frame of the auth group; nothing of it was used and the channel is closed"
    )]
    Control,
    /// REKEY names another epoch than the next.
    #[error(
        "the peer asked for epoch {found} after {current}; its keys stay as they are and the channel is closed"
    )]
    Rekey {
        /// The epoch that it named.
        found: u32,
        /// The epoch that it is in.
        current: u32,
    },
    /// The peer rekeys so often that it can only mean to keep this side busy.
    #[error("the peer rekeyed more than 64 times within ten seconds; the channel is closed")]
    TooManyRekeys,
    /// The peer has used every number of an epoch, which it must not.
    #[error("the peer has used up the numbers of its epoch; the channel is closed")]
    Exhausted,
}

impl OpenError {
    /// What a side says on the wire when it closes because of this.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Control => ErrorCode::PROTOCOL,
            Self::TooManyRekeys => ErrorCode::EXCESSIVE_LOAD,
            _ => ErrorCode::INTEGRITY,
        }
    }
}
