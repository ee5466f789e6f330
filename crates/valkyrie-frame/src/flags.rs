//! The flag byte of the header.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

#[cfg(test)]
mod tests;

/// The eight flags of a frame. Every bit has a meaning, so every byte is a valid value.
//= protocol/header.md#flags
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self(0);
    /// This frame acknowledges something: what, its kind says.
    pub const ACK: Self = Self(0x01);
    /// The sender sends nothing further on this stream.
    pub const EOS: Self = Self(0x02);
    /// The payload is compressed with the negotiated algorithm.
    pub const CMP: Self = Self(0x04);
    /// A fragment of a message; more fragments follow on the same stream.
    pub const MORE: Self = Self(0x08);
    /// The first extension word is a timestamp in Unix seconds.
    pub const TS: Self = Self(0x10);
    /// The message may be dropped, and every drop is counted.
    pub const BEST_EFFORT: Self = Self(0x20);
    /// The sender wants no answer.
    pub const NO_REPLY: Self = Self(0x40);
    /// A receiver that does not know this kind must close the connection.
    pub const CRITICAL: Self = Self(0x80);

    /// The flags in their order of bits, with their names.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::ACK, "ACK"),
        (Self::EOS, "EOS"),
        (Self::CMP, "CMP"),
        (Self::MORE, "MORE"),
        (Self::TS, "TS"),
        (Self::BEST_EFFORT, "BEST_EFFORT"),
        (Self::NO_REPLY, "NO_REPLY"),
        (Self::CRITICAL, "CRITICAL"),
    ];

    /// The flags of a header byte.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The header byte of these flags.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is set here.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags less those of `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names of the set flags joined by `|`, or `-` when none is set.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, name) in Self::ALL {
            if self.contains(flag) {
                if !first {
                    f.write_str("|")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("-") } else { Ok(()) }
    }
}
