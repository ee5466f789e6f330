//! Any second message of a handshake: the dialler takes the acceptor's own and no other.
#![no_main]

#[path = "noise/peers.rs"]
mod noise;

use libfuzzer_sys::fuzz_target;
use valkyrie_security::noise::message_bytes;

fuzz_target!(|data: &[u8]| {
    let Some((suite, data)) = data.split_first() else {
        return;
    };
    let (suite, peers) = (noise::suite(*suite), noise::peers());
    let (dialling, first) = peers.dial(suite);
    let (_, second) = peers.answer(suite, &first);
    let message = noise::attacked(&second, data);
    let mut out = vec![7];
    match dialling.second(&message, &mut out) {
        Ok(finished) => {
            assert_eq!(message, second, "an altered message was taken");
            assert!(peers.is_bob(&finished));
            assert_eq!(out.len(), 1 + message_bytes(suite, 3, 0));
        }
        Err(_) => {
            assert_ne!(message, second, "the acceptor's own message was refused");
            assert_eq!(out, [7]);
        }
    }
});
