//! Records that may be lost, repeated and overtaken: each carries its number.
//!
//! A receiver drops what is not good and goes on, since anyone can send datagrams; only a great many forgeries end it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::config::{ChannelConfig, Padding, RekeyLimits};
use super::keys::EpochKeys;
use super::opener::OpenError;
use super::record::{RECORD_PLAINTEXT_MAX, RECORD_TAG_BYTES};
use super::sealer::SealError;
use super::window::Window;

/// Bytes of a datagram that are in clear, and authenticated.
//= protocol/security.md#datagrams
pub const DATAGRAM_HEADER_BYTES: usize = 10;

const KIND: u8 = 4;

/// Seals datagrams.
#[derive(Debug)]
pub struct DatagramSealer {
    keys: EpochKeys,
    number: u64,
    bytes: u64,
    begun: Option<Instant>,
    limits: RekeyLimits,
    fault: Option<SealError>,
}

impl DatagramSealer {
    pub(super) fn new(keys: EpochKeys, config: ChannelConfig) -> Self {
        debug_assert_eq!(config.padding, Padding::None, "a datagram has no padding");
        Self {
            keys,
            number: 0,
            bytes: 0,
            begun: None,
            limits: config.rekey.bounded(),
            fault: None,
        }
    }

    /// Appends `plain` to `out` as one datagram.
    ///
    /// # Errors
    /// [`SealError::TooLong`] is the caller's fault and changes nothing; after any other the sealer is closed. `out`
    /// is as it was.
    pub fn seal(&mut self, now: Instant, plain: &[u8], out: &mut BytesMut) -> Result<(), SealError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if plain.len() > RECORD_PLAINTEXT_MAX {
            return Err(SealError::TooLong);
        }
        let start = out.len();
        self.seal_one(now, plain, out).inspect_err(|&error| {
            out.truncate(start);
            self.fault = Some(error);
        })
    }

    fn seal_one(&mut self, now: Instant, plain: &[u8], out: &mut BytesMut) -> Result<(), SealError> {
        let bytes = plain.len() as u64;
        let aged = |begun| now.saturating_duration_since(begun) >= self.limits.age;
        if self.number > 0
            && (self.number >= self.limits.records
                || self.bytes.saturating_add(bytes) > self.limits.bytes
                || self.begun.is_some_and(aged))
        {
            self.keys = self.keys.next().ok_or(SealError::Exhausted)?;
            self.number = 0;
            self.bytes = 0;
            self.begun = None;
        }
        let after = self.number.checked_add(1).ok_or(SealError::Exhausted)?;
        self.begun.get_or_insert(now);
        let header = header(self.keys.epoch_byte(), self.number);
        out.extend_from_slice(&header);
        let body = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .keys
            .seal(self.number, &header, out.get_mut(body..).unwrap_or_default())
            .map_err(|_| SealError::Cipher)?;
        out.extend_from_slice(&tag);
        self.number = after;
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
impl DatagramSealer {
    /// As if so much had gone by: nobody can wait for the end of these counters.
    pub(super) fn skip_to(&mut self, epoch: u32, number: u64) {
        self.keys.rename(epoch);
        self.number = number;
    }
}

pub(super) fn header(epoch: u8, number: u64) -> [u8; DATAGRAM_HEADER_BYTES] {
    let mut header = [0; DATAGRAM_HEADER_BYTES];
    let (front, rest) = header.split_at_mut(2);
    front.copy_from_slice(&[KIND, epoch]);
    rest.copy_from_slice(&number.to_be_bytes());
    header
}

/// An epoch that datagrams are accepted of.
struct Receiving {
    keys: EpochKeys,
    window: Window,
}

/// Opens datagrams.
pub struct DatagramOpener {
    current: Receiving,
    /// The epoch before, and when it was over.
    previous: Option<Box<(Receiving, Instant)>>,
    /// Keys of an epoch ahead that some datagram has asked for, good or not. Kept, so that forgeries do not make this
    /// side derive them again and again.
    ahead: Option<Box<EpochKeys>>,
    stats: DatagramStats,
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatagramStats {
    /// Opened.
    pub opened: u64,
    /// Dropped because their tag did not verify, or because no tag of theirs could.
    pub forged: u64,
    /// Dropped because their number had been seen or was too old.
    pub replayed: u64,
}

/// Why a datagram was dropped. The channel goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramDrop {
    /// It is no datagram of this channel, or has been changed on its way.
    Forged,
    /// It came before, or so late that this cannot be told.
    Replayed,
}

impl DatagramOpener {
    /// For so long datagrams of an epoch that is over are accepted: three times what the slowest path takes.
    pub const OVERLAP: Duration = Duration::from_secs(3);

    /// After so many forgeries the channel is closed.
    pub const FORGED_MAX: u64 = 1 << 20;

    /// How many epochs may have gone by without one datagram arriving.
    pub const AHEAD_MAX: u8 = 4;

    pub(super) fn new(keys: EpochKeys) -> Self {
        Self {
            current: Receiving {
                keys,
                window: Window::new(),
            },
            previous: None,
            ahead: None,
            stats: DatagramStats::default(),
        }
    }

    /// Opens `datagram` and appends what was in it to `plain`, or says why it was dropped.
    ///
    /// # Errors
    /// [`OpenError::Tag`] when there have been too many forgeries; the channel is closed then.
    //= protocol/security.md#datagrams
    pub fn open(
        &mut self,
        now: Instant,
        datagram: &[u8],
        plain: &mut BytesMut,
    ) -> Result<Result<(), DatagramDrop>, OpenError> {
        if self.stats.forged >= Self::FORGED_MAX {
            return Err(OpenError::Tag);
        }
        let start = plain.len();
        let outcome = self.open_one(now, datagram, plain);
        match outcome {
            Ok(()) => self.stats.opened += 1,
            Err(drop) => {
                plain.truncate(start);
                match drop {
                    DatagramDrop::Forged => self.stats.forged += 1,
                    DatagramDrop::Replayed => self.stats.replayed += 1,
                }
            }
        }
        Ok(outcome)
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> DatagramStats {
        self.stats
    }

    fn open_one(&mut self, now: Instant, datagram: &[u8], plain: &mut BytesMut) -> Result<(), DatagramDrop> {
        let forged = DatagramDrop::Forged;
        let (header, sealed) = datagram
            .split_first_chunk::<DATAGRAM_HEADER_BYTES>()
            .ok_or(forged)?;
        let [KIND, epoch, n @ ..] = *header else {
            return Err(forged);
        };
        let number = u64::from_be_bytes(n);
        let len = sealed.len().checked_sub(RECORD_TAG_BYTES).ok_or(forged)?;
        if len > RECORD_PLAINTEXT_MAX {
            return Err(forged);
        }
        let start = plain.len();
        plain.resize(start + len, 0);
        let plain = plain.get_mut(start..).unwrap_or_default();
        let mut verify = |keys: &EpochKeys| keys.open(number, header, sealed, plain).map_err(|_| forged);

        if self
            .previous
            .as_ref()
            .is_some_and(|p| now.saturating_duration_since(p.1) > Self::OVERLAP)
        {
            self.previous = None;
        }
        let steps = epoch.wrapping_sub(self.current.keys.epoch_byte());
        let window = match steps {
            0 => {
                verify(&self.current.keys)?;
                &mut self.current.window
            }
            1..=Self::AHEAD_MAX => {
                verify(self.look_ahead(steps).ok_or(forged)?)?;
                self.go_ahead(now);
                &mut self.current.window
            }
            _ => {
                let previous = self.previous.as_mut().map(|previous| &mut previous.0);
                let previous = previous
                    .filter(|previous| previous.keys.epoch_byte() == epoch)
                    .ok_or(forged)?;
                verify(&previous.keys)?;
                &mut previous.window
            }
        };
        match window.see(number) {
            true => Ok(()),
            false => Err(DatagramDrop::Replayed),
        }
    }

    /// The keys of the epoch so many steps ahead.
    fn look_ahead(&mut self, steps: u8) -> Option<&EpochKeys> {
        let wanted = self.current.keys.epoch().checked_add(u32::from(steps))?;
        if self.ahead.as_ref().is_none_or(|keys| keys.epoch() != wanted) {
            let mut keys = self.current.keys.next()?;
            while keys.epoch() < wanted {
                keys = keys.next()?;
            }
            self.ahead = Some(Box::new(keys));
        }
        self.ahead.as_deref()
    }

    /// Begins the epoch that was looked ahead to.
    fn go_ahead(&mut self, now: Instant) {
        if let Some(keys) = self.ahead.take() {
            let next = Receiving {
                keys: *keys,
                window: Window::new(),
            };
            let over = std::mem::replace(&mut self.current, next);
            self.previous = Some(Box::new((over, now)));
        }
    }
}

impl fmt::Debug for DatagramOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramOpener")
            .field("keys", &self.current.keys)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
