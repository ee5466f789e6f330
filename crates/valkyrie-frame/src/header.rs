//! The header: 20 bytes that say all a receiver must know before the payload.

use core::fmt;

use crate::{Flags, Kind, MAGIC, Priority, StreamId, VERSION};

#[cfg(test)]
mod tests;

/// The most payload bytes that one frame may carry: 64 MiB.
//= protocol/header.md#length
pub const MAX_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;

/// The fields of a header, checked once: a `Header` that came from [`Header::decode`] has the
/// right magic and version, an allowed kind and a length within the protocol's limit.
///
/// `extension_words` counts the 4-byte words between header and payload. All integers are
/// big-endian on the wire.
//= protocol/header.md#layout
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// Its priority within the class of its stream.
    pub priority: Priority,
    /// 0 when untraced, else the last byte of the W3C trace id.
    pub trace: u8,
    /// How many 4-byte extension words follow the header.
    pub extension_words: u8,
    /// The stream that the frame belongs to.
    pub stream: StreamId,
    /// How many payload bytes follow the extensions.
    pub length: u32,
    /// Which exchange the frame belongs to; 0 for none.
    pub correlation: u32,
}

const _: () = assert!(core::mem::size_of::<Header>() <= Header::LEN);

impl Header {
    /// Bytes of a header without extensions.
    pub const LEN: usize = 20;

    /// A header for `kind` on `stream` with the default priority of its class and nothing else.
    #[inline]
    pub const fn new(kind: Kind, stream: StreamId) -> Self {
        Self {
            kind,
            flags: Flags::NONE,
            priority: stream.class().default_priority(),
            trace: 0,
            extension_words: 0,
            stream,
            length: 0,
            correlation: 0,
        }
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`HeaderError`] names the first field at fault; each is the sender's fault and ends the
    /// connection, since a byte stream that has lost its frames cannot be trusted again.
    #[inline]
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, HeaderError> {
        #[rustfmt::skip]
        let [
            m0, m1, version, kind, flags, priority, trace, ext,
            s0, s1, s2, s3, l0, l1, l2, l3, c0, c1, c2, c3,
        ] = *bytes;
        if u32::from_be_bytes([0, m0, m1, version]) != EVERY_FRONT {
            return Err(wrong_front(u16::from_be_bytes([m0, m1]), version));
        }
        let header = Self {
            kind: Kind::from_byte(kind),
            flags: Flags::from_bits(flags),
            priority: Priority::from_byte(priority),
            trace,
            extension_words: ext,
            stream: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            correlation: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        match header.check() {
            Ok(()) => Ok(header),
            Err(error) => Err(error),
        }
    }

    /// Checks what a sender and a receiver must both hold to.
    ///
    /// # Errors
    /// The same as [`Header::decode`], less magic and version.
    #[inline]
    pub const fn check(&self) -> Result<(), HeaderError> {
        if !self.kind.is_allowed() {
            return Err(HeaderError::Kind {
                found: self.kind.byte(),
            });
        }
        if self.length > MAX_PAYLOAD_BYTES {
            return Err(HeaderError::Length {
                found: self.length,
                max: MAX_PAYLOAD_BYTES,
            });
        }
        if self.flags.contains(Flags::TS) && self.extension_words == 0 {
            return Err(HeaderError::TimestampMissing);
        }
        if self.flags.contains(Flags::MORE.with(Flags::EOS)) {
            return Err(HeaderError::MoreAfterEnd);
        }
        Ok(())
    }

    /// Whether a receiver that has no use for this kind passes over the frame: the kind has no
    /// meaning today and the sender did not insist on one with CRITICAL.
    //= protocol/types.md#unknown-types
    #[inline]
    pub const fn is_ignorable(&self) -> bool {
        !self.kind.is_known() && !self.flags.contains(Flags::CRITICAL)
    }

    /// The 20 bytes of the header.
    #[inline]
    pub const fn encode(&self) -> [u8; Self::LEN] {
        let [m0, m1] = MAGIC.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.value().to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let [c0, c1, c2, c3] = self.correlation.to_be_bytes();
        #[rustfmt::skip]
        let bytes = [
            m0, m1, VERSION, self.kind.byte(),
            self.flags.bits(), self.priority.byte(), self.trace, self.extension_words,
            s0, s1, s2, s3, l0, l1, l2, l3, c0, c1, c2, c3,
        ];
        bytes
    }

    /// Reads the header at the front of `bytes`, or `None` while fewer than 20 bytes are there.
    ///
    /// # Errors
    /// See [`Header::decode`]. With fewer than 20 bytes the magic and version that have arrived
    /// are checked already, so that a stranger is turned away at its first byte.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        match bytes.first_chunk::<{ Self::LEN }>() {
            Some(chunk) => Self::decode(chunk).map(Some),
            None => check_prefix(bytes).map(|()| None),
        }
    }

    /// Bytes of header and extensions together: 20 + 4 × words.
    #[inline]
    pub const fn head_len(&self) -> usize {
        Self::LEN + 4 * self.extension_words as usize
    }

    /// Bytes of the whole frame.
    #[inline]
    pub const fn frame_len(&self) -> usize {
        self.head_len() + self.length as usize
    }
}

