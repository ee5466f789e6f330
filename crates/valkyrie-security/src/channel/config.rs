//! What a sender of records may choose. A receiver has nothing to choose: it takes whatever the protocol allows.

use std::time::Duration;

use super::record::RECORD_PLAINTEXT_MAX;

/// How a [`Sealer`](super::Sealer) cuts, pads and rekeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// The most plaintext that goes into one data record, padding included. Values outside
    /// [`ChannelConfig::RECORD_BYTES_MIN`] to [`RECORD_PLAINTEXT_MAX`] are moved to the nearer end.
    pub record_bytes: usize,
    /// When keys change.
    pub rekey: RekeyLimits,
    /// Whether the length of a plaintext is hidden.
    pub padding: Padding,
}

/// When a sender leaves its keys for the next ones: as soon as one of the three is reached.
///
/// Values above the protocol's are lowered to them. A peer refuses more than 64 rekeys within ten seconds, so limits
/// much smaller than the default are for channels that carry little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyLimits {
    /// Bytes of plaintext under one key, REKEY included. An epoch carries at least one record whatever this says.
    pub bytes: u64,
    /// Records under one key, REKEY included; at least 2.
    pub records: u64,
    /// How long a key is used, from the first record under it.
    pub age: Duration,
}

/// Whether the length of what is inside a record shows outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// It shows.
    #[default]
    None,
    /// Plaintexts are padded to the next multiple of so many bytes. 0 counts as 1, which hides nothing but one byte.
    Multiple(u16),
}

impl ChannelConfig {
    /// Smaller records would be more header and tag than content.
    pub const RECORD_BYTES_MIN: usize = 64;

    /// 16 KiB: nineteen parts in twenty of the cipher's best rate, and one microsecond until the first byte can be
    /// used.
    pub const RECORD_BYTES: usize = 16 * 1024;

    /// The most content of a data record, so that padded it is within `record_bytes` where that is possible at all
    /// and within the protocol's limit in any case.
    pub(super) fn content_max(&self) -> usize {
        let record = self
            .record_bytes
            .clamp(Self::RECORD_BYTES_MIN, RECORD_PLAINTEXT_MAX);
        match self.padding.multiple() {
            None => record,
            // One byte is the marker.
            Some(multiple) => (record / multiple * multiple).max(multiple) - 1,
        }
    }
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            record_bytes: Self::RECORD_BYTES,
            rekey: RekeyLimits::default(),
            padding: Padding::None,
        }
    }
}

impl RekeyLimits {
    /// The protocol's limits, which are the default.
    ///
    /// 64 GiB and 2^22 records leave an attacker an advantage of 2^-65 against AES-GCM, far below what would be
    /// tolerable; 15 minutes is what a stolen key can open.
    //= protocol/security.md#rekey
    pub const MAX: Self = Self {
        bytes: 64 << 30,
        records: 1 << 22,
        age: Duration::from_secs(15 * 60),
    };

    /// These limits within the protocol's.
    pub(super) fn bounded(self) -> Self {
        Self {
            bytes: self.bytes.min(Self::MAX.bytes),
            records: self.records.clamp(2, Self::MAX.records),
            age: self.age.min(Self::MAX.age),
        }
    }
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self::MAX
    }
}

impl Padding {
    /// What lengths are multiples of, at least 1; `None` without padding.
    pub(super) fn multiple(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Multiple(bytes) => Some(usize::from(bytes.max(1))),
        }
    }
}
