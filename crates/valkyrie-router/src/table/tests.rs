use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;
use valkyrie_frame::Class;

use super::*;
use crate::Capability;

const MS: Duration = Duration::from_millis(1);

fn way(number: usize) -> Way {
    Way {
        peer: (),
        locator: format!("tcp://node-{number}:7000").parse().unwrap(),
        capabilities: Capabilities::default(),
        weight: 1,
        near: false,
    }
}

fn table(count: usize, change: impl Fn(usize, &mut Way), now: Instant) -> Table {
    let ways = (0..count).map(|number| {
        let mut way = way(number);
        change(number, &mut way);
        way
    });
    Table::new(ways, BreakerLimits::default(), now).unwrap()
}

fn data() -> Needs {
    Needs::of(Class::Data)
}

/// The number in a way's name.
fn number(table: &Table, id: WayId) -> usize {
    let locator = table.way(id).unwrap().locator.to_string();
    locator["tcp://node-".len()..]
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// How often each is chosen.
fn counts(table: &Table, balance: Balance, choices: usize, now: Instant) -> Vec<usize> {
    let (mut counts, mut rng) = (vec![0; table.len()], Rng::with_seed(1));
    for _ in 0..choices {
        let id = table.choose(&data(), balance, None, now, &mut rng).unwrap();
        counts[number(table, id)] += 1;
    }
    counts
}

#[test]
fn a_class_is_refused_by_the_name_of_what_is_missing() {
    let now = Instant::now();
    let lossy = table(
        3,
        |_, way| way.capabilities = way.capabilities.with_reliable(false),
        now,
    );
    let mut rng = Rng::with_seed(1);
    for balance in [
        Balance::TwoChoices,
        Balance::LeastInFlight,
        Balance::Weighted,
        Balance::ByKey,
    ] {
        let key = Some(&b"key"[..]);
        let error = lossy.choose(&data(), balance, key, now, &mut rng).unwrap_err();
        let RouteError::Unfit { locator, unfit } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (unfit.class, unfit.capability),
            (Class::Data, Capability::Reliable)
        );
        assert!(error.to_string().contains(locator.as_str()) && error.to_string().contains("reliable"));
        lossy
            .choose(&Needs::of(Class::Bulk), balance, key, now, &mut rng)
            .unwrap();
    }
    let nobody = table(0, |_, _| {}, now);
    let error = nobody.choose(&data(), Balance::default(), None, now, &mut rng);
    assert_eq!(error, Err(RouteError::Nobody));
}

#[test]
fn the_one_that_will_do_is_found_among_many_that_will_not() {
    let now = Instant::now();
    let secure = |number: usize, way: &mut Way| {
        way.capabilities = way.capabilities.with_secure(number == 777);
    };
    let table = table(1000, secure, now);
    let mut rng = Rng::with_seed(1);
    for balance in [
        Balance::TwoChoices,
        Balance::LeastInFlight,
        Balance::Weighted,
        Balance::ByKey,
    ] {
        let id = table
            .choose(&data().securely(), balance, Some(b"key"), now, &mut rng)
            .unwrap();
        assert_eq!(number(&table, id), 777);
    }
}

#[test]
fn slow_and_busy_ways_get_less() {
    let now = Instant::now();
    let table = table(10, |_, _| {}, now);
    for at in 0..10 {
        let took = if at == 3 { 200 * MS } else { MS };
        table.begin(WayId(at), now).unwrap().answered(now + took);
    }
    let counts = counts(&table, Balance::TwoChoices, 10_000, now);
    assert!(counts[3] < 300, "{counts:?}");
    let others = counts.iter().enumerate().filter(|(at, _)| *at != 3);
    assert!(others.clone().all(|(_, &count)| count > 700), "{counts:?}");
}

#[test]
fn the_least_in_flight_is_taken() {
    let now = Instant::now();
    let table = table(20, |_, _| {}, now);
    let held: Vec<InFlight> = (0..20)
        .filter(|at| *at != 13)
        .flat_map(|at| {
            [
                table.begin(WayId(at), now).unwrap(),
                table.begin(WayId(at), now).unwrap(),
            ]
        })
        .collect();
    let counts = counts(&table, Balance::LeastInFlight, 100, now);
    assert_eq!(counts[13], 100, "{counts:?}");
    drop(held);
}

