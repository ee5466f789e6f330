//! Any bytes as an audit log, and any change of a log that is whole: nothing panics, and every change is found.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valkyrie_frame::ErrorCode;
use valkyrie_security::UnixTime;
use valkyrie_security::audit::{AuditChain, AuditEvent, AuditHead, AuditVerifier, verify};

/// A whole log, and where it ends.
static LOG: LazyLock<(Vec<u8>, AuditHead)> = LazyLock::new(|| {
    let now = UnixTime::from_secs(1_800_000_000);
    let (mut chain, mut log) = AuditChain::begin(now);
    for place in ["tcp://192.0.2.1:1", "\u{1b}\"\\\n"] {
        let event = AuditEvent::Refused {
            place,
            code: ErrorCode::UNAUTHENTICATED,
            reason: place,
        };
        log.push('\n');
        log.push_str(&chain.append(&event, now));
    }
    (log.into_bytes(), chain.head())
});

fuzz_target!(|data: &[u8]| {
    let _ = verify(data.split(|byte| *byte == b'\n'), None);
    let mut verifier = AuditVerifier::new(None).without_oldest();
    if data
        .split(|byte| *byte == b'\n')
        .all(|line| verifier.line(line).is_ok())
    {
        let _ = verifier.finish();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = AuditChain::resume(text);
        let _ = text
            .parse::<AuditHead>()
            .map(|head| assert_eq!(head.to_string().parse(), Ok(head)));
    }
    // The first bytes say where to put the rest over the log.
    let (log, head) = &*LOG;
    if let Some(([high, low], over)) = data.split_first_chunk::<2>() {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % log.len();
        let mut changed = log.clone();
        for (byte, other) in changed.iter_mut().skip(at).zip(over) {
            *byte = *other;
        }
        let whole = verify(changed.split(|byte| *byte == b'\n'), Some(*head));
        assert_eq!(whole.is_ok(), changed == *log, "{whole:?}");
    }
});
