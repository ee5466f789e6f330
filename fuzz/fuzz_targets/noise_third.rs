//! Any third message of a handshake: the acceptor takes the dialler's own and no other.
#![no_main]

#[path = "noise/peers.rs"]
mod noise;

use libfuzzer_sys::fuzz_target;
use valkyrie_security::noise::Accepted;

fuzz_target!(|data: &[u8]| {
    let Some((suite, data)) = data.split_first() else {
        return;
    };
    let (suite, peers) = (noise::suite(*suite), noise::peers());
    let (dialling, first) = peers.dial(suite);
    let (accepted, second) = peers.answer(suite, &first);
    // Only XX has a third message.
    let Accepted::Waiting(accepting) = accepted else {
        return;
    };
    let mut third = Vec::new();
    let dialled = dialling.second(&second, &mut third).expect("nobody altered it");
    let message = noise::attacked(&third, data);
    match accepting.third(&message) {
        Ok(finished) => {
            assert_eq!(message, third, "an altered message was taken");
            assert!(peers.is_ada(&finished));
            assert_eq!(finished.hash(), dialled.hash());
        }
        Err(_) => assert_ne!(message, third, "the dialler's own message was refused"),
    }
});
