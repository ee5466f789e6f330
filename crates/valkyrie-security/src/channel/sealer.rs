//! The sending half of a channel: bytes in, records out.

use std::time::Instant;

use bytes::BytesMut;
use thiserror::Error;

use super::ChannelStats;
use super::aead::append;
use super::config::{ChannelConfig, Padding, RekeyLimits};
use super::control::{self, REKEY_BYTES};
use super::keys::EpochKeys;
use super::record::{
    Content, RECORD_HEADER_BYTES, RECORD_PLAINTEXT_MAX, RECORD_TAG_BYTES, RecordHeader, pad, padding_bytes,
};

/// Seals what one side sends.
///
/// It changes its keys by itself, in band, when a limit is reached. After an error it seals nothing more.
#[derive(Debug)]
pub struct Sealer {
    keys: EpochKeys,
    /// The number of the next record of the epoch.
    number: u64,
    /// Plaintext under the epoch's key, padding included.
    bytes: u64,
    /// When the epoch's first record was sealed.
    begun: Option<Instant>,
    limits: RekeyLimits,
    padding: Padding,
    content_max: usize,
    fault: Option<SealError>,
    stats: ChannelStats,
}

impl Sealer {
    pub(super) fn new(keys: EpochKeys, config: ChannelConfig) -> Self {
        Self {
            keys,
            number: 0,
            bytes: 0,
            begun: None,
            limits: config.rekey.bounded(),
            padding: config.padding,
            content_max: config.content_max(),
            fault: None,
            stats: ChannelStats::default(),
        }
    }

