//! Any text as pins, known peers and revocations: read or refused with a line that is there; what is read is written and
//! read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valkyrie_security::trust::{KnownPeers, Pins, RevocationList, Trust, TrustFileError};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Pins::parse(text) {
        Ok(pins) => {
            assert_eq!(Pins::parse(&pins.to_string()).as_ref(), Ok(&pins));
            for pin in pins.iter() {
                assert_eq!(pins.find(&pin.fingerprint), Some(pin));
                assert!(pin.next.is_none_or(|next| pins.find(&next) == Some(pin)));
            }
        }
        Err(error) => is_there(text, &error),
    }
    match KnownPeers::parse(text) {
        Ok(known) => {
            assert_eq!(KnownPeers::parse(&known.to_string()).as_ref(), Ok(&known));
            assert_eq!(known.iter().count(), known.len());
        }
        Err(error) => is_there(text, &error),
    }
    match RevocationList::parse(text) {
        Ok(list) => {
            let again = RevocationList::parse(&list.to_string());
            assert_eq!(again.as_ref(), Ok(&list));
            let signed = list.issuer().is_some();
            assert_eq!(
                Trust::default().revoke(list).is_err(),
                signed,
                "nobody's signature counts here"
            );
        }
        Err(error) => is_there(text, &error),
    }
});

fn is_there(text: &str, error: &TrustFileError) {
    assert!((1..=text.lines().count()).contains(&error.line), "{error}");
    assert!(!error.to_string().is_empty());
}
