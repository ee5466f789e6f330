//! Partitions, pauses, flapping and rolling restarts: who is out is in again within a bound that is stated, and views agree.

use std::time::Duration;

use valkyrie_registry_swim::SwimEvent;

use crate::world::World;

/// Within which views agree again after the last fault, with nothing lost: two rounds of trying the gone, and the answers to their accusations.
const HEALED_WITHIN: Duration = Duration::from_secs(5);

#[track_caller]
fn heals(world: &mut World) -> Duration {
    let took = world.run_until(Duration::from_secs(60), World::converged);
    assert!(world.converged(), "views do not agree after a minute");
    assert!(took <= HEALED_WITHIN, "views agree after {took:?} only");
    assert_eq!(world.faults, [], "honest members sent what others refuse");
    took
}

#[test]
fn a_fleet_starts_from_one_place() {
    for count in [2, 8, 50] {
        let mut world = World::new(1, count);
        (0..count).for_each(|node| world.start(node));
        heals(&mut world);
    }
}

#[test]
fn a_fleet_that_was_cut_in_two_finds_itself() {
    for (count, seeds) in [(8, 10), (50, 1)] {
        for seed in 0..seeds {
            let mut world = World::settled(seed, count);
            for node in 0..count {
                world.part[node] = u8::from(node < count / 2);
            }
            world.run_for(Duration::from_secs(10));
            for node in 0..count {
                let blind = world.blind_to(node).len();
                assert_eq!(blind, count / 2, "each half takes the other for gone");
            }
            assert_eq!(world.false_verdicts, 0);
            world.part.fill(0);
            heals(&mut world);
        }
    }
}

#[test]
fn one_who_was_cut_off_comes_back() {
    for seed in 0..10 {
        let mut world = World::settled(seed, 8);
        world.part[3] = 1;
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.blind_to(3).len(), 7);
        world.part[3] = 0;
        heals(&mut world);
    }
}

#[test]
fn a_short_cut_takes_nobody_out() {
    let mut world = World::settled(1, 8);
    for _ in 0..10 {
        world.part[3] = 1;
        world.run_for(Duration::from_millis(500));
        world.part[3] = 0;
        world.run_for(Duration::from_secs(2));
    }
    assert_eq!(world.false_verdicts, 0);
    assert!(world.converged());
}

#[test]
fn a_flapping_member_ends_up_where_it_is() {
    for seed in 0..5 {
        let mut world = World::settled(seed, 8);
        for _ in 0..10 {
            world.part[3] = 1;
            let pause = world.dice.u64(100..3000);
            world.run_for(Duration::from_millis(pause));
            world.part[3] = 0;
            let pause = world.dice.u64(100..3000);
            world.run_for(Duration::from_millis(pause));
        }
        heals(&mut world);
    }
}

#[test]
fn a_member_that_stood_still_accuses_nobody_and_is_back_in_a_moment() {
    for seed in 0..10 {
        let mut world = World::settled(seed, 8);
        world.nodes[3].stopped = true;
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.blind_to(3).len(), 7);
        world.nodes[3].noticed.clear();
        world.resume(3);
        let took = heals(&mut world);
        assert!(took <= Duration::from_secs(2), "{took:?}");
        // It has heard nobody for five seconds, and that was its own fault.
        let accuses = |event: &SwimEvent| matches!(event, SwimEvent::Suspected(_) | SwimEvent::Gone { .. });
        assert!(!world.nodes[3].noticed.iter().any(|(_, event)| accuses(event)));
        assert_eq!(world.false_verdicts, 0);
    }
}

#[test]
fn one_that_stood_still_while_somebody_answered_declares_nobody() {
    let mut world = World::settled(1, 3);
    // It suspects the others, and stands still before they can answer.
    world.part[0] = 1;
    let suspects = |world: &World| world.nodes[0].swim.as_ref().unwrap().suspected().count() == 2;
    world.run_until(Duration::from_secs(1), suspects);
    assert!(suspects(&world));
    world.nodes[0].stopped = true;
    world.part[0] = 0;
    world.run_for(Duration::from_secs(5));
    world.resume(0);
    heals(&mut world);
    let gone = |event: &SwimEvent| matches!(event, SwimEvent::Gone { .. });
    assert!(!world.nodes[0].noticed.iter().any(|(_, event)| gone(event)));
}

#[test]
fn a_short_stop_takes_nobody_out() {
    let mut world = World::settled(2, 8);
    for node in 0..8 {
        world.nodes[node].stopped = true;
        world.run_for(Duration::from_millis(800));
        world.resume(node);
        world.run_for(Duration::from_millis(500));
    }
    assert!(world.converged());
    for node in &world.nodes {
        let gone = |event: &SwimEvent| matches!(event, SwimEvent::Gone { .. });
        assert!(!node.noticed.iter().any(|(_, event)| gone(event)));
    }
}

#[test]
fn rolling_restarts_replace_lives_and_no_verdict_hits_the_new_one() {
    for (count, seeds) in [(8, 5), (20, 1)] {
        for seed in 0..seeds {
            let mut world = World::settled(seed, count);
            for node in 0..count {
                world.crash(node);
                // Anywhere between at once, while it is accused, and after the verdict.
                let down = world.dice.u64(1..2000);
                world.run_for(Duration::from_millis(down));
                world.start(node);
                let up = world.dice.u64(1..500);
                world.run_for(Duration::from_millis(up));
            }
            heals(&mut world);
            // A verdict about a former self would be one about a life that runs.
            assert_eq!(world.false_verdicts, 0);
        }
    }
}

#[test]
fn who_leaves_is_gone_within_a_second_and_nobody_waits_for_it() {
    for count in [8, 50] {
        let mut world = World::settled(1, count);
        let since = world.at;
        world.leave(3);
        let took = world.run_until(Duration::from_secs(10), World::converged);
        assert!(took <= Duration::from_secs(1), "{took:?}");
        assert_eq!(world.verdicts_about(3, since).len(), count - 1);
        world.run_for(Duration::from_secs(20));
        assert!(world.converged(), "somebody has brought it back");
        world.start(3);
        heals(&mut world);
    }
}

#[test]
fn one_whose_clock_was_put_back_outdoes_its_former_self() {
    let mut world = World::settled(1, 8);
    world.crash(3);
    world.nodes[3].clock_ahead = -40_000;
    world.start(3);
    heals(&mut world);
    // And after it was declared gone.
    world.crash(3);
    world.run_for(Duration::from_secs(3));
    world.nodes[3].clock_ahead = -80_000;
    world.start(3);
    heals(&mut world);
}

#[test]
fn much_at_once_heals_as_well() {
    for seed in 0..4 {
        let mut world = World::settled(seed, 16);
        world.loss = 10.0;
        for _ in 0..40 {
            let node = world.dice.usize(..16);
            match world.dice.u8(..6) {
                0 => world.crash(node),
                1 if world.nodes[node].swim.is_none() => world.start(node),
                2 => world.part[node] = world.dice.u8(..3),
                3 => world.part[node] = 0,
                4 => world.nodes[node].stopped = true,
                _ => world.resume(node),
            }
            let pause = world.dice.u64(1..1500);
            world.run_for(Duration::from_millis(pause));
        }
        world.loss = 0.0;
        world.part.fill(0);
        for node in 0..16 {
            world.resume(node);
            if world.nodes[node].swim.is_none() {
                world.start(node);
            }
        }
        heals(&mut world);
    }
}