    /// Appends `chunks`, put together, to `out` as data records, as few as the record size permits.
    ///
    /// What fills a record by itself is encrypted into `out`; smaller chunks are copied there and encrypted in place. Nothing is
    /// allocated but what `out` grows by. No bytes at all are no record.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] and [`SealError::Cipher`]: `out` is as it was, the sealer is closed and the
    /// connection with it.
    pub fn seal<'a>(
        &mut self,
        now: Instant,
        chunks: impl IntoIterator<Item = &'a [u8]>,
        out: &mut BytesMut,
    ) -> Result<(), SealError> {
        self.guarded(out, |sealer, out| {
            // Where the record in the making begins.
            let mut record = None;
            for chunk in chunks {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let start = match record {
                        Some(start) => start,
                        None => sealer.begin(now, sealer.content_max, out)?,
                    };
                    let held = out.len() - start - RECORD_HEADER_BYTES;
                    let room = sealer.content_max - held;
                    let (now_in, later) = rest.split_at(room.min(rest.len()));
                    rest = later;
                    record = Some(start);
                    if now_in.len() < room {
                        append(now_in, out);
                        continue;
                    }
                    if held == 0 && sealer.padding == Padding::None {
                        sealer.finish_from(now_in, start, out)?;
                    } else {
                        append(now_in, out);
                        sealer.finish(Content::Data, start, out)?;
                    }
                    record = None;
                }
            }
            match record {
                Some(start) => sealer.finish(Content::Data, start, out),
                None => Ok(()),
            }
        })
    }

    /// Appends `frame` to `out` as one control record.
    ///
    /// # Errors
    /// [`SealError::NotControl`] is the caller's fault and changes nothing. For the others see [`Sealer::seal`].
    pub fn seal_control(&mut self, now: Instant, frame: &[u8], out: &mut BytesMut) -> Result<(), SealError> {
        let room = RECORD_PLAINTEXT_MAX - usize::from(self.padding != Padding::None);
        if frame.len() > room || !control::may_be_sealed(frame) {
            return Err(SealError::NotControl);
        }
        self.guarded(out, |sealer, out| {
            let start = sealer.begin(now, frame.len(), out)?;
            out.extend_from_slice(frame);
            sealer.finish(Content::Control, start, out)
        })
    }

    /// At most how many bytes `content` bytes become when they are sealed at once, so that a caller with a buffer
    /// of fixed size knows that they fit.
    pub fn sealed_len_max(&self, content: usize) -> usize {
        let overhead = RECORD_HEADER_BYTES + RECORD_TAG_BYTES;
        let padding = padding_bytes(self.padding, self.content_max).max(match self.padding {
            Padding::None => 0,
            Padding::Multiple(bytes) => usize::from(bytes.max(1)),
        });
        // Each data record may have a REKEY record in front.
        let records = content.div_ceil(self.content_max);
        content + records * (overhead + padding + overhead + REKEY_BYTES + padding)
    }

    /// Gives back the memory of the cipher, for when nothing is to be sealed for a while. The next record makes it
    /// anew, which takes some microseconds; nothing else is different.
    pub fn put_away(&mut self) {
        self.keys.put_away();
    }

    /// Whether it holds the memory of the cipher.
    pub fn is_awake(&self) -> bool {
        self.keys.is_awake()
    }

    /// What has been sealed so far.
    pub fn stats(&self) -> ChannelStats {
        self.stats
    }

    /// Runs `seal` unless there was an error before, and on an error undoes what it has written.
    fn guarded(
        &mut self,
        out: &mut BytesMut,
        seal: impl FnOnce(&mut Self, &mut BytesMut) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let before = out.len();
        seal(self, out).inspect_err(|&error| {
            // What has been sealed has used up its nonces and now never leaves: no record could follow it.
            out.truncate(before);
            self.fault = Some(error);
        })
    }

    /// Makes room for a header, behind a REKEY if it is time for one, and says where it is.
    fn begin(&mut self, now: Instant, content: usize, out: &mut BytesMut) -> Result<usize, SealError> {
        if self.must_rekey(now, content) {
            self.rekey(out)?;
        }
        self.begun.get_or_insert(now);
        Ok(place_header(out))
    }

    //= protocol/security.md#rekey
    fn must_rekey(&self, now: Instant, content: usize) -> bool {
        // The record itself, padded, and REKEY behind it must still be within the limits.
        let padded = |content| content + padding_bytes(self.padding, content);
        let next = (padded(content) + padded(REKEY_BYTES)) as u64;
        self.number > 0
            && (self.number.saturating_add(2) > self.limits.records
                || self.bytes.saturating_add(next) > self.limits.bytes
                || self
                    .begun
                    .is_some_and(|begun| now.saturating_duration_since(begun) >= self.limits.age))
    }

    /// Announces the next epoch with the last record of this one and goes there.
    fn rekey(&mut self, out: &mut BytesMut) -> Result<(), SealError> {
        let next = self.keys.next().ok_or(SealError::Exhausted)?;
        let start = place_header(out);
        out.extend_from_slice(&control::rekey(next.epoch()));
        self.finish(Content::Control, start, out)?;
        self.keys = next;
        self.number = 0;
        self.bytes = 0;
        self.begun = None;
        self.stats.rekeys += 1;
        Ok(())
    }

    /// Makes `content` a data record whose room for a header is at `start`, at the end of `out`.
    fn finish_from(&mut self, content: &[u8], start: usize, out: &mut BytesMut) -> Result<(), SealError> {
        let after = self.number.checked_add(1).ok_or(SealError::Exhausted)?;
        let header = RecordHeader {
            content: Content::Data,
            padded: false,
            epoch: self.keys.epoch_byte(),
            length: content.len() + RECORD_TAG_BYTES,
        }
        .encode();
        let head = out.get_mut(start..).ok_or(SealError::Cipher)?;
        head.copy_from_slice(&header);
        self.keys
            .seal_from(self.number, &header, content, out)
            .map_err(|_| SealError::Cipher)?;
        self.count(after, content.len(), content.len());
        Ok(())
    }

    fn count(&mut self, after: u64, content: usize, padded: usize) {
        self.number = after;
        self.bytes += padded as u64;
        self.stats.records += 1;
        self.stats.bytes += content as u64;
    }

    /// Turns what is in `out` behind the room for a header at `start` into a record.
    fn finish(&mut self, content: Content, start: usize, out: &mut BytesMut) -> Result<(), SealError> {
        let after = self.number.checked_add(1).ok_or(SealError::Exhausted)?;
        let body = start + RECORD_HEADER_BYTES;
        let bytes = out.len() - body;
        pad(out, padding_bytes(self.padding, bytes));
        let plain = out.len() - body;
        let header = RecordHeader {
            content,
            padded: self.padding != Padding::None,
            epoch: self.keys.epoch_byte(),
            length: plain + RECORD_TAG_BYTES,
        }
        .encode();
        let (head, body) = out
            .get_mut(start..)
            .and_then(|record| record.split_first_chunk_mut())
            .ok_or(SealError::Cipher)?;
        *head = header;
        let tag = self
            .keys
            .seal(self.number, &header, body)
            .map_err(|_| SealError::Cipher)?;
        out.extend_from_slice(&tag);
        self.count(after, bytes, plain);
        Ok(())
    }
}

#[cfg(test)]
impl Sealer {
    /// As if so much had gone by: nobody can wait for the end of these counters.
    pub(super) fn skip_to(&mut self, epoch: u32, number: u64) {
        self.keys.rename(epoch);
        self.number = number;
    }
}

fn place_header(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    start
}

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The keys have come to their end, after 2^32 epochs.
    #[error(
        "this side has used up the last key of its channel; nothing was sealed and the channel is closed"
    )]
    Exhausted,
    /// The caller asked for a control record of something else.
    #[error(
        "the caller gave something that is not one frame of the auth group, or REKEY, to be sealed as control; nothing was sealed and the channel is unchanged"
    )]
    NotControl,
    /// The caller gave more than one datagram holds.
    #[error(
        "the caller gave more than 65,536 bytes for one datagram; nothing was sealed and the channel is unchanged"
    )]
    TooLong,
    /// The cipher refused to work.
    #[error("the cipher of this side failed; nothing was sealed and the channel is closed")]
    Cipher,
}
