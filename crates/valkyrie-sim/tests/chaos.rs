//! Random events by the hundred thousand, and nothing leaks.

use std::time::Duration;

use valkyrie_proto::{CloseReason, ErrorCode, Failure, Side};
use valkyrie_sim::{Chaos, Counts, Path, Rng};

fn paths() -> [Path; 4] {
    let lossy = Path {
        loss_per_million: 20_000,
        reorder_per_million: 50_000,
        retransmit_after: Duration::from_millis(15),
        ..Path::new(4_000_000, Duration::from_millis(3))
    };
    [
        Path::INSTANT,
        Path::new(50_000_000, Duration::from_micros(100)),
        lossy,
        Path {
            buffer: 1000,
            packet: 100,
            ..Path::new(1_000_000, Duration::from_millis(1))
        },
    ]
}

fn run(seed: u64, epochs: u64, events: u64) -> Counts {
    let mut rng = Rng::new(seed);
    let mut total = Counts::default();
    for epoch in 0..epochs {
        let path = paths()[(epoch % 4) as usize];
        let mut chaos = Chaos::new(path, rng.any());
        for _ in 0..events / epochs {
            chaos.step(&mut |end| rng.below(end));
        }
        for side in [Side::Dialer, Side::Acceptor] {
            let reason = chaos.pair().session(side).close_reason().cloned();
            assert_eq!(reason, None, "epoch {epoch}");
        }
        chaos.reconcile();
        let counts = chaos.counts();
        assert_eq!(
            counts.calls,
            counts.answered + counts.failed,
            "every call ended once"
        );
        total.calls += counts.calls;
        total.answered += counts.answered;
        total.streams += counts.streams;
        total.messages += counts.messages;
        total.resets += counts.resets;
        total.refused += counts.refused;
    }
    total
}

#[test]
fn a_hundred_thousand_random_events_leak_nothing() {
    let counts = run(1, 8, 100_000);
    assert!(counts.answered > 1000 && counts.streams > 500, "{counts:?}");
    assert!(counts.messages > 3000 && counts.resets > 100, "{counts:?}");
    assert!(counts.refused > 100, "every bound is met: {counts:?}");
}

#[test]
#[ignore = "takes minutes: run it with --release"]
fn ten_million_random_events_leak_nothing() {
    let counts = run(2, 100, 10_000_000);
    assert!(counts.answered > 100_000 && counts.streams > 50_000, "{counts:?}");
}

#[test]
fn a_drain_in_the_middle_of_everything_ends_in_order() {
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let mut chaos = Chaos::new(paths()[(seed % 4) as usize], seed);
        for _ in 0..1500 {
            chaos.step(&mut |end| rng.below(end));
        }
        let side = if seed % 2 == 0 {
            Side::Dialer
        } else {
            Side::Acceptor
        };
        let now = chaos.pair().now();
        chaos.pair().session(side).drain(now, 5);
        for _ in 0..300 {
            chaos.step(&mut |end| rng.below(end));
        }
        // Streams and answers end; then the session does.
        chaos.wind_down();
        for side in [Side::Dialer, Side::Acceptor] {
            let session = chaos.pair().session(side);
            assert!(session.is_closed(), "seed {seed}");
            let culprit = session.close_reason().and_then(CloseReason::culprit);
            assert_eq!(culprit, None, "seed {seed}: {:?}", session.close_reason());
        }
        let counts = chaos.counts();
        assert_eq!(counts.calls, counts.answered + counts.failed, "seed {seed}");
    }
}

#[test]
fn a_sudden_end_in_the_middle_of_everything_ends_every_call_once() {
    for seed in 0..24 {
        let mut rng = Rng::new(seed + 100);
        let mut chaos = Chaos::new(paths()[(seed % 4) as usize], seed);
        for _ in 0..1500 {
            chaos.step(&mut |end| rng.below(end));
        }
        let now = chaos.pair().now();
        if seed % 2 == 0 {
            chaos
                .pair()
                .session(Side::Dialer)
                .close(now, Failure::new(ErrorCode::OK, ""));
        } else {
            chaos.pair().session(Side::Dialer).handle_eof(now);
            chaos.pair().session(Side::Acceptor).handle_eof(now);
        }
        for _ in 0..300 {
            chaos.step(&mut |end| rng.below(end));
        }
        chaos.wind_down();
        let counts = chaos.counts();
        assert_eq!(counts.calls, counts.answered + counts.failed, "seed {seed}");
        for side in [Side::Dialer, Side::Acceptor] {
            assert_eq!(chaos.pair().session(side).outstanding(), 0, "seed {seed}");
        }
    }
}
