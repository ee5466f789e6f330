//! Any first message of a handshake: read and answered, or refused with nothing written.
#![no_main]

#[path = "noise/peers.rs"]
mod noise;

use libfuzzer_sys::fuzz_target;
use valkyrie_security::noise::{Accepted, message_bytes};
use valkyrie_security::suite::Pattern;

fuzz_target!(|data: &[u8]| {
    let Some((suite, data)) = data.split_first() else {
        return;
    };
    let (suite, peers) = (noise::suite(*suite), noise::peers());
    let message = match data.split_first() {
        Some((mode, _)) if mode & 1 == 1 => noise::attacked(&peers.dial(suite).1, data),
        Some((_, message)) => message.to_vec(),
        None => return,
    };
    let Ok(opened) = peers.read(suite, &message) else {
        return;
    };
    assert_eq!(message.len(), message_bytes(suite, 1, opened.payload().len()));
    assert_eq!(message[..32], opened.ephemeral());
    assert_eq!(opened.peer().is_some(), suite.pattern != Pattern::Xx);
    let mut out = vec![7];
    match opened.answer(&mut out) {
        Ok(accepted) => {
            assert_eq!(out.len(), 1 + message_bytes(suite, 2, 0));
            if let Accepted::Finished(finished) = accepted {
                assert!(
                    peers.is_ada(&finished),
                    "somebody without the key wrote a first message"
                );
            }
        }
        Err(_) => assert_eq!(out, [7]),
    }
});
