//! Several messages of one topic in one PUBLISH.

use bytes::{Buf, BufMut, Bytes};
use valkyrie_transport::{BusMessage, MESSAGE_BYTES_MAX};

use crate::packet::{MAGIC, kind};

/// What one PUBLISH on the channel of a topic carries.
//= protocol/transports.md#redis-bus
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Who counts.
    pub(super) publisher: u64,
    /// The number of the first message.
    pub(super) first: u64,
    pub(super) payloads: Vec<Bytes>,
}

impl Packet {
    pub(super) fn encode(publisher: u64, first: u64, messages: &[BusMessage]) -> Vec<u8> {
        let bytes: usize = messages
            .iter()
            .map(|message| LENGTH_BYTES + message.payload.len())
            .sum();
        let mut packet = Vec::with_capacity(HEADER_BYTES + bytes);
        packet.put_slice(&MAGIC);
        packet.put_u8(kind::MESSAGES);
        packet.put_u8(0);
        packet.put_u64(publisher);
        packet.put_u64(first);
        // `fit` has bounded their number, and `check` the length of each.
        packet.put_u32(messages.len() as u32);
        for message in messages {
            packet.put_u32(message.payload.len() as u32);
            packet.put_slice(&message.payload);
        }
        packet
    }

    /// Reads what came on a channel; `None` where it is none of ours.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if !bytes.starts_with(&MAGIC) || bytes.len() < HEADER_BYTES {
            return None;
        }
        bytes.advance(MAGIC.len());
        if bytes.get_u8() != kind::MESSAGES {
            return None;
        }
        bytes.advance(1);
        let (publisher, first, count) = (bytes.get_u64(), bytes.get_u64(), bytes.get_u32() as usize);
        if count == 0 || count > PACKET_MESSAGES_MAX || first.checked_add(count as u64).is_none() {
            return None;
        }
        let mut payloads = Vec::new();
        for _ in 0..count {
            let length = bytes.try_get_u32().ok()? as usize;
            if length > MESSAGE_BYTES_MAX || length > bytes.len() {
                return None;
            }
            payloads.push(bytes.split_to(length));
        }
        bytes.is_empty().then_some(Self {
            publisher,
            first,
            payloads,
        })
    }
}

/// How many messages of the front of a batch share a packet: those of the same topic, within the bounds.
pub(super) fn fit(batch: &[BusMessage]) -> usize {
    let Some(first) = batch.first() else { return 0 };
    let mut bytes = 0;
    let same = batch.iter().take(PACKET_MESSAGES_MAX).take_while(|message| {
        bytes += LENGTH_BYTES + message.payload.len();
        message.topic == first.topic && bytes <= PACKET_BYTES_MAX
    });
    same.count().max(1)
}

const HEADER_BYTES: usize = 24;
const LENGTH_BYTES: usize = 4;

/// How many bytes of messages share a packet; a larger message has one to itself. Where commands begin to cost less than
/// copying does, and small beside what the broker lets wait for a subscriber.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;

/// How many messages share a packet: empty ones would otherwise be without bound.
//= protocol/transports.md#redis-bus
pub const PACKET_MESSAGES_MAX: usize = 4096;
