//! The five classes of service and the priorities within them.

use core::fmt;
use core::ops::RangeInclusive;

#[cfg(test)]
mod tests;

/// A class of service. The stream id decides it, see [`StreamId::class`](crate::StreamId::class).
//= protocol/streams.md#classes
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Stream 0: control and what cannot wait; small, rate-limited, never flow-controlled.
    Critical = 0,
    /// Streams 1 to 99: the system's own traffic, with a fixed window.
    System = 1,
    /// Streams 100 to 999: jobs, with a window that follows bandwidth × delay.
    Job = 2,
    /// Streams 1000 to 9999: data, which yields when delay grows.
    Data = 3,
    /// Streams from 10000: logs and metrics, best effort, oldest dropped first.
    Bulk = 4,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 5;

    /// The classes, most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Critical, Self::System, Self::Job, Self::Data, Self::Bulk];

    /// The place of the class in [`Class::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The class's name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::System => "system",
            Self::Job => "job",
            Self::Data => "data",
            Self::Bulk => "bulk",
        }
    }

    /// The class of a name as [`Class::name`] gives it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The lowest and highest priority of the class.
    //= protocol/streams.md#priority
    #[inline]
    pub const fn band(self) -> RangeInclusive<u8> {
        match self {
            Self::Critical => 255..=255,
            Self::System => 200..=254,
            Self::Job => 100..=199,
            Self::Data => 50..=99,
            Self::Bulk => 1..=49,
        }
    }

    /// The middle of the class's band: what a sender gets that asks for nothing.
    #[inline]
    pub const fn default_priority(self) -> Priority {
        let band = self.band();
        let (low, high) = (*band.start(), *band.end());
        Priority(low + (high - low) / 2)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A priority within a class; the higher goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// Takes the header byte as it is.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The header byte.
    #[inline]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the priority lies in the band of `class`.
    #[inline]
    pub const fn fits(self, class: Class) -> bool {
        let band = class.band();
        *band.start() <= self.0 && self.0 <= *band.end()
    }

    /// The nearest priority inside the band of `class`. A caller that sees a change counts a
    /// violation of the quality of service.
    #[inline]
    pub const fn clamp_to(self, class: Class) -> Self {
        let band = class.band();
        let (low, high) = (*band.start(), *band.end());
        if self.0 < low {
            Self(low)
        } else if self.0 > high {
            Self(high)
        } else {
            self
        }
    }
}
