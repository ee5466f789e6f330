//! Any bytes as a request, an answer, a page or a batch of a registry: read or refused without a panic, and what is read has one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valkyrie_registry_remote::wire::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((selector, bytes)) = data.split_first() else {
        return;
    };
    let Some(again) = fuzzing::again(*selector, bytes) else {
        return;
    };
    assert_eq!(again, bytes, "a second encoding of one message");
    // Every message begins with what says how it goes on; what is cut off is none, but for the request that says nothing.
    if !bytes.is_empty() {
        assert!(fuzzing::again(*selector, &bytes[..bytes.len() - 1]).is_none());
    }
});
