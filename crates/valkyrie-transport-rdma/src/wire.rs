//! What is on the wire: the private data that a connection begins with, and the header of a message.
//!
//! Pure: bytes in, values out. Which message may come when, and what it costs, is in [`flow`](crate::flow).
//! Read [`Hello`] first.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

/// What each side says of itself: the dialler in its connection request, the acceptor in its reply.
//= protocol/transports.md#rdma-opening
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// How many messages the peer may send before it was given credit.
    pub(crate) slots: u16,
    /// The largest message the peer may send, header included.
    pub(crate) slot_bytes: u32,
    /// How large the ring is that the peer may write to; 0 for none.
    pub(crate) ring_bytes: u32,
    /// Where the ring begins, in this side's memory.
    pub(crate) ring_address: u64,
    /// The key that lets the peer write there.
    pub(crate) ring_key: u32,
}

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[6..8].copy_from_slice(&self.slots.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.slot_bytes.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ring_bytes.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.ring_address.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.ring_key.to_be_bytes());
        bytes
    }

    /// Reads private data. What follows the known fields is padding of the connection manager and is ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        if bytes.get(0..4) != Some(&MAGIC) {
            return Err(HelloError::NotValkyrie);
        }
        // The place of the version is the same in every version, so that it can be told.
        match bytes.get(4) {
            Some(&VERSION) => {}
            Some(&theirs) => return Err(HelloError::Version { theirs }),
            None => return Err(HelloError::Truncated),
        }
        let mut fields = Fields(bytes.get(6..HELLO_BYTES).ok_or(HelloError::Truncated)?);
        let hello = Self {
            slots: u16::from_be_bytes(fields.take()),
            slot_bytes: u32::from_be_bytes(fields.take()),
            ring_bytes: u32::from_be_bytes(fields.take()),
            ring_address: u64::from_be_bytes(fields.take()),
            ring_key: u32::from_be_bytes(fields.take()),
        };
        hello.check()?;
        Ok(hello)
    }

    fn check(&self) -> Result<(), HelloError> {
        if !SLOTS_RANGE.contains(&self.slots) {
            return Err(HelloError::Slots { slots: self.slots });
        }
        if !SLOT_BYTES_RANGE.contains(&self.slot_bytes) {
            return Err(HelloError::SlotBytes {
                bytes: self.slot_bytes,
            });
        }
        if self.ring_bytes != 0 && !RING_BYTES_RANGE.contains(&self.ring_bytes) {
            return Err(HelloError::RingBytes {
                bytes: self.ring_bytes,
            });
        }
        // A ring that wraps around the end of memory is no ring.
        if self
            .ring_address
            .checked_add(u64::from(self.ring_bytes))
            .is_none()
        {
            return Err(HelloError::RingAddress);
        }
        Ok(())
    }
}

/// Takes the fields of a slice that was checked to be long enough, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// Why private data is not what a link begins with. The peer is at fault, and nothing was set up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It does not begin as Valkyrie's does.
    #[error("what the peer says of itself does not begin as a Valkyrie peer's does; it is something else")]
    NotValkyrie,
    /// It is of a version that this side does not speak.
    #[error("the peer speaks version {theirs} of Valkyrie over RDMA, and this side {VERSION}")]
    Version {
        /// The peer's version.
        theirs: u8,
    },
    /// It ends too early.
    #[error("what the peer says of itself is cut off; it has {HELLO_BYTES} bytes")]
    Truncated,
    /// The number of receives is none that works.
    #[error("the peer offers {slots} receives; it must offer from {} to {}", SLOTS_RANGE.start(), SLOTS_RANGE.end())]
    Slots {
        /// What it offers.
        slots: u16,
    },
    /// The size of a receive is none that works.
    #[error(
        "the peer offers receives of {bytes} bytes; they must have from {} to {}", SLOT_BYTES_RANGE.start(), SLOT_BYTES_RANGE.end()
    )]
    SlotBytes {
        /// What it offers.
        bytes: u32,
    },
    /// The size of the ring is none that works.
    #[error(
        "the peer offers a ring of {bytes} bytes; it must have from {} to {}, or 0 for none", RING_BYTES_RANGE.start(), RING_BYTES_RANGE.end()
    )]
    RingBytes {
        /// What it offers.
        bytes: u32,
    },
    /// The ring goes past the end of memory.
    #[error("the peer offers a ring that goes past the end of memory")]
    RingAddress,
}

