//! Fifty nodes under virtual time: cut off, slow, flapping, killed, restarted one after the other, with clocks that are wrong. Calls go
//! on all the while, and at the end everything is well again.
//!
//! A short form runs with the other tests. The long one is
//! `SIM_CALLS=1000000 SIM_SEEDS=1,2,3 cargo test --release -p valkyrie-router --test simulation -- --nocapture`.

mod net;
mod store;
mod world;

use std::time::Duration;

use world::{Outcome, World};

/// Calls for each seed, unless told otherwise.
const CALLS: u64 = 6_000;

#[test]
fn what_is_called_ends_in_time_runs_once_and_everything_heals() {
    let calls = std::env::var("SIM_CALLS").map_or(CALLS, |text| text.parse().expect("SIM_CALLS is a number"));
    let seeds = std::env::var("SIM_SEEDS").unwrap_or_else(|_| "1,2,3".to_owned());
    for seed in seeds
        .split(',')
        .map(|seed| seed.parse().expect("SIM_SEEDS are numbers"))
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(run(seed, calls));
        #[allow(clippy::print_stdout, reason = "shown with --nocapture")]
        {
            println!("seed {seed}: {outcome:?}");
        }
        assert!(
            outcome.answered * 10 > outcome.calls * 8,
            "most calls are answered: {outcome:?}"
        );
        assert!(outcome.faults > 10, "{outcome:?}");
    }
}

async fn run(seed: u64, calls: u64) -> Outcome {
    let mut world = World::new(seed).await;
    world.live_through_faults(calls).await;
    world.converges_within(Duration::from_secs(20)).await;
    world.nobody_is_left_alone_after(Duration::from_secs(75)).await;
    world.every_call_is_answered().await;
    world.outcome()
}
