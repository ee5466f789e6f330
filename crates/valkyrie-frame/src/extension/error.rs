//! What can be wrong with an extension area.

use core::fmt;

use super::MAX_AREA_BYTES;

/// Why an extension area is refused. The side that wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionError {
    /// A value reaches past the end of the area.
    Truncated {
        /// The type of the value, 0 when even that is missing.
        kind: u8,
    },
    /// Types do not ascend, one came twice, or the type is 0.
    Order {
        /// The type at fault.
        kind: u8,
    },
    /// The bytes behind a value are not zero.
    Padding {
        /// The type at fault.
        kind: u8,
    },
    /// A known type has a length it cannot have.
    Length {
        /// The type at fault.
        kind: u8,
        /// The length in bytes that it came with.
        found: usize,
    },
    /// A name is not UTF-8.
    Utf8 {
        /// The type at fault.
        kind: u8,
    },
    /// The type is unknown and must be understood.
    NotUnderstood {
        /// The type at fault.
        kind: u8,
    },
    /// The whole area is longer than the header can say.
    Area {
        /// Its length in bytes.
        found: usize,
    },
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { kind } => write!(
                f,
                "extension {kind:#04x} reaches past the end of the extension words"
            ),
            Self::Order { kind } => write!(f, "extension {kind:#04x} is out of order, repeated or 0"),
            Self::Padding { kind } => write!(f, "the padding behind extension {kind:#04x} is not zero"),
            Self::Length { kind, found } => write!(f, "extension {kind:#04x} cannot have {found} bytes"),
            Self::Utf8 { kind } => write!(f, "a name in extension {kind:#04x} is not UTF-8"),
            Self::NotUnderstood { kind } => {
                write!(f, "extension {kind:#04x} must be understood and is unknown here")
            }
            Self::Area { found } => write!(
                f,
                "the extensions need {found} bytes, the header can announce {MAX_AREA_BYTES}"
            ),
        }
    }
}

impl core::error::Error for ExtensionError {}