/// Why an acceptor turned a dialler away, as the private data of the rejection.
//= protocol/transports.md#rdma-opening
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It has as many connections waiting as it allows.
    Busy,
    /// The request was malformed.
    Malformed,
    /// It speaks another version, which it names.
    Version { theirs: u8 },
    /// Something else, or nothing that a Valkyrie acceptor says.
    Unknown,
}

impl Rejection {
    pub(crate) fn encode(self) -> [u8; REJECTION_BYTES] {
        let code = match self {
            Self::Busy => 1,
            Self::Malformed => 2,
            Self::Version { .. } => 3,
            Self::Unknown => 0,
        };
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, VERSION, code]
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        match bytes {
            [a, b, c, d, version, code, ..] if [*a, *b, *c, *d] == MAGIC => match code {
                1 => Self::Busy,
                2 => Self::Malformed,
                3 => Self::Version { theirs: *version },
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

impl From<HelloError> for Rejection {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Version { theirs } => Self::Version { theirs },
            _ => Self::Malformed,
        }
    }
}

/// The header of a message that is sent; what is written to a ring has none.
//= protocol/transports.md#rdma-messages
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) grant: Grant,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes of the link follow.
    Data,
    /// Credit, and nothing else.
    Credit,
    /// The sender's direction ends.
    End,
}

/// Credit that a message brings: what the peer took from earlier messages and does not need any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Receives.
    pub(crate) slots: u16,
    /// Bytes of the ring.
    pub(crate) ring_bytes: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::Credit => 1,
            Kind::End => 2,
        };
        let [s0, s1] = self.grant.slots.to_be_bytes();
        let [r0, r1, r2, r3] = self.grant.ring_bytes.to_be_bytes();
        [kind, 0, s0, s1, r0, r1, r2, r3]
    }

    /// Reads the header of a message of `length` bytes.
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES], length: usize) -> Result<Self, MessageError> {
        if length < HEADER_BYTES {
            return Err(MessageError::Truncated);
        }
        let [kind, _reserved, s0, s1, r0, r1, r2, r3] = bytes;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Credit,
            2 => Kind::End,
            kind => return Err(MessageError::UnknownKind { kind }),
        };
        let has_bytes = length > HEADER_BYTES;
        if has_bytes != (kind == Kind::Data) {
            return Err(MessageError::WrongLength);
        }
        Ok(Self {
            kind,
            grant: Grant {
                slots: u16::from_be_bytes([s0, s1]),
                ring_bytes: u32::from_be_bytes([r0, r1, r2, r3]),
            },
        })
    }
}

/// Why a message is none. The peer is at fault, and the link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is shorter than a header.
    #[error("a message is shorter than its header")]
    Truncated,
    /// Its kind is unknown.
    #[error("a message is of the unknown kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// A message of data has none, or another has some.
    #[error("a message has bytes where it must have none, or none where it must have some")]
    WrongLength,
    /// More credit came than was owed.
    #[error("the peer gives back more than it was sent")]
    Overgranted,
    /// More messages came than credit was given for, or more was written than the ring had room for.
    #[error("the peer sends more than it has credit for")]
    Overrun,
    /// Bytes came after the end.
    #[error("the peer goes on sending after it said that it would not")]
    AfterEnd,
}

/// "VKRD".
const MAGIC: [u8; 4] = *b"VKRD";

/// The one version there is.
pub(crate) const VERSION: u8 = 1;

/// The length of a [`Hello`]: half of the 56 bytes that the connection manager has room for in a request.
pub(crate) const HELLO_BYTES: usize = 28;

/// The length of a [`Rejection`].
const REJECTION_BYTES: usize = 6;

/// The length of a [`Header`].
pub(crate) const HEADER_BYTES: usize = 8;

/// How many receives a side may offer. With fewer than four, credit would be most of what is sent; more than a few thousand are no
/// device's.
pub(crate) const SLOTS_RANGE: RangeInclusive<u16> = 4..=4096;

/// How large a receive may be: it must hold more than a header, and what is larger is for the ring.
pub(crate) const SLOT_BYTES_RANGE: RangeInclusive<u32> = 256..=1024 * 1024;

/// How large a ring may be: at least two of the smallest writes that are worth it.
pub(crate) const RING_BYTES_RANGE: RangeInclusive<u32> = 8 * 1024..=64 * 1024 * 1024;
