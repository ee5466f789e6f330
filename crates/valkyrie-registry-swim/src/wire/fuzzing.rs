//! What the fuzz target reaches: any bytes as a packet, written again where they are read.

use super::Packet;

/// The packet, written again; `None` where it is refused.
pub fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::decode(bytes).ok()?;
    // What was read can be written.
    Some(packet.encode().expect("what was read cannot be written").to_vec())
}
