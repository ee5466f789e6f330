//! Links that break in the middle of everything, and two applications that must not notice.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use proptest::prelude::*;
use valkyrie_sim::{Chaos, Rng, Tally};

/// The tokens are the real ones.
fn sign(secret: &[u8; 32], said: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), said);
    tag.as_ref().try_into().expect("of 32 bytes")
}

/// Lives until so many links have broken, and has the two sides compare their books. Each message of a reliable class
/// came once and in order, each call has one outcome, or it panics.
fn live(seed: u64, breaks: u64) -> Tally {
    let mut chaos = Chaos::roaming(sign, seed);
    let mut rng = Rng::new(!seed);
    while chaos.pair().tally().breaks < breaks {
        chaos.step(&mut |end| rng.below(end));
    }
    let counts = chaos.counts();
    assert!(counts.calls > 0 && counts.answered > 0 && counts.streams > 0 && counts.messages > 0);
    chaos.reconcile();
    chaos.pair().tally().clone()
}

#[allow(clippy::print_stdout, reason = "figures for whoever runs it")]
fn say(tally: &Tally, began: Instant) {
    println!(
        "{} breaks ({} seen by both ends at once, {} while resuming, {} with RESUME_ACK lost), {} hops, {} resumes, \
         {} refusals; pauses p50 {:?} p99 {:?} longest {:?} of virtual time; {:?}",
        tally.breaks,
        tally.both_at_once,
        tally.broken_while_resuming,
        tally.lost_acks,
        tally.hops,
        tally.resumes,
        tally.refusals,
        tally.pause(0.5),
        tally.pause(0.99),
        tally.pause(1.0),
        began.elapsed(),
    );
}

fn assert_everything_happened(tally: &Tally) {
    for (what, count) in [
        ("breaks seen by both at once", tally.both_at_once),
        ("breaks while resuming", tally.broken_while_resuming),
        ("lost RESUME_ACKs", tally.lost_acks),
        ("hops", tally.hops),
        ("resumes", tally.resumes),
        ("refusals", tally.refusals),
    ] {
        assert!(count > tally.breaks / 100, "{count} {what}: {tally:?}");
    }
    assert!(tally.pause(0.99) < Duration::from_millis(100), "in virtual time");
}

#[test]
fn thousands_of_breaks_lose_nothing_and_repeat_nothing() {
    let began = Instant::now();
    // With every invariant looked at after every step, each takes some thirty times as long.
    let breaks = if cfg!(debug_assertions) { 1_500 } else { 10_000 };
    let tally = live(7, breaks);
    say(&tally, began);
    assert_everything_happened(&tally);
}

#[test]
fn each_seed_ends_with_equal_books() {
    for seed in 100..108 {
        live(seed, 50);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_commands_over_links_that_break_keep_every_promise(
        choices in proptest::collection::vec(any::<u16>(), 200..2000),
        seed in any::<u64>(),
    ) {
        let mut chaos = Chaos::roaming(sign, seed);
        let mut choices = choices.into_iter();
        while choices.len() > 0 {
            chaos.step(&mut |end| choices.next().map_or(0, |choice| u64::from(choice) % end.max(1)));
        }
        chaos.reconcile();
    }
}

#[test]
#[ignore = "takes minutes: a million breaks"]
fn a_million_breaks_lose_nothing_and_repeat_nothing() {
    let began = Instant::now();
    let tally = live(1, 1_000_000);
    say(&tally, began);
    assert_everything_happened(&tally);
}
