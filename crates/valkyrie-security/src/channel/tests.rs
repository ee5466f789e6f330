//! What the channel promises, tested between two ends that share a handshake.

use std::time::Instant;

use bytes::BytesMut;

use super::*;
use crate::{Cipher, Role};

fn schedule(cipher: Cipher, role: Role) -> KeySchedule {
    KeySchedule::new(&[1; 32], &[2; 32], &[3; 32], cipher, role)
}

fn pair(config: ChannelConfig) -> (Sealer, Opener) {
    let (sealer, _) = schedule(Cipher::Aes256Gcm, Role::Dialler).channel(config);
    let (_, opener) = schedule(Cipher::Aes256Gcm, Role::Acceptor).channel(config);
    (sealer, opener)
}

#[test]
fn what_is_sealed_is_opened() {
    let (mut sealer, mut opener) = pair(ChannelConfig::default());
    let now = Instant::now();
    let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
    sealer
        .seal(now, [&b"many "[..], b"", b"small ", b"chunks"], &mut wire)
        .unwrap();
    assert_eq!(sealer.stats().records, 1, "chunks share a record");
    assert_eq!(opener.begun_record_len(&wire), wire.len());
    assert_eq!(opener.open(now, &mut wire, &mut plain), Ok(None));
    assert_eq!(&plain[..], b"many small chunks");
    assert!(wire.is_empty());
}
