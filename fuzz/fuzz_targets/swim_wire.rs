//! Any bytes as a packet of a member: read or refused without a panic, and what is read has one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valkyrie_registry_swim::wire::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some(again) = fuzzing::again(data) else {
        return;
    };
    assert_eq!(again, data, "a second encoding of one packet");
    assert!(
        fuzzing::again(&data[..data.len() - 1]).is_none(),
        "what is cut off is a packet"
    );
});
