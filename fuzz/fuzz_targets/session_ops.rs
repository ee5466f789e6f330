//! Any commands on two sessions over a link, and at the end their books agree.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use valkyrie_sim::{Chaos, Path};

fuzz_target!(|data: &[u8]| {
    let [path, packet, rest @ ..] = data else { return };
    let path = match path % 3 {
        0 => Path::INSTANT,
        1 => Path::new(10_000_000, Duration::from_micros(500)),
        _ => Path {
            packet: 1 + usize::from(*packet),
            buffer: 1 + 16 * usize::from(*packet),
            loss_per_million: 10_000,
            retransmit_after: Duration::from_millis(3),
            ..Path::new(10_000_000, Duration::from_micros(500))
        },
    };
    let mut chaos = Chaos::new(path, u64::from(*packet));
    // More commands find nothing that these do not, and take long.
    let mut bytes = rest.iter().take(COMMAND_BYTES_MAX);
    while bytes.len() > 0 {
        chaos.step(&mut |end| {
            let low = u64::from(bytes.next().copied().unwrap_or(0));
            let high = if end > 256 {
                u64::from(bytes.next().copied().unwrap_or(0))
            } else {
                0
            };
            (high << 8 | low) % end.max(1)
        });
    }
    chaos.reconcile();
});

const COMMAND_BYTES_MAX: usize = 2048;
