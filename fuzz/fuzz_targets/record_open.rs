//! Records that a peer with the keys may send, and bytes that anyone may: what is good is opened exactly, and after the first
//! that is not nothing is.
#![no_main]

#[path = "../support/channel.rs"]
mod channel;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use channel::{Epoch, Script};
use libfuzzer_sys::fuzz_target;
use valkyrie_frame::{FrameRef, Group, Kind};
use valkyrie_security::Role;
use valkyrie_security::channel::{ChannelConfig, OpenError, Within};

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(first) = script.byte() else { return };
    let cipher = channel::cipher(first);
    let opener = || {
        channel::schedule(cipher, Role::Acceptor)
            .channel(ChannelConfig::default())
            .1
    };
    let (mut opener, mut within) = (opener(), opener());
    let (mut epoch, mut number) = (Epoch::first(cipher, b"valkyrie 2 dialler"), 0);
    let (mut now, mut rekeys) = (Instant::now(), 0);
    let (mut input, mut plain) = (BytesMut::new(), BytesMut::new());

    while let Some(op) = script.byte() {
        let Some(bytes) = script.bytes() else { break };
        if op & 0x20 != 0 {
            now += Duration::from_secs(10);
            rekeys = 0;
        }
        // A record as the page wants it, but for its type and its plaintext; or the bytes as they are.
        let [kind, content @ ..] = bytes else { continue };
        let [_, l0, l1, l2] = (content.len() as u32 + 16).to_be_bytes();
        let header = [*kind, epoch.number as u8, l0, l1, l2];
        let mut wire = epoch.seal(number, &header, content);
        let sound = match op & 0x0f {
            0 => false,
            1 => {
                // Changed at one place, which content and place of the script choose.
                let at = usize::from(op >> 6) + content.len() / 2;
                let last = wire.len() - 1;
                wire[at.min(last)] ^= kind | 1;
                false
            }
            _ => true,
        };
        let wire = if op & 0x0f == 0 { bytes.to_vec() } else { wire };
        let expected = if sound {
            expected(*kind, content, epoch.number, rekeys)
        } else {
            Expected::Nothing
        };

        let before = plain.len();
        let cut = wire.len() / 2;
        input.extend_from_slice(&wire[..cut]);
        let early = opener.open(now, &mut input, &mut plain);
        input.extend_from_slice(&wire[cut..]);
        let outcome = match early {
            Ok(None) => opener.open(now, &mut input, &mut plain),
            early => early,
        };
        let fresh = &plain[before..];
        match (&expected, &outcome) {
            (Expected::Data(data), Ok(None)) => assert_eq!(fresh, *data),
            (Expected::Control(frame), Ok(Some(control))) => {
                assert_eq!(control.frame(), frame);
                assert!(fresh.is_empty());
            }
            (Expected::Rekey, Ok(None)) => {
                assert!(fresh.is_empty());
                (epoch, number, rekeys) = (epoch.next(), 0, rekeys + 1);
            }
            (Expected::Error(expected), Err(error)) => {
                assert_eq!(std::mem::discriminant(expected), std::mem::discriminant(error));
            }
            (Expected::Nothing, _) => {}
            (expected, outcome) => panic!("{expected:?} was due and {outcome:?} came"),
        }
        if sound {
            // The same where the record lies, behind as much room as the script says.
            let mut at = Within {
                plain: 3,
                sealed: 3 + usize::from(op >> 6) * 40,
            };
            let mut buffer = vec![0; at.sealed];
            buffer.extend_from_slice(&wire);
            assert_eq!(within.open_within(now, &mut buffer, &mut at), outcome);
            assert_eq!(buffer[3..at.plain], *fresh);
            if matches!(expected, Expected::Data(_) | Expected::Control(_)) {
                number += 1;
            }
            if matches!(expected, Expected::Error(_)) {
                closed(&mut opener, now);
                return;
            }
        } else {
            assert!(fresh.is_empty(), "bytes that nobody sealed were released");
            if outcome.is_err() {
                closed(&mut opener, now);
            }
            // What is still waited for has no end that can be told from here.
            return;
        }
    }
});

#[derive(Debug)]
enum Expected<'a> {
    Data(&'a [u8]),
    Control(&'a [u8]),
    Rekey,
    Error(OpenError),
    /// No plaintext; perhaps an error, perhaps not yet.
    Nothing,
}

/// What the page says about a record with a good tag.
fn expected(kind: u8, plain: &[u8], epoch: u32, rekeys: usize) -> Expected<'_> {
    let length = plain.len() as u32 + 16;
    if !matches!(kind, 1 | 2 | 0x81 | 0x82) {
        return Expected::Error(OpenError::Kind { found: kind });
    }
    if plain.is_empty() {
        return Expected::Error(OpenError::Length { found: length });
    }
    let content = if kind & 0x80 == 0 {
        plain
    } else {
        let zeros = plain.iter().rev().take_while(|byte| **byte == 0).count();
        match plain[..plain.len() - zeros].split_last() {
            Some((0x80, content)) => content,
            _ => return Expected::Error(OpenError::Padding),
        }
    };
    if kind & 0x7f == 1 {
        return Expected::Data(content);
    }
    let Ok(Some((frame, []))) = FrameRef::decode(content, 65_536) else {
        return Expected::Error(OpenError::Control);
    };
    if frame.header.kind.group() != Some(Group::Auth) {
        return Expected::Error(OpenError::Control);
    }
    if frame.header.kind != Kind::REKEY {
        return Expected::Control(content);
    }
    match <[u8; 4]>::try_from(frame.payload) {
        Err(_) => Expected::Error(OpenError::Control),
        Ok(next) if u32::from_be_bytes(next) != epoch + 1 => Expected::Error(OpenError::Rekey {
            found: u32::from_be_bytes(next),
            current: epoch,
        }),
        Ok(_) if rekeys >= 64 => Expected::Error(OpenError::TooManyRekeys),
        Ok(_) => Expected::Rekey,
    }
}

/// Nothing is opened any more, not even what would have been good at first.
fn closed(opener: &mut valkyrie_security::channel::Opener, now: Instant) {
    let mut plain = BytesMut::new();
    assert!(
        opener
            .open(now, &mut BytesMut::from(&b"\x01"[..]), &mut plain)
            .is_err()
    );
    assert!(plain.is_empty());
}
