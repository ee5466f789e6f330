//! How fast crashes are noticed, with packets lost or not, and what that costs in false verdicts.

use std::time::Duration;

use crate::world::World;

/// A crash, and when each of the others declared it.
fn crash(seed: u64, count: usize, loss: f64) -> (World, Vec<Duration>) {
    let mut world = World::settled(seed, count);
    world.loss = loss;
    // So that members are anywhere in their rounds.
    let pause = world.dice.u64(1000..2000);
    world.run_for(Duration::from_millis(pause));
    let victim = world.dice.usize(..count);
    let since = world.at;
    world.crash(victim);
    world.run_until(Duration::from_secs(30), |world| {
        world.blind_to(victim).len() == count - 1
    });
    let verdicts = world.verdicts_about(victim, since);
    assert_eq!(verdicts.len(), count - 1, "seed {seed}: somebody has not noticed");
    (world, verdicts)
}

#[test]
fn a_crash_among_eight_is_declared_by_all_within_one_to_one_point_six_seconds() {
    let figures = crashes(8, 0.0, 100);
    assert!(figures.first >= Duration::from_millis(1000), "{figures:?}");
    assert!(figures.last <= Duration::from_millis(1600), "{figures:?}");
    assert_eq!(figures.false_verdicts, 0);
}

#[test]
fn with_one_packet_in_twenty_lost_eight_are_as_fast() {
    let figures = crashes(8, 5.0, 50);
    // Of a probe that was lost before the crash nobody can tell that it was.
    assert!(figures.first >= Duration::from_millis(900), "{figures:?}");
    assert!(figures.last <= Duration::from_millis(1600), "{figures:?}");
    assert_eq!(figures.false_verdicts, 0);
}

#[test]
fn with_one_packet_in_five_lost_eight_are_nearly_as_fast() {
    let figures = crashes(8, 20.0, 50);
    assert!(figures.last <= Duration::from_millis(2500), "{figures:?}");
}

#[test]
fn fifty_are_as_fast_as_eight() {
    let figures = crashes(50, 0.0, 4);
    assert!(figures.first >= Duration::from_millis(1000), "{figures:?}");
    assert!(figures.last <= Duration::from_millis(1600), "{figures:?}");
    assert_eq!(figures.false_verdicts, 0);
}

#[test]
fn fifty_bear_loss_as_well() {
    for loss in [5.0, 20.0] {
        let figures = crashes(50, loss, 1);
        assert!(figures.last <= Duration::from_millis(2500), "{figures:?}");
    }
}

/// Nobody crashes, and packets get lost for a minute: how often somebody is declared gone who is not, and for how long.
#[test]
fn loss_alone_takes_nobody_out_for_long() {
    for (count, loss, seconds) in [(8, 5.0, 60), (8, 20.0, 60), (50, 5.0, 10), (50, 20.0, 5)] {
        let mut world = World::settled(7, count);
        world.loss = loss;
        let (begin, bytes) = (world.false_verdicts, world.sent_bytes);
        world.run_for(Duration::from_secs(seconds));
        let verdicts = world.false_verdicts - begin;
        let rate = (world.sent_bytes - bytes) / seconds / count as u64;
        print(&format!(
            "{count} members, {loss} % lost for {seconds} s: {verdicts} false verdicts, {rate} bytes/s of each"
        ));
        world.loss = 0.0;
        let took = world.run_until(Duration::from_secs(30), World::converged);
        assert!(world.converged() && took <= Duration::from_secs(5), "{took:?}");
        if loss < 10.0 {
            assert_eq!(verdicts, 0);
        }
    }
}

#[derive(Debug)]
struct Figures {
    first: Duration,
    last: Duration,
    false_verdicts: u64,
}

/// Crashes in as many histories, and when others declared them.
fn crashes(count: usize, loss: f64, seeds: u64) -> Figures {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let mut false_verdicts = 0;
    for seed in 0..seeds {
        let (world, verdicts) = crash(seed, count, loss);
        false_verdicts += world.false_verdicts;
        first.push(verdicts[0]);
        last.push(*verdicts.last().unwrap());
    }
    first.sort();
    last.sort();
    let (middle, end) = (first.len() / 2, first.len() - 1);
    print(&format!(
        "{count} members, {loss} % lost: the first declares after {:?} to {:?} ({:?} in the middle), the last after {:?} to {:?} ({:?} in the middle); {false_verdicts} false verdicts",
        first[0], first[end], first[middle], last[0], last[end], last[middle],
    ));
    Figures {
        first: first[0],
        last: last[end],
        false_verdicts,
    }
}

#[expect(clippy::print_stdout, reason = "the figures that the documentation has")]
fn print(line: &str) {
    println!("{line}");
}
