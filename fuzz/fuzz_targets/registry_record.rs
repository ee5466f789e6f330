//! Any bytes as a record of a registry: read or refused without a panic, and what is read has one encoding.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use valkyrie_registry::Key;
use valkyrie_registry::agent::Word;
use valkyrie_registry::record::{Record, fuzzing};

static CLUSTER: LazyLock<Word> = LazyLock::new(|| "fuzz".parse().expect("a word"));

fuzz_target!(|data: &[u8]| {
    let Some((again, key)) = fuzzing::again(data) else {
        return;
    };
    assert_eq!(again, data, "a second encoding of one record");
    for len in [0, data.len() / 2, data.len() - 1] {
        assert!(fuzzing::again(&data[..len]).is_none(), "cut at {len}");
    }
    // Whether the signature is good is all that is left to say.
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Record::open(&CLUSTER, &key, &bytes) {
        assert!(record.description().check().is_ok());
    }
    let elsewhere: Key = "agents/x/y".parse().expect("a key");
    assert!(Record::open(&CLUSTER, &elsewhere, &bytes).is_err());
});