#[test]
fn near_ones_are_preferred_until_none_of_them_will_do() {
    let now = Instant::now();
    let table = table(8, |number, way| way.near = number >= 5, now);
    let chosen = counts(&table, Balance::TwoChoices, 3000, now);
    assert!(chosen[..5].iter().all(|&count| count == 0) && chosen[5..].iter().all(|&count| count > 800));
    let mut rng = Rng::with_seed(1);
    for _ in 0..3 {
        let id = table
            .choose(&data(), Balance::TwoChoices, None, now, &mut rng)
            .unwrap();
        assert!(number(&table, id) >= 5);
        while !table.failed(id, now) {}
    }
    let chosen = counts(&table, Balance::TwoChoices, 3000, now);
    assert!(chosen[..5].iter().all(|&count| count > 300) && chosen[5..].iter().all(|&count| count == 0));
}

#[test]
fn never_more_than_half_are_left_alone() {
    let now = Instant::now();
    let table = table(10, |_, _| {}, now);
    let mut opened = 0;
    for at in 0..10 {
        for _ in 0..20 {
            opened += usize::from(table.failed(WayId(at), now));
        }
    }
    assert_eq!(opened, 5);
    assert_eq!(counts(&table, Balance::TwoChoices, 1000, now)[..5], [0; 5]);
    // One that is alone is tried whatever it does.
    let alone = self::table(1, |_, _| {}, now);
    assert!((0..100).all(|_| !alone.failed(WayId(0), now)));
}

#[test]
fn who_is_left_alone_says_when_it_is_tried_again() {
    let now = Instant::now();
    let table = table(
        2,
        |number, way| way.capabilities = way.capabilities.with_secure(number == 0),
        now,
    );
    while !table.failed(WayId(0), now) {}
    let mut rng = Rng::with_seed(1);
    let error = table.choose(&data().securely(), Balance::default(), None, now, &mut rng);
    let retry_after = Duration::from_secs(1);
    assert_eq!(error, Err(RouteError::AllFailing { retry_after }));
}

#[test]
fn what_is_known_of_a_way_outlives_the_table() {
    let now = Instant::now();
    let before = table(4, |_, _| {}, now);
    while !before.failed(WayId(2), now) {}
    let after = Table::after(&before, [way(9), way(2), way(3)], now).unwrap();
    let counts = {
        let mut rng = Rng::with_seed(1);
        let chosen = (0..300).map(|_| {
            after
                .choose(&data(), Balance::default(), None, now, &mut rng)
                .unwrap()
        });
        chosen.map(|id| number(&after, id)).collect::<Vec<_>>()
    };
    assert!(!counts.contains(&2) && counts.contains(&9) && counts.contains(&3));
}

proptest! {
    #[test]
    fn turns_are_shared_by_weight(weights in proptest::collection::vec(0_u32..50, 1..20)) {
        let now = Instant::now();
        let sum: u32 = weights.iter().sum();
        prop_assume!(sum > 0);
        let table = table(weights.len(), |number, way| way.weight = weights[number], now);
        let rounds = 20;
        let counts = counts(&table, Balance::Weighted, (sum * rounds) as usize, now);
        for (count, weight) in counts.iter().zip(&weights) {
            let due = (weight * rounds) as isize;
            // The discrepancy of the golden ratio's steps grows with the logarithm of their number.
            prop_assert!((*count as isize - due).abs() <= 8, "{:?} for {:?}", counts, weights);
        }
    }

    #[test]
    fn when_a_way_goes_only_its_own_keys_move(count in 2_usize..30, gone in any::<proptest::sample::Index>()) {
        let now = Instant::now();
        let (before, gone) = (table(count, |_, _| {}, now), gone.index(count));
        let after = Table::new((0..count).filter(|at| *at != gone).map(way), BreakerLimits::default(), now).unwrap();
        let mut rng = Rng::with_seed(1);
        for key in 0..200_u32 {
            let key = key.to_be_bytes();
            let mut choose = |table: &Table| {
                number(table, table.choose(&data(), Balance::ByKey, Some(&key), now, &mut rng).unwrap())
            };
            let (was, is) = (choose(&before), choose(&after));
            prop_assert!(was == is || was == gone, "{} went from {} to {}", key[3], was, is);
        }
    }
}

#[test]
fn keys_are_spread_by_weight() {
    let now = Instant::now();
    let table = table(4, |number, way| way.weight = if number == 0 { 3 } else { 1 }, now);
    let (mut counts, mut rng) = ([0; 4], Rng::with_seed(1));
    for key in 0..12_000_u32 {
        let key = key.to_be_bytes();
        let id = table
            .choose(&data(), Balance::ByKey, Some(&key), now, &mut rng)
            .unwrap();
        counts[number(&table, id)] += 1;
    }
    assert!((5700..6300).contains(&counts[0]), "{counts:?}");
    assert!(
        counts[1..].iter().all(|count| (1800..2200).contains(count)),
        "{counts:?}"
    );
}