/// The three bytes that every frame begins with, as one number.
const EVERY_FRONT: u32 = (MAGIC as u32) << 8 | VERSION as u32;

/// Which of magic and version is at fault.
#[cold]
const fn wrong_front(magic: u16, version: u8) -> HeaderError {
    if magic == MAGIC {
        HeaderError::Version { found: version }
    } else {
        HeaderError::Magic { found: magic }
    }
}

/// Checks as much of magic and version as has arrived.
fn check_prefix(bytes: &[u8]) -> Result<(), HeaderError> {
    let [m0, m1] = MAGIC.to_be_bytes();
    if let Some(&first) = bytes.first() {
        let second = bytes.get(1).copied();
        if first != m0 || second.is_some_and(|byte| byte != m1) {
            return Err(HeaderError::Magic {
                found: u16::from_be_bytes([first, second.unwrap_or(0)]),
            });
        }
    }
    match bytes.get(2) {
        Some(&version) if version != VERSION => Err(HeaderError::Version { found: version }),
        _ => Ok(()),
    }
}

/// Why a header is refused. Each is a fault of the peer that sent it, and none can be repaired:
/// the connection is closed and never scanned for the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes do not begin with `RC`: the peer speaks something else, or the stream is out of step.
    Magic {
        /// The two bytes found instead.
        found: u16,
    },
    /// The peer speaks another version.
    Version {
        /// Its version byte.
        found: u8,
    },
    /// The kind is above the protocol's range and no GREASE value.
    Kind {
        /// The type byte.
        found: u8,
    },
    /// The payload is longer than the limit.
    Length {
        /// The announced payload length in bytes.
        found: u32,
        /// The limit that held.
        max: u32,
    },
    /// The flag TS promises a timestamp but there is no extension word to hold it.
    TimestampMissing,
    /// The flags say both that more fragments follow and that the stream ends here.
    MoreAfterEnd,
    /// Only on the way out: the extensions are no whole number of words, or more than 255.
    ExtensionArea {
        /// Their length in bytes.
        found: usize,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic { found } => write!(
                f,
                "the peer's frame begins with {found:#06x}, not with 0x5243 (\"RC\"): it speaks another protocol or lost its place"
            ),
            Self::Version { found } => write!(
                f,
                "the peer speaks version {found} of the wire, this side version {VERSION}"
            ),
            Self::Kind { found } => write!(
                f,
                "the peer sent type {found:#04x}, which is above the protocol's range"
            ),
            Self::Length { found, max } => write!(
                f,
                "the peer announced a payload of {found} bytes, the limit is {max}"
            ),
            Self::TimestampMissing => {
                f.write_str("the peer set the timestamp flag without an extension word")
            }
            Self::MoreAfterEnd => f.write_str("the peer set both MORE and EOS on one frame"),
            Self::ExtensionArea { found } => write!(
                f,
                "the caller gave {found} bytes of extensions, which is not 0 to 255 whole words"
            ),
        }
    }
}

impl core::error::Error for HeaderError {}
