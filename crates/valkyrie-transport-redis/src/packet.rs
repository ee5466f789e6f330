//! The packets of a link and of a listener: what one PUBLISH carries.

use bytes::{Buf, BufMut, Bytes};

/// One packet: a header of 20 bytes, and what its kind has.
//= protocol/transports.md#redis-packets
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) kind: u8,
    /// The place of the packet in its direction of the link.
    pub(crate) number: u64,
    /// How many bytes the receiver of this packet may send in all.
    pub(crate) limit: u64,
    pub(crate) body: Bytes,
}

impl Packet {
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
            return None;
        }
        bytes.advance(MAGIC.len());
        let kind = bytes.get_u8();
        bytes.advance(1);
        Some(Self {
            kind,
            number: bytes.get_u64(),
            limit: bytes.get_u64(),
            body: bytes,
        })
    }

    /// The id that an opening packet carries.
    pub(crate) fn id(&self) -> Option<Id> {
        Some(Id(self.body.as_ref().try_into().ok()?))
    }
}

/// The header of a packet, to which its body is appended.
pub(crate) fn header(kind: u8, number: u64, limit: u64) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_BYTES + ID_BYTES);
    packet.put_slice(&MAGIC);
    packet.put_u8(kind);
    packet.put_u8(0);
    packet.put_u64(number);
    packet.put_u64(limit);
    packet
}

/// A packet whose body is an id.
pub(crate) fn with_id(kind: u8, limit: u64, id: Id) -> Vec<u8> {
    let mut packet = header(kind, 0, limit);
    packet.put_slice(&id.0);
    packet
}

/// A random number that names one end of a link, or who claims a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id([u8; ID_BYTES]);

impl Id {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The channel on which this end of a link is reached.
    //= protocol/transports.md#redis-names
    pub(crate) fn channel(self) -> Vec<u8> {
        let mut channel = b"valkyrie.2.link.".to_vec();
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                channel.push(char::from_digit(nibble.into(), 16).map_or(b'0', |digit| digit as u8));
            }
        }
        channel
    }
}

/// The channel of a node's name.
//= protocol/transports.md#redis-names
pub(crate) fn node_channel(name: &str) -> Vec<u8> {
    format!("valkyrie.2.node.{name}").into_bytes()
}

/// What packets are for.
//= protocol/transports.md#redis-packets
pub(crate) mod kind {
    /// A dialler asks a node for a link.
    pub(crate) const OPEN: u8 = 1;
    /// The node has made its end of it.
    pub(crate) const ACCEPT: u8 = 2;
    /// The node has no room for it.
    pub(crate) const BUSY: u8 = 3;
    /// Bytes of the link.
    pub(crate) const DATA: u8 = 4;
    /// A new limit, or a sign of life.
    pub(crate) const CREDIT: u8 = 5;
    /// The sender ends its direction.
    pub(crate) const END: u8 = 6;
    /// The sender gives the link up.
    pub(crate) const RESET: u8 = 7;
    /// Somebody wants to listen under the node's name.
    pub(crate) const CLAIM: u8 = 8;
    /// Somebody does already.
    pub(crate) const TAKEN: u8 = 9;
    /// Messages of a bus.
    pub(crate) const MESSAGES: u8 = 16;
}

/// How every packet begins: `V`, and the version.
pub(crate) const MAGIC: [u8; 2] = [b'V', 2];

const HEADER_BYTES: usize = 20;
const ID_BYTES: usize = 16;
