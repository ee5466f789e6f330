//! Whether the time of a refusal says where a secret and a guess differ: Welch's t-test between two classes of input, as dudect does it.
//!
//! It informs and decides nothing, so it never fails: a busy machine can hide a leak, or show one that is not there.
//! Two controls say whether this machine and this moment can tell anything at all. |t| of less than 5 is what chance gives
//! when nothing is there; the control that leaks shows what a leak looks like. Run it on an idle machine:
//!
//!     cargo bench -p valkyrie-security --bench constant_time

// This is a command for a terminal, so its output is its purpose.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use bytes::BytesMut;
use valkyrie_security::channel::{ChannelConfig, DatagramOpener, KeySchedule};
use valkyrie_security::handshake::Cookies;
use valkyrie_security::{Cipher, Role};

/// Pairs of one measurement of each class.
const MEASUREMENTS: usize = 1 << 19;

/// Interrupts make a long tail; each of these parts of the measurements is tested, from all to the fastest half.
const KEPT_PER_CENT: [usize; 5] = [100, 99, 95, 80, 50];

/// Ciphertexts of each kind.
const CIPHERTEXTS: usize = 256;

/// For the control that leaks: long enough that an early exit is seen through the clock's own resolution.
const LONG: usize = 4096;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let pairs = if quick { 64 } else { MEASUREMENTS };
    println!("{pairs} pairs each; |t| < 5 is what chance gives\n");
    println!(
        "{:<62} {:>9} {:>9} {:>8}",
        "first class against second", "median ns", "apart ns", "max |t|"
    );

    let secret = [0x5a_u8; LONG];
    let (early, late) = (flipped(&secret, 0), flipped(&secret, LONG - 1));
    let leaks = |guess: &[u8]| secret[..] == *guess;
    report(
        "control: `==` over 4 KiB, wrong early or late (leaks)",
        pairs,
        [&[&early], &[&late]],
        leaks,
    );
    report(
        "control: `==` over 4 KiB, the same twice (cannot leak)",
        pairs,
        [&[&late], &[&late]],
        leaks,
    );

    cookies(pairs);
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        datagrams(pairs, cipher);
    }
    decapsulation(pairs / 4);
}

fn cookies(pairs: usize) {
    let (now, address) = (Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut cookies = Cookies::new(now);
    let right = cookies.issue(now, address);
    let (early, late) = (flipped(&right, 0), flipped(&right, Cookies::LEN - 1));
    report(
        "cookie, wrong in its first or its last byte",
        pairs,
        [&[&early], &[&late]],
        |cookie| cookies.check(now, address, cookie),
    );
    report(
        "as many bytes alone, wrong in the first or the last",
        pairs,
        [&[&early], &[&late]],
        |guess| verify_slices_are_equal(&right, guess).is_ok(),
    );
}

fn datagrams(pairs: usize, cipher: Cipher) {
    let now = Instant::now();
    let schedule = |role| KeySchedule::new(&[1; 32], &[2; 32], &[3; 32], cipher, role);
    let (mut sealer, _) = schedule(Role::Dialler).datagrams(ChannelConfig::default());
    let mut sealed = BytesMut::new();
    sealer.seal(now, &[0; 64], &mut sealed).unwrap();
    let (tag, last) = (sealed.len() - 16, sealed.len() - 1);
    let cases = [
        ("tag, wrong in its first or its last byte", tag, last),
        ("first byte of the content or of the tag wrong", 10, tag),
    ];
    for (what, early, late) in cases {
        let (early, late) = (flipped(&sealed, early), flipped(&sealed, late));
        let opener = || schedule(Role::Acceptor).datagrams(ChannelConfig::default()).1;
        let (mut opening, mut plain) = (opener(), BytesMut::with_capacity(128));
        report(
            &format!("{cipher:?} {what}"),
            pairs,
            [&[&early], &[&late]],
            |datagram| {
                // A receiver closes after so many forgeries; this one begins again.
                if opening.stats().forged + 1 >= DatagramOpener::FORGED_MAX {
                    opening = opener();
                }
                plain.clear();
                opening.open(now, datagram, &mut plain).is_ok()
            },
        );
    }
}

fn decapsulation(pairs: usize) {
    let key = DecapsulationKey::generate(&ML_KEM_768).unwrap();
    // Many of each: any two single ciphertexts can be told apart by a nanosecond or two, whether they are right or not.
    let right: Vec<Vec<u8>> = (0..CIPHERTEXTS)
        .map(|_| key.encapsulation_key().unwrap().encapsulate().unwrap())
        .map(|(ciphertext, _)| ciphertext.as_ref().to_vec())
        .collect();
    let wrong: Vec<Vec<u8>> = right.iter().map(|right| flipped(right, 0)).collect();
    let right: Vec<&[u8]> = right.iter().map(Vec::as_slice).collect();
    let wrong: Vec<&[u8]> = wrong.iter().map(Vec::as_slice).collect();
    let cases: [(&str, [&[&[u8]]; 2]); 2] = [
        (
            "control: ML-KEM-768, right ciphertexts twice (cannot leak)",
            [&right, &right],
        ),
        (
            "ML-KEM-768, ciphertexts that are right or altered",
            [&right, &wrong],
        ),
    ];
    for (what, inputs) in cases {
        report(what, pairs, inputs, |ciphertext| {
            key.decapsulate(Ciphertext::from(ciphertext)).is_ok()
        });
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Measures `run` with inputs of both classes in random order and prints what tells their times apart.
///
/// Every input is copied to the same place first: two buffers lie differently in the cache, and that shows.
fn report(what: &str, pairs: usize, inputs: [&[&[u8]]; 2], mut run: impl FnMut(&[u8]) -> bool) {
    // The top bit of a multiplicative generator is random enough that no predictor falls in step with it.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut times = [Vec::with_capacity(pairs * 2), Vec::with_capacity(pairs * 2)];
    let mut input = inputs[0][0].to_vec();
    for _ in 0..pairs * 2 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let class = usize::from(random >> 63 == 1);
        let pool = inputs[class];
        input.copy_from_slice(pool[(random >> 32) as usize % pool.len()]);
        let began = Instant::now();
        black_box(run(black_box(&input)));
        times[class].push(began.elapsed().as_nanos() as f64);
    }
    let mut all: Vec<f64> = times.concat();
    all.sort_unstable_by(f64::total_cmp);
    let most = KEPT_PER_CENT.map(|kept| {
        let limit = all[(all.len() * kept).div_ceil(100) - 1];
        let [first, second] =
            [0, 1].map(|class: usize| moments(times[class].iter().filter(|time| **time <= limit)));
        welch(first, second).abs()
    });
    let median = |class: usize| {
        let mut sorted = times[class].clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let most = most.into_iter().fold(0.0, f64::max);
    println!(
        "{what:<62} {:>9.0} {:>9.0} {most:>8.1}",
        median(0),
        (median(1) - median(0)).abs()
    );
}

/// Count, mean and variance.
fn moments<'a>(times: impl Iterator<Item = &'a f64>) -> (f64, f64, f64) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for time in times {
        count += 1.0;
        let off = time - mean;
        mean += off / count;
        squares += off * (time - mean);
    }
    (count, mean, squares / (count - 1.0))
}

/// Welch's t of two samples.
fn welch(first: (f64, f64, f64), second: (f64, f64, f64)) -> f64 {
    let error = (first.2 / first.0 + second.2 / second.0).sqrt();
    if error > 0.0 {
        (first.1 - second.1) / error
    } else {
        0.0
    }
}
