//! A record's five bytes in clear, and the padding of its plaintext.

use super::config::Padding;
use super::opener::OpenError;

/// Bytes of a record that are in clear, and authenticated.
//= protocol/security.md#records
pub const RECORD_HEADER_BYTES: usize = 5;

/// Bytes of the tag at the end of a record.
pub const RECORD_TAG_BYTES: usize = 16;

/// The most plaintext that a record holds, padding included.
pub const RECORD_PLAINTEXT_MAX: usize = 65_536;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Bytes of the session.
    Data,
    /// One frame of the auth group.
    Control,
}

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) content: Content,
    pub(super) padded: bool,
    pub(super) epoch: u8,
    /// Ciphertext and tag together, 17 to 65,552.
    pub(super) length: usize,
}

const PADDED: u8 = 0x80;
const LENGTH_MIN: usize = 1 + RECORD_TAG_BYTES;
const LENGTH_MAX: usize = RECORD_PLAINTEXT_MAX + RECORD_TAG_BYTES;
/// What a padded plaintext ends with, before any zeros.
const MARKER: u8 = 0x80;

impl RecordHeader {
    pub(super) fn encode(self) -> [u8; RECORD_HEADER_BYTES] {
        let kind = match self.content {
            Content::Data => 1,
            Content::Control => 2,
        };
        let [.., l0, l1, l2] = self.length.to_be_bytes();
        [
            kind | if self.padded { PADDED } else { 0 },
            self.epoch,
            l0,
            l1,
            l2,
        ]
    }

    /// Reads a header and checks it against the epoch that its receiver is in.
    pub(super) fn decode(bytes: [u8; RECORD_HEADER_BYTES], epoch: u8) -> Result<Self, OpenError> {
        let [kind, found, l0, l1, l2] = bytes;
        let content = match kind & !PADDED {
            1 => Content::Data,
            2 => Content::Control,
            _ => return Err(OpenError::Kind { found: kind }),
        };
        if found != epoch {
            return Err(OpenError::Epoch {
                found,
                expected: epoch,
            });
        }
        Ok(Self {
            content,
            padded: kind & PADDED != 0,
            epoch,
            length: length(l0, l1, l2)?,
        })
    }

    /// The whole length of the record that `bytes` begin; `None` while that cannot be said or is out of range.
    pub(super) fn record_len(bytes: &[u8]) -> Option<usize> {
        let [_, _, l0, l1, l2] = *bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
        length(l0, l1, l2).ok().map(|length| RECORD_HEADER_BYTES + length)
    }
}

fn length(l0: u8, l1: u8, l2: u8) -> Result<usize, OpenError> {
    let found = u32::from_be_bytes([0, l0, l1, l2]);
    match usize::try_from(found) {
        Ok(length) if (LENGTH_MIN..=LENGTH_MAX).contains(&length) => Ok(length),
        _ => Err(OpenError::Length { found }),
    }
}

/// How many bytes of padding, marker included, `content` bytes get.
pub(super) fn padding_bytes(padding: Padding, content: usize) -> usize {
    padding.multiple().map_or(0, |multiple| {
        let padded = (content + 1).next_multiple_of(multiple);
        padded.min(RECORD_PLAINTEXT_MAX).saturating_sub(content)
    })
}

/// Puts `bytes` bytes of padding behind what `plain` holds.
pub(super) fn pad(plain: &mut bytes::BytesMut, bytes: usize) {
    if bytes > 0 {
        let marker = plain.len();
        plain.resize(marker + bytes, 0);
        if let Some(byte) = plain.get_mut(marker) {
            *byte = MARKER;
        }
    }
}

/// The length of a padded plaintext without its padding.
pub(super) fn unpadded_len(plain: &[u8]) -> Result<usize, OpenError> {
    match plain.iter().rposition(|&byte| byte != 0) {
        Some(last) if plain.get(last) == Some(&MARKER) => Ok(last),
        _ => Err(OpenError::Padding),
    }
}
