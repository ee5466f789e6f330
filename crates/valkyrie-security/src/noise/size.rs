//! How long each handshake message is, exactly. `snow` checks the room for its output only roughly and panics where
//! the check falls short, so no buffer here is ever smaller or larger than the message needs.

use crate::provider::KEY_BYTES;
use crate::suite::{Pattern, Suite};

/// Bytes of message `step`, from 1, when it carries a payload of `payload_bytes`.
///
/// A step that the pattern does not have is 0 bytes long.
//= protocol/security.md#suites
pub const fn message_bytes(suite: &Suite, step: u8, payload_bytes: usize) -> usize {
    let (public, ciphertext) = match suite.kem {
        Some(kem) => (kem.public_bytes(), kem.ciphertext_bytes() + TAG_BYTES),
        None => (0, 0),
    };
    let sealed_static = KEY_BYTES + TAG_BYTES;
    match (suite.pattern, step) {
        // e, e1: no key yet, so nothing of it is sealed.
        (Pattern::Xx, 1) => KEY_BYTES + public + payload_bytes,
        // e, ee, ekem1, s, es
        (Pattern::Xx, 2) => KEY_BYTES + ciphertext + sealed_static + payload_bytes + TAG_BYTES,
        // s, se
        (Pattern::Xx, 3) => sealed_static + payload_bytes + TAG_BYTES,
        // (psk) e, es, e1, s, ss
        (Pattern::Ik | Pattern::IkPsk0, 1) => {
            let sealed_kem = if public == 0 { 0 } else { public + TAG_BYTES };
            KEY_BYTES + sealed_kem + sealed_static + payload_bytes + TAG_BYTES
        }
        // e, ee, ekem1, se
        (Pattern::Ik | Pattern::IkPsk0, 2) => KEY_BYTES + ciphertext + payload_bytes + TAG_BYTES,
        _ => 0,
    }
}

/// The longest payload of a first message. The protocol puts eight bytes there, a clock; the rest is room for a later version.
pub const FIRST_PAYLOAD_BYTES_MAX: usize = 64;

/// Bytes of the tag behind whatever is sealed.
pub(super) const TAG_BYTES: usize = 16;
