//! Stream ids: the number says the class and who opened the stream.

use core::fmt;

use crate::Class;

#[cfg(test)]
mod tests;

/// The number of a stream within its connection.
//= protocol/streams.md#ids
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u32);

/// Which side of the connection one is; it decides the parity of the ids one may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that dialled; its streams are odd.
    Dialer,
    /// The side that accepted; its streams are even.
    Acceptor,
}

impl Side {
    /// The other side.
    #[inline]
    pub const fn peer(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

impl StreamId {
    /// Stream 0, which belongs to the connection itself and to the critical class.
    pub const CONTROL: Self = Self(0);

    /// The stream of a header field. Every number is a stream.
    #[inline]
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The class of service of the stream.
    //= protocol/streams.md#classes
    #[inline]
    pub const fn class(self) -> Class {
        match self.0 {
            0 => Class::Critical,
            1..=99 => Class::System,
            100..=999 => Class::Job,
            1000..=9999 => Class::Data,
            _ => Class::Bulk,
        }
    }

    /// The side that may open the stream; stream 0 is open from the start and is nobody's.
    #[inline]
    pub const fn opener(self) -> Option<Side> {
        match self.0 {
            0 => None,
            id if id % 2 == 1 => Some(Side::Dialer),
            _ => Some(Side::Acceptor),
        }
    }

    /// The first id of `class` that `side` may open: its *lane*, open from the start.
    //= protocol/streams.md#lanes
    #[inline]
    pub const fn lane(class: Class, side: Side) -> Self {
        let dialer = matches!(side, Side::Dialer);
        Self(match class {
            Class::Critical => 0,
            Class::System => {
                if dialer {
                    1
                } else {
                    2
                }
            }
            Class::Job => {
                if dialer {
                    101
                } else {
                    100
                }
            }
            Class::Data => {
                if dialer {
                    1001
                } else {
                    1000
                }
            }
            Class::Bulk => {
                if dialer {
                    10_001
                } else {
                    10_000
                }
            }
        })
    }

    /// The first and last number of a class.
    #[inline]
    pub const fn range(class: Class) -> core::ops::RangeInclusive<u32> {
        match class {
            Class::Critical => 0..=0,
            Class::System => 1..=99,
            Class::Job => 100..=999,
            Class::Data => 1000..=9999,
            Class::Bulk => 10_000..=u32::MAX,
        }
    }

    /// Whether the stream is open from the start, without an OPEN.
    #[inline]
    pub const fn is_lane(self) -> bool {
        matches!(self.0, 0 | 1 | 2 | 100 | 101 | 1000 | 1001 | 10_000 | 10_001)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
