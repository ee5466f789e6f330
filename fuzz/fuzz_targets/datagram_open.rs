//! Datagrams with any number of any epoch, good, changed and repeated: each is taken at most once, and only when its tag
//! is good.
#![no_main]

#[path = "../support/channel.rs"]
mod channel;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use channel::{Epoch, Script};
use libfuzzer_sys::fuzz_target;
use valkyrie_security::Role;
use valkyrie_security::channel::{ChannelConfig, DatagramDrop, DatagramOpener};

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(first) = script.byte() else { return };
    let cipher = channel::cipher(first);
    let (_, mut opener) = channel::schedule(cipher, Role::Acceptor).datagrams(ChannelConfig::default());
    let mut epochs = vec![Epoch::first(cipher, b"valkyrie 2 dialler datagram")];
    let (mut now, mut plain) = (Instant::now(), BytesMut::new());
    let mut taken = HashSet::new();
    // The epoch that the opener must be in, the highest number in it, and when the one before was over.
    let (mut current, mut highest, mut previous) = (0_usize, None, None::<(usize, Option<u64>, Instant)>);

    while let Some(op) = script.byte() {
        let Some(bytes) = script.bytes() else { break };
        now += Duration::from_millis(u64::from(op & 0x30) * 50);
        if op & 0x0f == 0x0f {
            plain.clear();
            let outcome = opener.open(now, bytes, &mut plain).expect("few forgeries");
            assert_eq!(outcome, Err(DatagramDrop::Forged));
            assert!(plain.is_empty());
            continue;
        }
        let Some((number, content)) = bytes.split_first_chunk::<8>() else {
            continue;
        };
        // Small numbers and those at the very end are where the window has its edges.
        let number = match op >> 6 {
            0 => u64::from_be_bytes(*number) & 0xfff,
            1 => u64::MAX - (u64::from_be_bytes(*number) & 0xfff),
            _ => u64::from_be_bytes(*number),
        };
        let wanted = (current + usize::from(op & 0x07)).saturating_sub(1).min(600);
        while epochs.len() <= wanted {
            epochs.push(epochs[epochs.len() - 1].next());
        }
        let mut header = [4, wanted as u8, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..].copy_from_slice(&number.to_be_bytes());
        let mut wire = epochs[wanted].seal(number, &header, content);
        let changed = op & 0x08 != 0;
        if changed {
            let at = content.len() % wire.len();
            wire[at] ^= 1 << (number & 7);
        }

        plain.clear();
        let outcome = opener.open(now, &wire, &mut plain).expect("few forgeries");
        let straggler =
            previous.filter(|(epoch, _, over)| *epoch == wanted && now - *over <= DatagramOpener::OVERLAP);
        let known = wanted == current || straggler.is_some() || {
            let ahead = wanted.wrapping_sub(current);
            (1..=usize::from(DatagramOpener::AHEAD_MAX)).contains(&ahead)
        };
        match outcome {
            Ok(()) => {
                assert!(!changed && known, "a datagram was taken that nobody sent");
                assert_eq!(plain, content);
                assert!(taken.insert((wanted, number)), "a datagram was taken twice");
                if wanted > current {
                    previous = Some((current, highest, now));
                    (current, highest) = (wanted, Some(number));
                } else if wanted == current {
                    highest = highest.max(Some(number));
                } else if let Some((_, highest, _)) = &mut previous {
                    *highest = (*highest).max(Some(number));
                }
            }
            Err(drop) => {
                assert!(plain.is_empty());
                let highest = if wanted == current {
                    highest
                } else {
                    straggler.and_then(|(_, highest, _)| highest)
                };
                let old = highest.is_some_and(|highest| highest.saturating_sub(number) >= 2048);
                let seen = taken.contains(&(wanted, number));
                match drop {
                    DatagramDrop::Replayed => {
                        assert!(!changed && (seen || old), "a fresh datagram was dropped")
                    }
                    _ => assert!(changed || !known, "a good datagram was taken for a forgery"),
                }
            }
        }
    }
});
